"""The tables that the machine plays with, and what their keys mean, written down by hand.

Nothing here asks the product: what it should do is known without it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.kinds.left import models as left
from tests.kinds.parents import models as parents
from tests.kinds.right import models as right

if TYPE_CHECKING:
    from django.db.models import Model

DEFAULT, LEFT, RIGHT = "default", "test_left", "test_right"
#: Databases with a log: a book is a child of `default`, and a parent of rows in `test_right`.
LOGS = (DEFAULT, LEFT)
ALIASES = (DEFAULT, LEFT, RIGHT)
CHILD_DATABASES = (LEFT, RIGHT)
#: What `SET_DEFAULT` puts in place; its parent always lives.
FALLBACK = left.DEFAULT


class Effect(enum.Enum):
    """What becomes of a row when what its key holds is gone."""

    GONE = enum.auto()
    NULLED = enum.auto()
    DEFAULTED = enum.auto()
    KEPT = enum.auto()


@dataclass(frozen=True)
class Link:
    """A foreign key: `column` holds the field `target` of a row of `to`."""

    column: str
    to: str
    effect: Effect = Effect.GONE
    target: str = "id"


@dataclass(frozen=True)
class Kind:
    model: type[Model]
    alias: str
    links: tuple[Link, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.model._meta.label


KINDS = {
    kind.label: kind
    for kind in (
        Kind(parents.Owner, DEFAULT, extra={"name": "ann"}),
        Kind(parents.Giver, DEFAULT),
        Kind(parents.Token, DEFAULT),
        Kind(parents.Person, DEFAULT, extra={"code": None, "number": None}),
        Kind(parents.Root, DEFAULT),
        Kind(parents.Library, DEFAULT),
        Kind(parents.Tenant, DEFAULT),
        Kind(parents.Account, DEFAULT, (Link("tenant_id", "parents.Tenant"),)),
        Kind(left.Optional, LEFT, (Link("owner_id", "parents.Owner"),)),
        Kind(right.Leaf, RIGHT, (Link("owner_id", "parents.Owner"),)),
        Kind(left.Nulled, LEFT, (Link("giver_id", "parents.Giver", Effect.NULLED),)),
        Kind(left.Defaulted, LEFT, (Link("giver_id", "parents.Giver", Effect.DEFAULTED),)),
        Kind(right.Untouched, RIGHT, (Link("giver_id", "parents.Giver", Effect.KEPT),)),
        Kind(left.TokenUse, LEFT, (Link("token_id", "parents.Token"),)),
        Kind(left.Badge, LEFT, (Link("person_id", "parents.Person", target="code"),)),
        Kind(right.Locker, RIGHT, (Link("person_id", "parents.Person"),)),
        Kind(left.Shelf, LEFT, (Link("root_id", "parents.Root"),)),
        Kind(left.Box, LEFT, (Link("shelf_id", "left.Shelf"),)),
        Kind(left.Item, LEFT, (Link("box_id", "left.Box"),)),
        Kind(left.Label, LEFT, (Link("shelf_id", "left.Shelf", Effect.NULLED),)),
        Kind(left.Book, LEFT, (Link("library_id", "parents.Library"),)),
        Kind(left.Page, LEFT, (Link("book_id", "left.Book"),)),
        Kind(right.BookNote, RIGHT, (Link("book_id", "left.Book"),)),
        Kind(left.AccountNote, LEFT, (Link("account_id", "parents.Account"),)),
    )
}


def crosses(kind: Kind, link: Link) -> bool:
    """Whether the key leaves its database: then the product is in charge of it, else Django."""
    return KINDS[link.to].alias != kind.alias


#: Parent → the fields that keys elsewhere hold, and the databases that its deletion fans out to.
TARGETS: dict[str, set[str]] = {}
FANS_OUT: dict[str, set[str]] = {}
for _kind in KINDS.values():
    for _link in _kind.links:
        if crosses(_kind, _link):
            TARGETS.setdefault(_link.to, {"id"}).add(_link.target)
            FANS_OUT.setdefault(_link.to, set())
            if _link.effect is not Effect.KEPT:
                FANS_OUT[_link.to].add(_kind.alias)

#: One family of tables each: a run plays with a few, so that its steps meet.
FAMILIES = {
    "owner": ("parents.Owner", "left.Optional", "right.Leaf"),
    "giver": ("parents.Giver", "left.Nulled", "left.Defaulted", "right.Untouched"),
    "token": ("parents.Token", "left.TokenUse"),
    "person": ("parents.Person", "left.Badge", "right.Locker"),
    "root": ("parents.Root", "left.Shelf", "left.Box", "left.Item", "left.Label"),
    "library": ("parents.Library", "left.Book", "left.Page", "right.BookNote"),
    "tenant": ("parents.Tenant", "parents.Account", "left.AccountNote"),
}
