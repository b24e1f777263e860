"""The matrix as data: what is expected of each fault at each moment, and by when.

The expectations are those of the plan; `proof` says what the act in `acts/` looks at. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Moment(StrEnum):
    """Where a deletion stands when the fault strikes."""

    A = "a"
    B = "b"
    C = "c"
    D = "d"
    E = "e"
    F = "f"
    G = "g"


MOMENTS = {
    Moment.A: "before the commit",
    Moment.B: "committed, not notified",
    Moment.C: "message queued",
    Moment.D: "message taken, nothing done",
    Moment.E: "rows being removed, log not marked",
    Moment.F: "log marked, message not acknowledged",
    Moment.G: "idle",
}


class Fault(StrEnum):
    """What goes wrong."""

    KILL_WEB = "kill-web"
    KILL_CHILD = "kill-child"
    KILL_WORKER = "kill-worker"
    OOM_LOOP = "oom-loop"
    TERM = "term"
    REDIS_REFUSED = "redis-refused"
    REDIS_FROZEN = "redis-frozen"
    FLUSH = "flush"
    HALF_OPEN = "half-open"
    CHILD_DOWN = "child-down"
    CHILD_READ_ONLY = "child-read-only"
    DEFAULT_DOWN = "default-down"
    DEADLOCK = "deadlock"
    LOCK_TIMEOUT = "lock-timeout"
    BEAT_DEAD = "beat-dead"
    BEAT_DOUBLED = "beat-doubled"
    REBORN = "reborn"
    LATE_INSERT = "late-insert"


FAULTS = {
    Fault.KILL_WEB: "kill -9 of the web process",
    Fault.KILL_CHILD: "kill -9 of a prefork child",
    Fault.KILL_WORKER: "kill -9 of the whole worker",
    Fault.OOM_LOOP: "a deletion that kills its worker each time",
    Fault.TERM: "TERM (a deploy)",
    Fault.REDIS_REFUSED: "Redis is stopped",
    Fault.REDIS_FROZEN: "Redis is frozen",
    Fault.FLUSH: "FLUSHALL",
    Fault.HALF_OPEN: "connections to Redis go silent (half-open TCP)",
    Fault.CHILD_DOWN: "a child database is stopped",
    Fault.CHILD_READ_ONLY: "a child database is read-only",
    Fault.DEFAULT_DOWN: "`default` is stopped",
    Fault.DEADLOCK: "deadlock",
    Fault.LOCK_TIMEOUT: "lock timeout",
    Fault.BEAT_DEAD: "beat is dead",
    Fault.BEAT_DOUBLED: "two beats",
    Fault.REBORN: "the key is created again",
    Fault.LATE_INSERT: "a child row is inserted meanwhile or afterwards",
}


class Scene(StrEnum):
    """Cells that share servers and workers; the scenes run side by side."""

    CHILDREN = "children"
    WORKERS = "workers"
    DEPLOY = "deploy"
    BROKER = "broker"
    SILENCE = "silence"
    DATABASES = "databases"
    ROWS = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One fault at one moment; `variant` tells cells of one field apart.

    `within` bounds the seconds from the fault's end (or from the fault, where it does not end)
    until all rows are gone; None where nothing is to happen.
    """

    fault: Fault
    moment: Moment
    scene: Scene
    expected: str
    proof: str
    within: float | None = None
    variant: str = ""

    @property
    def name(self) -> str:
        """Its name: `kill-child-e-claimed`."""
        return "-".join(filter(None, (self.fault, self.moment, self.variant)))


def _cells(scene: Scene, fault: Fault, *rows: tuple[str, float | None, str, str]) -> list[Cell]:
    return [
        Cell(
            fault=fault,
            moment=Moment(where[0]),
            variant=where[2:],
            scene=scene,
            within=within,
            expected=expected,
            proof=proof,
        )
        for where, within, expected, proof in rows
    ]


