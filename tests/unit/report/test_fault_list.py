"""Figures → faults, their weight, and what is said of each. Without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from apps.integrity.report import fault, processes, sentences
from apps.integrity.report.fault import Fault, Figures
from apps.integrity.report.faults import faults_of
from apps.integrity.report.rows import database_row

if TYPE_CHECKING:
    from apps.integrity.report.heartbeats import HeartbeatRow
    from apps.integrity.report.rows import DatabaseRow

BLOG, QUEUE = "blog_db", "integrity.blog_db"


def row(**changes: Any) -> DatabaseRow:
    return {**database_row(BLOG, [], []), **changes}


def process(name: str, seconds: float, *queues: str) -> HeartbeatRow:
    return {
        "name": name,
        "seconds_ago": seconds,
        "clock_skew_seconds": 0.0,
        "queues": [*queues] or None,
    }


BEATS = (process("beat", 2.0),)
WELL = (*BEATS, process("celery@one", 2.0, "integrity", QUEUE))
WORK = {"backlog": 3, "state": "working", "unclaimed_seconds": 12.0, "lag_seconds": 12.0}
UNKNOWN: Any = {"name": "old_db", "work": 2, "reason": "no such alias: 2 wait. `rename` moves it"}


def kinds(**figures: Any) -> list[tuple[str, str]]:
    figures.setdefault("databases", [row()])
    return [(one.kind, one.subject) for one in faults_of(Figures(**figures))]


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"unreachable_logs": ["eu"]}, "The deletion log in eu cannot be reached."),
        (
            {"broker": "ConnectionError: refused", "broker_seconds": 12.0, "celery": True,
             "processes": WELL},
            "The broker has not answered for 12 s: ConnectionError: refused.",
        ),
        (
            {"databases": [row(unreachable=True, unreachable_seconds=728.0, backlog=3,
                               reason="cannot be reached: connection failed: Refused")]},
            "blog_db has been unusable for 12 min: Refused; 3 deletions wait.",
        ),
        (
            {"databases": [row(unreachable=True, reason="cannot be reached: Refused")]},
            "blog_db cannot be worked on: Refused.",
        ),
        (
            {"databases": [row(late=2, margin_seconds=-90.0, blocked_reason="a trigger")]},
            "2 deletions are past the deadline in blog_db, the first for 1 min 30 s: a trigger.",
        ),
        (
            {"databases": [row(risk=1.2, risk_reason="9 deletions before a deadline in 2 h")]},
            "Deadlines are at risk in blog_db: 9 deletions before a deadline in 2 h.",
        ),
        (
            {"databases": [row(**WORK)], "processes": BEATS},
            (
                "3 deletions in blog_db have had no worker for 12 s:"
                " no worker consumes the queue integrity.blog_db."
            ),
        ),
        (
            {"databases": [row(**{**WORK, "unclaimed_seconds": None}, claims=[
                {"worker": "celery@two", "number": 500, "lease_seconds": 1.5}])],
             "processes": (*WELL, process("celery@two", 9.0, QUEUE))},
            (
                "500 deletions in blog_db have been claimed by celery@two,"
                " which was last seen 9 s ago; its claim ends in 1 s."
            ),
        ),
        (
            {"celery": True, "processes": (*BEATS, process("celery@one", 1.0, QUEUE))},
            "No worker consumes the queue integrity: nothing is verified or scanned.",
        ),
        ({"celery": True}, "Beat has never been seen: nothing is verified or scanned."),
        (
            {"celery": True, "processes": (process("beat", 200.0),)},
            "Beat has not been seen for 3 min 20 s: nothing is verified or scanned.",
        ),
        (
            {"databases": [row(paused=True, paused_kind="operator", paused_seconds=60.0,
                               reason="paused: index build")]},
            "blog_db has been paused for 1 min: index build.",
        ),
        (
            {"databases": [row(paused=True, paused_kind="restored", reason="paused: look at it")]},
            "blog_db has been paused: look at it.",
        ),
        ({"unknown": [UNKNOWN]}, "old_db: no such alias: 2 wait."),
        (
            {"databases": [row(blocked=10_001, blocked_reason="IntegrityError: used")]},
            "10,000+ deletions are blocked in blog_db: IntegrityError: used.",
        ),
        (
            {"brakes": {"blog.Post.author": "absurd"}},
            "The brake refuses the repair of blog.Post.author: absurd.",
        ),
        (
            {"brakes": {"blog.Post.author": "absurd"}, "scan_seconds": {"blog.Post.author": 12.0}},
            "The brake refuses the repair of blog.Post.author, found by a scan 12 s ago: absurd.",
        ),
        (
            {"databases": [row(failing=1, failing_seconds=20.0, next_try_seconds=12.0,
                               failing_reason="DataError 22001")]},
            (
                "1 deletion fails in blog_db, the oldest recorded 20 s ago: DataError 22001;"
                " next try in 12 s."
            ),
        ),
        (
            {"databases": [row(overdue=True, unproven=3, waits_seconds=1_230.0,
                               unproven_reason="waits for transaction 7 of pid 9")]},
            (
                "3 deletions are done in blog_db and not verified for 20 min:"
                " waits for transaction 7 of pid 9."
            ),
        ),
        (
            {"databases": [row(kept=1)]},
            (
                "1 deletion left rows alone in blog_db:"
                " the value that these refer to belongs to an existing row again."
            ),
        ),
        (
            {"missing_parents": 900},
            (
                "900 missing parents were found by scans;"
                " repair removes the rows that refer to them."
            ),
        ),
        (
            {"databases": [row(backlog=3, lag_seconds=728.0, rate=1.0)]},
            "blog_db is 12 min behind; work is in progress.",
        ),
        (
            {"databases": [row(backlog=3, lag_seconds=728.0)]},
            "blog_db is 12 min behind: no worker has claimed it.",
        ),
        (
            {"databases": [row(backlog=3, lag_seconds=728.0, pace_reason="it is busy")]},
            "blog_db is 12 min behind: it is busy.",
        ),
    ],
)  # fmt: skip
def test_each_is_one_sentence_with_a_level(figures: dict[str, Any], sentence: str) -> None:
    figures.setdefault("databases", [row()])
    (found,) = faults_of(Figures(**figures))
    assert sentences.sentence(found) == sentence
    assert found.level == fault.LEVELS[found.kind]
    assert found.remedy or found.kind == "restored"
    assert Fault.of(found.document()) == found


def test_the_worst_comes_first_and_all_are_listed() -> None:
    down = row(unreachable=True, unreachable_seconds=9.0, reason="Refused", kept=1)
    paused = {**row(paused=True, paused_kind="operator", reason="paused: p"), "database": "shop"}
    older: Any = {**down, "database": "eu_db", "unreachable_seconds": 90.0, "kept": 0}
    found = kinds(databases=[paused, down, older], celery=True, missing_parents=1, broker="x")
    assert found == [
        *[("broker", ""), ("unreachable", "eu_db"), ("unreachable", BLOG), ("beat", "")],
        *[("paused", "shop"), ("kept", BLOG), ("orphans", "")],
    ]


class TestWorkers:
    """A worker is missing where due work has none and nobody consumes its queue."""

    def missing(self, *processes: HeartbeatRow, **changes: Any) -> bool:
        found = kinds(databases=[row(**{**WORK, **changes})], processes=processes)
        return ("workers", BLOG) in found

    def test_after_seven_seconds(self) -> None:
        assert self.missing(unclaimed_seconds=5.0)
        assert not self.missing(unclaimed_seconds=4.9)
        assert not self.missing(unclaimed_seconds=None)

    def test_a_consumer_of_its_queue_is_one_and_of_another_queue_is_none(self) -> None:
        assert not self.missing(process("w", 2.0, QUEUE))
        assert self.missing(process("w", 2.0, "integrity.shop_db"))
        assert self.missing(process("w", 8.0, QUEUE))  # it is silent

    def test_while_nobody_knows_what_a_live_worker_consumes_none_is_missing(self) -> None:
        assert not self.missing(process("old", 50.0))
        assert self.missing(process("old", 70.0))

    @pytest.mark.parametrize("state", ["hindered", "paused", "unknown"])
    def test_none_is_wanted_where_no_work_may_begin(self, state: str) -> None:
        assert not self.missing(state=state)
        assert not self.missing(pace=0.0)

    def test_who_renews_a_claim_is_alive(self) -> None:
        claim = {"worker": "celery@two", "number": 5, "lease_seconds": 5.3}
        silent = process("celery@two", 9.0, QUEUE)
        assert not self.missing(silent, unclaimed_seconds=None, claims=[claim])
        claim["lease_seconds"] = 2.0
        assert self.missing(silent, unclaimed_seconds=None, claims=[claim])
        heard = process("celery@two", 3.0, QUEUE)
        assert not self.missing(heard, unclaimed_seconds=None, claims=[claim])


class TestBeat:
    def test_a_process_of_its_own_tells_soon(self) -> None:
        own = process("beat@host", 8.0)
        assert processes.beat_silence([own, process("beat", 9.0)]) == 8.0
        assert processes.beat_silence([own, process("beat", 3.0)]) is None  # another one ticks
        assert processes.beat_silence([process("beat@host", 2.0), process("beat", 90.0)]) is None

    def test_ticks_count_where_it_has_none(self) -> None:
        assert processes.beat_silence([process("beat", 170.0)]) is None
        assert processes.beat_silence([process("beat", 190.0)]) == 190.0

    def test_without_celery_there_is_none(self) -> None:
        assert kinds(processes=[]) == []
        drain = process("drain@host", 3.0, "integrity", QUEUE)
        assert kinds(processes=[drain], celery=True, broker="refused") == []
