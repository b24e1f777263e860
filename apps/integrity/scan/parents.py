"""The parents' side of a scan: which keys have no parent, and what may still be inserting one.

Reads the parents' primaries, past all managers. Writes nothing.

Note [Child first]: the child's keys are read before the parents are. A parent that was committed
before its child is found, because its child was read first. A parent that is committed after its
child may be missed. So each suspect carries the barrier of the parents' databases: it is rechecked
once every transaction that was open at the time has ended and the grace period is over (repair.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import backends
from ..backends import lookups
from ..relations.keys import parse_key

if TYPE_CHECKING:
    from ..backends.barriers import Barrier
    from ..backends.key_pages import KeyPage, KeyReader
    from ..relations import Relation


def missing_keys(relation: Relation, reader: KeyReader, page: KeyPage) -> list[Any]:
    """Return the page's keys that have no parent on any primary. See Note [Child first].

    Raises the errors of the parents' databases.
    """
    target, (first, *others) = relation.target, relation.parent_databases
    texts = reader.missing(relation.field, page, parent=first)
    keys = [parse_key(target, text) for text in texts]
    living = lookups.existing(target, dict(enumerate(keys)), others)
    return [key for at, key in enumerate(keys) if at not in living]


def barriers_of(relation: Relation) -> dict[str, Barrier]:
    """Return the barrier of each of the parents' databases. See Note [Child first]."""
    barriers = {
        home: backends.barrier_backend(home).new_barrier(using=home)
        for home in relation.parent_databases
    }
    return {home: barrier for home, barrier in barriers.items() if barrier is not None}
