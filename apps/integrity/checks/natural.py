"""Relations to values that people choose: a deleted value may be registered again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import models

from .. import relations
from ..relations.columns import underlying_field
from ..relations.relation import label, primary_key
from .keys import some
from .scope import scoped

if TYPE_CHECKING:
    from ..relations import Field, Relation

#: Keys that the database counts up. They are subclasses of IntegerField, too.
COUNTED = (models.AutoField, models.BigAutoField, models.SmallAutoField)


def chosen(**_: Any) -> list[checks.CheckMessage]:
    """W019: keys hold a value that can be registered again. One message per field."""
    by_target: dict[Field, list[Relation]] = {}
    for relation in relations.catalogue().relations:
        if relation.policy.cascades and is_natural(relation.target):
            by_target.setdefault(relation.target, []).append(relation)
    return [_warning(target, children) for target, children in by_target.items()]


def is_natural(target: Field) -> bool:
    """Return whether people, or other systems, choose the field's values.

    They do not choose what the database generates, what a function makes for each row (`uuid4`),
    or numbers that no form shows (`editable=False`: a key made in `save()`). The key of a
    multi-table child is its parent's.
    """
    field = underlying_field(target)
    by_function = field.has_default() and callable(field.default)
    made = by_function or field.db_default is not models.NOT_PROVIDED
    hidden = isinstance(field, models.IntegerField) and not field.editable
    return not (isinstance(field, COUNTED) or made or hidden)


def _warning(target: Field, children: list[Relation]) -> checks.CheckMessage:
    name, labels = label(target), some([relation.label for relation in children])
    key = target == primary_key(children[0].parent)
    asked = "" if key else f', field="{target.name}"'
    return checks.Warning(
        f"{labels} refer{'s' * (len(children) == 1)} to {name}, a value that people choose: if"
        " somebody registers a deleted value before its rows are gone, these rows belong to the new"
        " owner, and the deletion ends as kept, never verified.",
        hint="Refer to a key that people do not choose (an AutoField, a UUIDField with"
        " default=uuid4); or refuse such values when rows are created:"
        f" capture.pending({target.model.__name__}, value{asked}).",
        obj=target,
        id="integrity.W019",
    )


CHECKS = scoped(chosen)
