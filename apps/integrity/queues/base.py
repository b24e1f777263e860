"""One time slice of work in one child database.

Celery's tasks, a process without Celery, the command `integrity drain` and the tests of a project
all call `work_once`. An adapter for another task queue needs to call it, and to start `next_jobs`.
"""

from __future__ import annotations

import enum
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from .. import cascade, conf, relations, scan
from ..backends import connections
from ..backends.connections import tolerated
from ..cascade import verification
from ..control import circuit_breaker, heartbeats, pacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..backends.connections import Interrupts


class Job(enum.StrEnum):
    """A kind of work in a child database. The values are the names of the Celery tasks."""

    CASCADE = "integrity.cascade"
    VERIFY = "integrity.verify"
    SCAN = "integrity.scan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a time slice did. All counts but `rows` are of cascades.

    `rows` counts removed rows by relation. `held` is what verification waits for, or "".
    `unreachable` is the reason why the database cannot be worked on, or "". `quiet` says until when
    no work may begin there (the setting `quiet_hours`), or "". `next_jobs` are the jobs to start in
    the same database now.
    """

    rows: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    kept: int = 0
    verified: int = 0
    reopened: int = 0
    held: str = ""
    unreachable: str = ""
    quiet: str = ""
    next_jobs: tuple[Job, ...] = ()

    @property
    def changes(self) -> int:
        """Return how much was done; 0 where there was nothing to do."""
        counts = (self.finished, self.kept, self.verified, self.reopened)
        return sum(counts) + self.rows.total()


def work_once(
    job: Job,
    database: str,
    *,
    seconds: float | None = None,
    interruptions: Interrupts = (),
    owner: str = "",
    redelivered: bool = False,
) -> Outcome:
    """Do what is due of the job in that child database, for one time slice.

    `seconds` defaults to the setting `run_seconds`, or `scan_seconds` for a scan. `interruptions`
    are exceptions that end the slice, such as the one of a task's time limit. `owner` is the id of
    the task; `redelivered` is true where the broker delivered its message again: see
    `cascade.drain`.

    A database that cannot be worked on is an outcome, not an error. Raises `UnknownName` for an
    alias that is no child database, and the errors of a log.
    """
    if job is Job.SCAN:
        mode = scan.Mode(throttled=True)
        _, reason = scan.scan(database, seconds=seconds, mode=mode, interruptions=interruptions)
        return Outcome(unreachable=reason, quiet=pacing.quiet_reason(database))
    if job is Job.VERIFY:
        return _verify(database, seconds, interruptions)
    drained = cascade.drain(
        database, seconds=seconds, interruptions=interruptions, owner=owner, again=redelivered
    )
    return Outcome(
        rows=drained.rows,
        finished=drained.finished,
        kept=drained.kept,
        unreachable=drained.unreachable,
        quiet=drained.quiet,
        next_jobs=(Job.CASCADE,) if drained.more else (),
    )


def make_room(database: str) -> None:
    """Keep the number of this process's connections: `database` is the next to work on.

    For processes that do nothing but our work. In others, connections are the project's.
    """
    catalogue = relations.catalogue()
    among = {*catalogue.child_databases} - {*catalogue.log_databases}
    connections.make_room(database, among, conf.current().child_connections_max)


def _verify(database: str, seconds: float | None, interruptions: Interrupts) -> Outcome:
    done = verification.verify(database, seconds=seconds, interruptions=interruptions)
    next_jobs = {Job.CASCADE: bool(done.reopened), Job.VERIFY: done.more}
    return Outcome(
        verified=done.verified,
        reopened=done.reopened,
        kept=done.kept,
        held=done.held,
        unreachable=done.unreachable,
        quiet=done.quiet,
        next_jobs=tuple(job for job, wanted in next_jobs.items() if wanted),
    )


def heartbeat(name: str) -> None:
    """Record in each log that answers that the process `name` is alive."""
    for using in circuit_breaker.answering_logs():
        with tolerated(using):
            heartbeats.record(name, using=using)


class Attempts:
    """Work on several logs, where an error in one log does not hold up the others.

    A hindered log is skipped, and the reason is logged. The first other error is raised when the
    block ends; one of `interruptions` ends it at once.
    """

    def __init__(self, interruptions: Interrupts) -> None:
        self.interruptions = interruptions
        self.errors: list[Exception] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if raised is None and self.errors:
            raise self.errors[0]

    @contextmanager
    def on(self, using: str) -> Iterator[None]:
        """Work on the log in that database."""
        try:
            with tolerated(using):
                yield
        except self.interruptions:
            raise
        except Exception as error:  # noqa: BLE001 (raised after the last log)
            self.errors.append(error)
