"""What a rename makes of the names in a log: aliases, models, relations, fields. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What a name is of: a database, a model (of parents or of children), a relation, or a field.

    A field is one of a parent, other than its primary key, that a `to_field` names.
    """

    ALIAS = "alias"
    MODEL = "model"
    RELATION = "relation"
    FIELD = "field"

    @classmethod
    def of(cls, name: str) -> Kind:
        """The kind that a name looks like: "blog_db", "auth.User", "blog.Post.author".

        A field looks like a relation: only who says so means one.
        """
        dots = name.partition("@")[0].count(".")
        return cls.RELATION if dots > 1 else cls.MODEL if dots else cls.ALIAS


def field_of(name: str) -> tuple[str, str]:
    """Return the parent and the field in a field's name, as in "auth.User.username"."""
    parent, _, field = name.rpartition(".")
    return parent, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """One name that became another."""

    kind: Kind
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.kind} {self.old} → {self.new}"

    def alias(self, name: str) -> str:
        """The alias as it is called now."""
        return self.new if self.kind is Kind.ALIAS and name == self.old else name

    def model(self, name: str) -> str:
        """The model's label as it is now."""
        return self.new if self.kind is Kind.MODEL and name == self.old else name

    def relation(self, name: str) -> str:
        """The relation's label as it is now: it begins with the child model.

        One of a GenericForeignKey ends with the parent ("notes.Note.content_object@auth.User").
        """
        if self.kind is Kind.RELATION:
            return self.new if name == self.old else name
        field, at, parent = name.partition("@")
        child, dot, last = field.rpartition(".")
        return f"{self.model(child)}{dot}{last}{at}{self.model(parent)}"

    def pair(self, parent: str, relation: str) -> tuple[str, str]:
        """Both names of a deletion."""
        return self.model(parent), self.relation(relation)
