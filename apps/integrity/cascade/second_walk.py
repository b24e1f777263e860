"""A second walk through the blocks of a table, from its end, in a thread with its own connections.

Most of the time, a step waits for the database: the COMMIT checks the foreign keys of every row. So
two connections delete the rows of one key up to twice as fast as one. The second walk is part of
the same time slice and the same claim. Its steps are like those of the first: bounded, checked
before their commit, and counted in the child's database, in rows of their own.

Nothing depends on it. Where it fails or does not end, its blocks are left to the steps by an index
that follow every walk, and what it did commit is in the tally.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from typing import TYPE_CHECKING

from django.db import connections

from .. import conf, relations
from ..backends.connections import reach
from ..control import identity
from ..control.pacing import Pacer
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from .live_check import LiveClaim
from .progress import Progress
from .steps import Part, Steps
from .walks import Walk

if TYPE_CHECKING:
    from ..log.values import Claim
    from ..relations import Relation
    from ..relations.plan import Plan
    from .steps import Done

logger = logger_of("integrity.cascade")

#: With fewer rows left, opening the connections takes longer than they save.
MIN_ROWS = 50_000
#: How long the time slice waits for the last step of the walk.
JOIN_SECONDS = 3.0
#: Database → the last walk there. While it waits for a server, none joins it.
_threads: dict[str, threading.Thread] = {}


class SecondWalk:
    """Takes steps from the last block of a walk's table backwards, until both walks meet."""

    def __init__(
        self, steps: Steps, claim: Claim, relation: Relation, plan: Plan, *, until: float
    ) -> None:
        self._claim, self._relation, self._plan, self._until = claim, relation, plan, until
        self.steps = steps
        self._over, self._connected = threading.Event(), threading.Event()
        self._done: list[Done] = []
        self._thread = threading.Thread(target=self._run, name="integrity-walk", daemon=True)
        self._thread.start()
        _threads[claim.database] = self._thread

    def join(self) -> list[Done]:
        """Let no other step begin; return those that are committed. Waits for the last one.

        Where it has no connections yet, because no pool or server has one left, it takes no step.
        """
        self._over.set()
        if self._connected.is_set():
            self._thread.join(JOIN_SECONDS)
        return [*self._done]

    def _run(self) -> None:
        database = self._claim.database
        try:
            if self._may_write():
                live = LiveClaim(self._claim)
                live.gone_keys(self._relation)
                self._connected.set()
                self._walk(live)
        except Exception as error:  # noqa: BLE001 (if it lasts, the first walk meets it, and tells)
            logger.info("the second walk in %s ended: %s", database, reason_of_error(error))
        finally:
            connections.close_all()

    def _may_write(self) -> bool:
        """Return whether the new connection leads to the database that the claim is for."""
        database = self._claim.database
        reach(database)
        homes = relations.catalogue().homes(database, self._claim.using)
        return not any(identity.mismatch(database, using=home) for home in homes)

    def _walk(self, live: LiveClaim) -> None:
        steps, walk = self.steps, self.steps.walk
        while walk and not (walk.over or steps.skip_locked or self._over.is_set()):
            owners = live.gone_keys(self._relation, fresh=False)
            if not owners or time.monotonic() >= self._until:
                break
            done = steps.take(live, Part(self._relation, self._plan, owners), self._until)
            steps.progress.add(done.counts, owners)
            self._done.append(done)


def begun(
    first: Steps, claim: Claim, relation: Relation, plan: Plan, *, until: float
) -> SecondWalk | None:
    """Return a second walk beside that of the steps, or None where one is enough or all there is.

    A database with limits gets one connection: two would overrun a replica before the next sample.
    Inside a caller's transaction, another connection would not see its rows.
    """
    walk, pacer, database = first.walk, first.pacer, claim.database
    before = _threads.get(database)
    if (
        walk is None
        or walk.rows < MIN_ROWS
        or not conf.current().second_connection
        or pacer.limited
        or connections[database].in_atomic_block
        or (before is not None and before.is_alive())
    ):
        return None
    steps = Steps(
        database,
        copy.deepcopy(first.batch_sizes),
        Progress(claim, first.progress.rows),
        interrupts=first.interrupts,
        pacer=Pacer(database, using=claim.using, interrupts=first.interrupts),
        skip_locked=False,
    )
    steps.walk = Walk(walk.blocks, walk.rows_per_block, backwards=True)
    with contextlib.suppress(RuntimeError):  # the process may start no more threads
        return SecondWalk(steps, claim, relation, plan, until=until)
    return None
