"""Barriers of one server and of another one; the sentence on what holds them. No database."""

from __future__ import annotations

import pytest

from apps.integrity.backends.barriers import (
    Barrier,
    BarrierState,
    Blocker,
    Holder,
    Horizon,
    barriers_from_json,
    barriers_to_json,
    describe_blocker,
    state_of,
    state_of_all,
)

HERE = Horizon(oldest=100, following=200, server="7/1")
PASSED, HELD, FOREIGN = BarrierState


def barrier(number: int, server: str = "7/1") -> Barrier:
    return Barrier(number=number, server=server)


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        pytest.param(barrier(99), PASSED, id="below the oldest"),
        pytest.param(barrier(100), PASSED, id="the oldest itself"),
        pytest.param(barrier(101), HELD, id="above the oldest"),
        pytest.param(barrier(200), HELD, id="the number that follows"),
        pytest.param(barrier(201), FOREIGN, id="above all numbers of the server"),
        pytest.param(barrier(99, "8/1"), FOREIGN, id="of another server"),
        pytest.param(barrier(99, "7/2"), FOREIGN, id="of another timeline"),
        pytest.param(None, FOREIGN, id="none was taken"),
    ],
)
def test_how_a_barrier_stands(noted: Barrier | None, expected: BarrierState) -> None:
    assert state_of(noted, HERE) is expected
    assert state_of(noted, None) is PASSED


def test_the_worst_of_several_databases_counts() -> None:
    now = {"a": HERE, "b": HERE, "lite": None}
    good, late, strange = barrier(1), barrier(150), barrier(1, "9/1")
    assert state_of_all({"a": good, "b": good}, now) is PASSED
    assert state_of_all({"a": late, "b": good}, now) is HELD
    assert state_of_all({"a": late, "b": strange}, now) is FOREIGN
    assert state_of_all({"a": good}, now) is FOREIGN
    assert state_of_all({}, {"lite": None}) is PASSED


@pytest.mark.parametrize("kept", [None, {}, [], "x", {"a": 5}, {"a": {"number": 5}}])
def test_what_was_not_written_by_us_is_no_barrier(kept: object) -> None:
    assert barriers_from_json(kept) == {}


def test_a_fence_goes_into_the_log_and_back() -> None:
    fence = {"a": barrier(5), "b": barrier(6, "8/1")}
    assert barriers_from_json(barriers_to_json(fence)) == fence


SINCE = "2030-01-02 03:04:05 UTC"
SESSION = Blocker(
    number=742,
    kind=Holder.SESSION,
    pid=4711,
    application="psql",
    database="other",
    state="idle in transaction",
    since=SINCE,
)
PREPARED = Blocker(
    number=742, kind=Holder.PREPARED, gid="order's", owner="app", database="other", since=SINCE
)


@pytest.mark.parametrize(
    ("blocker", "expected"),
    [
        (
            SESSION,
            (
                "waits for transaction 742 of pid 4711 (psql) in database other, idle in"
                f" transaction since {SINCE}: end it there, or with"
                " SELECT pg_terminate_backend(4711)"
            ),
        ),
        (
            Blocker(number=742, kind=Holder.SESSION, pid=4711, database="other"),
            (
                "waits for transaction 742 of pid 4711 in database other, a transaction of another"
                " role; grant pg_read_all_stats to see it"
            ),
        ),
        (
            PREPARED,
            (
                "waits for the prepared transaction 742 'order''s' of app in database other,"
                f" prepared since {SINCE}: COMMIT PREPARED or ROLLBACK PREPARED 'order''s' there"
            ),
        ),
        (
            Blocker(number=742, kind=Holder.UNSEEN),
            (
                "waits for transaction 742, which the server does not show to this role;"
                " grant pg_read_all_stats to see it"
            ),
        ),
    ],
)
def test_what_holds_in_words(blocker: Blocker, expected: str) -> None:
    assert describe_blocker(blocker) == expected


def test_names_that_others_chose_fit_on_a_line() -> None:
    gid = "a\nb\x1b[31m" + "x" * 500
    told = describe_blocker(Blocker(number=1, kind=Holder.PREPARED, gid=gid))
    assert told.isprintable()
    assert "a?b?[31mx" in told
    assert len(told) < 600
