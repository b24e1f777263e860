"""Fresh cascades into many databases: one look at each, and one statement for all that are empty.

Most child databases have no rows of most deletions. A worker that claims, cascades and verifies in
each of them sends dozens of statements to learn that. Here one process asks each database once
whether there are rows. What has none is done, or verified if it was done before. Everything else is
put back as it was, for the workers of its database: rows, a living parent, a database that is
paused, hindered, slow or another one, and any error.

Note [The look]: it concludes what a cascade or a verification would conclude, from the same
evidence: the parents are gone by the live check, which comes first; the database knows the parents'
databases by their identities; the read is not filtered; the barrier is taken after the search, and
has passed before the search that verifies. Where there are no barriers, that search meets rows that
are not committed.

Note [Threads that look]: a database that does not answer must not delay the others. So daemon
threads look, each with a connection of its own, which it closes. After `LOOK_SECONDS` nobody waits
for them, and a database whose look still lasts is left out until it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from contextlib import nullcontext
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from django.db import Error, connections

from .. import backends, conf, failpoints, relations
from ..backends.barriers import BarrierState, Sighting, state_of
from ..backends.bounded import bounded_read
from ..backends.connections import connect
from ..conf.steps import without_steps
from ..control import circuit_breaker, identity, pacing
from ..exceptions import CrossDatabaseError
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..failpoints import Failpoint
from ..log import claims, joint
from ..signals import cascade_finished
from .live_check import LiveClaim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ..log.joint import Parts

logger = logger_of("integrity.cascade")

#: From so many databases on, a look at all of them costs less than a claim in each.
DATABASES_MIN = 5
#: Databases that are looked at at the same time, and so the most connections of a first look.
THREADS = 4
#: How long a first look waits for all databases.
LOOK_SECONDS = 2.0

#: The databases that are looked at now.
_under_way: set[str] = set()


def close_empty(databases: Collection[str], *, using: str) -> frozenset[str]:
    """Finish due cascades into those of the databases that have no rows of their deletions.

    Return the databases that still have due cascades. Does nothing where the databases are few.
    """
    if not _pass_by_pass(databases, using, verify=False):
        return frozenset(databases)
    return claims.due_databases(*databases, using=using)


def verify_empty(databases: Collection[str], *, using: str) -> frozenset[str]:
    """Verify done cascades into those of the databases that still have no rows of their deletions.

    Return the databases that still have some to verify. Does nothing where they are few.
    """
    if not _pass_by_pass(databases, using, verify=True):
        return frozenset(databases)
    return claims.unverified_databases(*databases, using=using)


def _pass_by_pass(databases: Collection[str], using: str, *, verify: bool) -> bool:
    """Look at databases as long as enough of them are empty, for a time slice; return if any was.

    The tables that a thread sees are not those of a caller inside a transaction.
    """
    until, wanted, closed = time.monotonic() + conf.current().turn_seconds, {*databases}, False
    if any(connections[alias].in_atomic_block for alias in (using, *without_steps(wanted))):
        return False
    while len(wanted) >= DATABASES_MIN and time.monotonic() < until:
        wanted = _pass(wanted, using, verify=verify)
        closed = closed or bool(wanted)
    return closed


def _pass(databases: set[str], using: str, *, verify: bool) -> set[str]:
    """Claim, look, and close what is empty; return the databases that were."""
    awake = {one for one in without_steps(databases - _under_way) if not pacing.quiet_reason(one)}
    calm = circuit_breaker.undisturbed(awake, using=using)
    if len(calm) < DATABASES_MIN:
        return set()
    if verify:
        parts = joint.due_done(calm, using=using)
    else:
        parts = joint.claim(calm, using=using, lease_seconds=conf.current().lease_seconds)
    empty = dict[str, Sighting]()
    try:
        failpoints.hit(Failpoint.CLAIMED)
        if len(parts) >= DATABASES_MIN:
            empty = _looks(parts, using, verify=verify)
    except (Error, CrossDatabaseError) as error:  # such as parents that do not answer
        logger.warning("many databases are left to their workers: %s", reason_of_error(error))
    finally:
        if not verify:
            joint.put_back({alias: part for alias, part in parts.items() if alias not in empty})
    failpoints.hit(Failpoint.PROBED)
    if verify:
        joint.verify({alias: parts[alias] for alias in empty})
        return {*empty}
    barriers = {alias: seen.barrier for alias, seen in empty.items()}
    for alias, deletions in joint.finish(parts, barriers).items():
        cascade_finished.send_robust(
            sender=None, database=alias, using=using, deletions=tuple(deletions)
        )
    return {*empty}


def _looks(parts: Parts, using: str, *, verify: bool) -> dict[str, Sighting]:
    """Return the databases without rows of their part, with what they say of themselves."""
    catalogue, one = relations.catalogue(), next(iter(parts.values()))
    deletions = {deletion.id: deletion for part in parts.values() for deletion in part.deletions}
    checked = LiveClaim(dataclasses.replace(one, deletions=tuple(deletions.values())))
    along = [catalogue.children_of(one.parent, alias, one.relation) for alias in parts]
    if not checked.all_gone(dict.fromkeys(itertools.chain(*along))):
        return {}
    homes = {alias: catalogue.homes(alias, using) for alias in parts}
    own = identity.own({*itertools.chain(*homes.values())})
    return _in_threads(
        {
            alias: partial(_look, LiveClaim(part, checked=checked), own_there, verify=verify)
            for alias, part in parts.items()
            if len(own_there := {home: own[home] for home in homes[alias] if home in own})
            == len(homes[alias])
        }
    )


def _look(live: LiveClaim, own: Mapping[str, str], *, verify: bool) -> Sighting | None:
    """Return what a database says of itself, or None unless its part is over. Runs in a thread.

    See Note [The look].
    """
    alias, backend = live.claim.database, backends.barrier_backend(live.claim.database)
    try:
        connect(connections[alias])
        seen = backend.sighting(barrier=False, using=alias) if verify else None
        if _has_rows(live):
            return None
        if seen and not seen.horizon and any(map(live.uncommitted_along, live.relations)):
            return None
        seen = seen or backend.sighting(barrier=True, using=alias)
    finally:
        connections[alias].close()
    if any(seen.identities.get(home) != identity for home, identity in own.items()):
        return None
    barriers = (deletion.barrier for deletion in live.claim.deletions if verify)
    passed = all(state_of(barrier, seen.horizon) is BarrierState.PASSED for barrier in barriers)
    return seen if passed else None


def _has_rows(live: LiveClaim) -> bool:
    """Return whether some row is, or may be, left. Waits at most `lock_seconds` for a table."""
    alias, relations_there = live.claim.database, live.relations
    models = dict.fromkeys(relation.field.model for relation in relations_there)
    seconds = conf.current().lock_seconds
    # Elsewhere there is nothing to set, and the searches themselves refuse tables that hide rows.
    is_bounded = connections[alias].vendor == "postgresql"
    with bounded_read(alias, seconds, *models) if is_bounded else nullcontext():
        return any(live.unknown_along(one) or live.left_along(one) for one in relations_there)


def _in_threads(looks: Mapping[str, Callable[[], Sighting | None]]) -> dict[str, Sighting]:
    """Return what the looks that are over in time have returned, but for None.

    See Note [Threads that look].
    """
    waiting, answers = SimpleQueue[str](), SimpleQueue[tuple[str, Sighting | None]]()
    over, found = threading.Event(), dict[str, Sighting]()
    for alias in looks:
        waiting.put(alias)

    def work() -> None:
        with contextlib.suppress(Empty):
            while not over.is_set():
                alias = waiting.get_nowait()
                _under_way.add(alias)
                try:
                    answers.put((alias, _quiet(looks[alias], alias)))
                finally:
                    _under_way.discard(alias)

    for _ in range(min(THREADS, len(looks))):
        threading.Thread(target=work, name="integrity-look", daemon=True).start()
    until = time.monotonic() + LOOK_SECONDS
    with contextlib.suppress(Empty):
        for _ in looks:
            alias, seen = answers.get(timeout=max(0.0, until - time.monotonic()))
            if seen is not None:
                found[alias] = seen
    over.set()
    return found


def _quiet(look: Callable[[], Sighting | None], alias: str) -> Sighting | None:
    try:
        return look()
    except Exception as error:  # noqa: BLE001 (a worker of that database will meet it, and tell)
        logger.info("%s is left to its workers: %s", alias, reason_of_error(error))
        return None
