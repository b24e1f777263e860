"""What an adopter writes into `INTEGRITY["relations"]`. Pure: settings may import this."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Relation:
    """A plain column that holds the keys of parents in another database, as a ForeignKey would.

    Or a GenericForeignKey: `Relation("notes.Note.content_object", "auth.User",
    content_types="default")`, once for each model that it may point to. `content_types` names the
    database whose content types its rows hold the ids of: two databases have different ones.

    `field` and `parent` are labels: `Relation("analytics.Event.user_key", "auth.User")`.
    `on_delete` is the name of Django's: "CASCADE", "PROTECT", "RESTRICT", "SET_NULL",
    "SET_DEFAULT", "SET" (with its `value`, or a callable that gives it) or "DO_NOTHING".
    `to_field` names the parent's field that the column holds; without it, its primary key.

    Anything that cannot be carried out is refused when the apps are ready (`InvalidSetting`).
    """

    field: str
    parent: str
    on_delete: str = "CASCADE"
    _: KW_ONLY
    value: Any = None
    to_field: str = ""
    content_types: str = ""
