"""The entries of `INTEGRITY["relations"]`. Settings may import this: it does not need Django."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Relation:
    """A plain column that holds keys of parents in another database, as a ForeignKey would.

    `Relation("analytics.Event.user_key", "auth.User")` declares such a column.
    `Relation("notes.Note.content_object", "auth.User", content_types="default")` declares a
    GenericForeignKey for one parent; repeat it for each model that it may point to.

    Args:
        field: The label of the column or of the GenericForeignKey.
        parent: The label of the parent model.
        on_delete: The name of Django's policy: "CASCADE", "PROTECT", "RESTRICT", "SET_NULL",
            "SET_DEFAULT", "SET" or "DO_NOTHING".
        value: The value for "SET", or a callable that returns it.
        to_field: The parent's field whose values the column holds. Default: the primary key.
        content_types: For a GenericForeignKey, the alias of the database whose content type ids its
            rows hold. Each database numbers its content types by itself.

    The declaration is checked when the apps are ready. What cannot be carried out raises
    `InvalidSetting` there.
    """

    field: str
    parent: str
    on_delete: str = "CASCADE"
    _: KW_ONLY
    value: Any = None
    to_field: str = ""
    content_types: str = ""
