"""What the cascades of a parent cover: its relations, as the catalogue knew them when they ended.

Note [A number from the content]: the id of a scope is taken from its hash. So the statement that
ends a cascade need not read it first, and an id never comes to mean another scope, whatever is
restored from a backup or emptied. If the row is missing, what was covered is not known; unless it
is what the catalogue knows today, which has the same hash then.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, NamedTuple

from django.db import Error, transaction

from .. import relations
from ..backends.transactions import atomic, require_whole, retried
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..models import Scope
from ..relations.plan import plan_for
from ..relations.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ..relations import Relation

logger = logger_of("integrity.receipts")

#: Policy → why no cascade follows its relations.
UNFOLLOWED = {
    Policy.DO_NOTHING: "DO_NOTHING leaves its rows as they are",
    Policy.PROTECT: "PROTECT refuses the delete while rows refer to it, and is not asked again",
    Policy.RESTRICT: "RESTRICT refuses the delete while rows refer to it, and is not asked again",
}
#: After so long a process writes a scope again, because the log may have been restored meanwhile.
WRITTEN_SECONDS = 3_600.0


class Along(NamedTuple):
    """What cascades do along one relation."""

    policy: str
    databases: tuple[str, ...]
    #: Why no cascade follows it, or "".
    unfollowed: str = ""
    #: The keys inside its databases along which rows are deleted with its own.
    below: tuple[str, ...] = ()
    #: Those whose rows the database itself deletes or changes, uncounted.
    uncounted: tuple[str, ...] = ()


#: The label of a relation → what cascades do along it, in the order of the labels.
Covered = dict[str, Along]


def current(parent: str, relation: str, *, using: str) -> int | None:
    """Return the id of the scope that deletions of those names have today, which is in the log.

    It is None where the catalogue knows no such names. If the scope cannot be written, that is
    logged: the id is the right one all the same. See Note [A number from the content].
    """
    known = relations.catalogue().derived
    pk, until = known.get(("scope", parent, relation, using), (None, 0.0))
    if time.monotonic() < until:
        return int(pk)
    pk, digest, covered = _today(parent, relation)
    if not covered:
        return None
    document = {label: along._asdict() for label, along in covered.items()}
    row = Scope(id=pk, digest=digest, parent=parent, relation=relation, document=document)
    written = {("scope", parent, relation, using): (pk, time.monotonic() + WRITTEN_SECONDS)}
    try:
        _write(row, lambda: known.update(written), using)
    except Error as error:
        require_whole(using, error)
        # Not `exception`: see Note [Tracebacks] in exceptions/loggers.py.
        told = "what receipts of %s cover was not written in %s: %s"
        logger.error(told, parent, using, reason_of_error(error))  # noqa: TRY400 (quotes rows)
    return int(pk)


@retried
def _write(row: Scope, written: Callable[[], None], using: str) -> None:
    with atomic(using):  # the caller's transaction outlives a failure
        Scope.objects.using(using).bulk_create([row], ignore_conflicts=True)
        transaction.on_commit(written, using=using)


def today(parent: str, relation: str) -> Covered:
    """Return what a deletion of those names covers by today's catalogue."""
    return _today(parent, relation)[2]


def read(ids: Collection[int], *, using: str) -> dict[int, Covered]:
    """Return the scopes with those ids that are in the log. At most one statement."""
    rows = Scope.objects.using(using).filter(pk__in=ids) if ids else ()
    return {row.pk: _parsed(row.document) for row in rows if row.pk == _number(row.digest)}


def is_today(pk: int, parent: str, relation: str) -> bool:
    """Return whether that scope is the one that deletions of those names have today."""
    return _today(parent, relation)[0] == pk


def _today(parent: str, relation: str) -> tuple[int, str, Covered]:
    """Return the id, the hash and the relations of today's scope. Computed once per catalogue."""
    known, key = relations.catalogue().derived, ("today", parent, relation)
    if key not in known:
        covered = _covered(parent, relation)
        text = json.dumps([parent, relation, covered], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        known[key] = _number(digest), digest, covered
    found: tuple[int, str, Covered] = known[key]
    return found


def _number(digest: str) -> int:
    """Return the id of the scope with that hash: its first 63 bits. Pure."""
    return int(digest[:16], 16) >> 1


def _covered(parent: str, relation: str) -> Covered:
    catalogue = relations.catalogue()
    followed = catalogue.children_of(parent, relation=relation)
    every = sorted((*catalogue.relations, *catalogue.ignored), key=lambda each: each.label)
    return {
        each.label: _followed(each) if each in followed else _unfollowed(each, relation)
        for each in every
        if each.parent._meta.label == parent
    }


def _followed(each: Relation) -> Along:
    plan = plan_for(each)
    below = dict.fromkeys(node.label for node in plan.root.all[1:] if not node.update)
    return Along(str(each.policy), each.child_databases, below=(*below,), uncounted=plan.uncounted)


def _unfollowed(each: Relation, relation: str) -> Along:
    alone = f"a scan found what was missing for {relation}, and only that was followed"
    why = f"ignored: {each.ignored}" if each.ignored else UNFOLLOWED.get(each.policy) or alone
    return Along(str(each.policy), each.child_databases, why)


def _parsed(document: Mapping[str, Mapping[str, object]]) -> Covered:
    """Return a scope's document as it was computed. Pure."""
    return {
        label: Along(
            policy=str(along["policy"]),
            databases=tuple(map(str, _list(along["databases"]))),
            unfollowed=str(along["unfollowed"]),
            below=tuple(map(str, _list(along["below"]))),
            uncounted=tuple(map(str, _list(along.get("uncounted")))),
        )
        for label, along in sorted(document.items())
    }


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