#: The same group of deletions is stopped at c, d, e and f for each fault of Redis.
def _redis(fault: Fault) -> list[Cell]:
    return _cells(
        Scene.BROKER,
        fault,
        ("a", 0.7, "the request succeeds", "the delete's own time, and its row in the log"),
        ("b", 15, "swept once Redis is back", "the delete of a, which could not notify"),
        ("c", 15, "waits in the queue", "its message was in Redis when it stopped responding"),
        ("d", 15, "swept", "Redis stopped responding during the task, which notified no one"),
        ("e", 15, "the work goes on", "done while Redis was still down; nothing removed twice"),
        ("f", 30, "redo", "its acknowledgement fails; the log keeps the first end"),
        ("g", 15, "reconnects", "a delete at the moment that Redis is back"),
    )


CELLS: tuple[Cell, ...] = (
    *_cells(
        Scene.ROWS,
        Fault.KILL_WEB,
        (
            "a",
            None,
            "nothing happened",
            "the user and all rows exist, the log has no entry",
        ),
        ("b", 10, "swept", "the log has it, and no message was sent"),
    ),
    *_cells(
        Scene.CHILDREN,
        Fault.KILL_CHILD,
        ("d-dispatch", 5, "redo", "killed while it held the dispatch message"),
        ("d-cascade", 5, "redo", "killed while it held the cascade message"),
        ("d-dispatched", 5, "redo", "killed after the cascades were committed, before notifying"),
        ("e-claimed", 5, "redo", "killed after the claim; a second attempt is counted"),
        ("e-removed", 5, "redo", "killed before the commit: the second run removes all rows"),
        ("e-committed", 5, "redo, 0 rows", "killed after the commit: each row counted, and once"),
        ("f", 5, "redo, 0 rows", "the log keeps the first end, attempt and rows"),
        ("f-probed", 25, "redo", "killed while verifying; verified by a later run"),
        ("g", 5, "none", "an idle child is killed; the next deletion is done by the same worker"),
    ),
    *_cells(
        Scene.WORKERS,
        Fault.KILL_WORKER,
        ("c", 15, "another worker does it", "its message was in the queue"),
        ("d", 15, "swept", "killed while it held the dispatch message"),
        ("e-claimed", 15, "swept", "killed after the claim; a second attempt is counted"),
        ("e-removed", 15, "swept", "killed before the commit: the second run removes all rows"),
        ("e-committed", 15, "swept, 0 rows", "killed after the commit: each row counted, and once"),
        ("f", 75, "duplicate = redo", "Redis delivers the message again; the log does not change"),
        ("g", 15, "another worker does it", "an idle worker is killed, then a user deleted"),
    ),
    *_cells(
        Scene.CHILDREN,
        Fault.OOM_LOOP,
        (
            "e",
            45,
            "batch halved, then blocked",
            "blocked with the reason; other deletions are done",
        ),
    ),
    *_cells(
        Scene.DEPLOY,
        Fault.TERM,
        ("c", 15, "stays queued", "its message is in the queue when the worker has ended"),
        ("d", 15, "requeued", "its message is in the queue again when the worker has ended"),
        ("e-ends", 10, "the slice ends", "done before the worker has ended"),
        ("e-redo", 15, "redo, 0 rows", "it did not finish: each row counted, and once"),
        ("f", 15, "clean", "the log keeps the first end, attempt and rows"),
        ("g", 20, "clean", "an idle worker ends with exit code 0; nothing is left unacknowledged"),
    ),
    *_redis(Fault.REDIS_REFUSED),
    *_redis(Fault.REDIS_FROZEN),
    *_cells(
        Scene.SILENCE,
        Fault.FLUSH,
        ("b", 15, "notified", "flushed between the commit and the notification"),
        ("c", 15, "swept", "its message is gone, and only beat sends others"),
        ("d", 15, "swept", "its message is gone from the unacknowledged ones"),
        ("e", 15, "the work goes on", "nothing removed twice"),
        ("f", 15, "clean", "the log keeps the first end, attempt and rows"),
        ("g", 15, "swept", "flushed when idle; the next deletion is done"),
    ),
    *_cells(
        Scene.SILENCE,
        Fault.HALF_OPEN,
        ("a", 0.6, "the request succeeds", "the delete's own time, and its row in the log"),
        ("b", 20, "swept", "the delete of a, whose notification was lost"),
        ("d", 20, "message lost: swept", "cut when Redis delivers a message: no worker gets it"),
        ("e", 20, "redo", "nothing removed twice"),
        ("f", 20, "redo", "the log keeps the first end, attempt and rows"),
        ("g", 20, "reconnects", "a delete after it, with nothing else to do"),
    ),
    *_cells(
        Scene.DATABASES,
        Fault.CHILD_READ_ONLY,
        ("c", 15, "circuit breaker", "no attempt used up, the other database done meanwhile"),
        ("d", 15, "circuit breaker", "no attempt used up, the other database done meanwhile"),
        ("e", 15, "retried later", "no attempt used up, the other database done meanwhile"),
        (
            "g",
            None,
            "reported",
            "status names the database and the reason, until it accepts writes again",
        ),
    ),
    *_cells(
        Scene.DATABASES,
        Fault.CHILD_DOWN,
        ("c", 15, "circuit breaker", "no attempt used up, the other database done meanwhile"),
        ("d", 15, "circuit breaker", "no attempt used up, the other database done meanwhile"),
        ("e", 15, "retried later", "no attempt used up, the other database done meanwhile"),
        (
            "g",
            None,
            "reported",
            "status names the database and the reason, until it is back",
        ),
    ),
    *_cells(
        Scene.DATABASES,
        Fault.DEFAULT_DOWN,
        ("a", None, "the delete fails", "nothing half done: all rows exist, no row in the log"),
        ("c", 15, "swept", "its message arrived while the log was down"),
        ("d", 15, "swept", "the task ends, and its message is consumed"),
        ("e", 15, "redo, 0 rows", "the removal stays: each row counted, and once"),
        ("f", 15, "redo", "the log keeps the first end, attempt and rows"),
        ("g", 15, "works again", "a delete once it is back, with nothing else to do"),
    ),
    *_cells(
        Scene.DATABASES,
        Fault.DEADLOCK,
        ("e", 10, "retried", "the database counts a deadlock; no attempt used up, others done"),
    ),
    *_cells(
        Scene.DATABASES,
        Fault.LOCK_TIMEOUT,
        ("e", 10, "retried", "no attempt used up, and others done while the row is locked"),
        (
            "f",
            15,
            "retried, 0 rows",
            "the log's row is locked at the end: each row counted, and once",
        ),
    ),
    *_cells(
        Scene.ROWS,
        Fault.BEAT_DEAD,
        ("b", 25, "the worker sweeps", "no beat runs, and no notification is sent"),
        ("g", 20, "reported", "status has no recent heartbeat of beat, and has one when it runs"),
    ),
    *_cells(
        Scene.ROWS,
        Fault.BEAT_DOUBLED,
        ("g", 10, "no effect", "two beats tick; one log row, one attempt for each database"),
    ),
    *_cells(
        Scene.ROWS,
        Fault.REBORN,
        ("e-claimed", 10, "kept", "0 rows removed, none changed; the reason is in the log"),
        ("e-removed", 25, "kept", "no row that came with the new user is touched"),
        ("g", 25, "kept", "created after the cascade, before verification: kept, with the reason"),
    ),
    *_cells(
        Scene.ROWS,
        Fault.LATE_INSERT,
        ("e-committed", 25, "same or second pass", "inserted between a removal and the end"),
        ("e-open", 25, "second pass", "not verified while its transaction is open, then removed"),
        ("f", 25, "second pass", "inserted after the cascade ended; reopened, with the reason"),
    ),
)

#: Fields of the matrix that are about the scan, which has its own tests.
ELSEWHERE = {
    (Fault.LATE_INSERT, Moment.G): "found by the scan",
}

NAMED = {cell.name: cell for cell in CELLS}
