"""What the log and the cascade decide before they act: backoff, company, batch size."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.integrity import conf
from apps.integrity.backends.batch_size import (
    MAX_GROWTH,
    MAX_HEAD_START,
    MIN_ROWS,
    RECENT_SECONDS,
    BatchSize,
    BatchSizes,
)
from apps.integrity.log import candidates, parts, retry
from apps.integrity.log.candidates import Candidate
from apps.integrity.queues import dispatch

ids = itertools.count(1)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 2.0), (2, 4.0), (3, 8.0), (9, 512.0), (10, 600.0), (500, 600.0)]
)
def test_the_wait_doubles_up_to_its_cap_and_is_spread_by_a_quarter(
    attempts: int, seconds: float
) -> None:
    waits = [retry.backoff(attempts, conf.Settings()) for _ in range(500)]
    assert seconds * 0.75 <= min(waits) < seconds * 0.85
    assert seconds * 1.15 < max(waits) <= seconds * 1.25


def candidate(
    parent: str,
    attempts: int = 0,
    *,
    relation: str = "",
    size: int = 1,
    begun: bool = False,
    large: bool = False,
) -> Candidate:
    return Candidate(
        pk=next(ids),
        size=size,
        parent=parent,
        relation=relation,
        attempts=attempts,
        begun=begun or large,
        large=large,
        waited=dt.timedelta(),
        seen_at=dt.datetime.now(dt.UTC),
    )


def size_of(limit: int) -> candidates.Size:
    """Return the sizes of the claims of a worker that may try eight times."""
    return partial(retry.claim_size, limit, 8)


def test_a_claim_is_of_the_parent_model_and_relation_of_its_first_cascade() -> None:
    a, b, c = candidate("x.A"), candidate("x.B"), candidate("x.A")
    scanned = candidate("x.A", relation="y.Y.a")
    assert candidates.chosen([a, b, scanned, c], size_of(10)) == [a, c]
    assert candidates.chosen([b, a, c], size_of(10)) == [b]
    assert candidates.chosen([scanned, a], size_of(10)) == [scanned]


@pytest.mark.parametrize(("attempts", "company"), [(0, 8), (1, 4), (2, 2), (3, 1), (9, 1)])
def test_the_more_often_a_cascade_failed_the_fewer_are_claimed_with_it(
    attempts: int, company: int
) -> None:
    rows = [candidate("x.A", attempts), *(candidate("x.A") for _ in range(20))]
    assert len(candidates.chosen(rows, size_of(8))) == company


def test_a_probe_takes_as_many_as_after_the_attempts_that_are_noted() -> None:
    rows = [candidate("x.A", 2), *(candidate("x.A") for _ in range(20))]
    assert len(candidates.chosen(rows, partial(retry.probe_size, 8))) == 4


def test_one_that_failed_often_joins_no_claim_that_is_larger_than_its_own() -> None:
    new, often = candidate("x.A"), candidate("x.A", 7)
    assert often not in candidates.chosen([new, often, candidate("x.A")], size_of(8))
    half = candidate("x.A", 2)
    many = [new, half, *(candidate("x.A") for _ in range(20))]
    assert len(candidates.chosen(many, size_of(8))) == 2


@given(
    limit=st.integers(1, 5_000),
    last=st.integers(1, 40),
    attempts=st.integers(0, 50),
)
def test_a_deletion_is_claimed_alone_before_its_last_attempt(
    limit: int, last: int, attempts: int
) -> None:
    size = retry.claim_size(limit, last, attempts)
    assert 1 <= retry.claim_size(limit, last, attempts + 1) <= size <= limit
    if attempts >= max(min(1, last - 1), last - 2):
        assert size == 1
    elif attempts == 0:
        assert size == limit


@given(limit=st.integers(1, 5_000), size=st.integers(1, 5_000))
def test_a_probe_that_took_too_long_is_repeated_for_no_more_than_was_asked(
    limit: int, size: int
) -> None:
    attempts = retry.attempts_before(limit, min(size, limit))
    assert 1 <= retry.probe_size(limit, attempts) <= size


def test_one_that_is_half_done_takes_no_new_one_into_its_turn() -> None:
    giant, other = candidate("x.A", begun=True), candidate("x.A", begun=True)
    new = candidate("x.A")
    assert candidates.chosen([giant, new, other], size_of(10)) == [giant, other]
    assert candidates.chosen([new, giant], size_of(10)) == [new]


def test_a_large_one_gets_its_turn_alone() -> None:
    one, two = candidate("x.A", large=True), candidate("x.A", large=True)
    begun = candidate("x.A", begun=True)
    assert candidates.chosen([one, two, begun], size_of(10)) == [one]
    assert candidates.chosen([begun, one], size_of(10)) == [begun]


def test_together_they_have_no_more_deletions_than_the_limit() -> None:
    first, large, small = (candidate("x.A", size=size) for size in (4, 9, 6))
    assert candidates.chosen([first, large, small], size_of(10)) == [first, small]
    assert candidates.chosen([large, small], size_of(8)) == [
        large
    ]  # it is cut before it is claimed


@given(
    deletions=st.lists(st.integers(1, 99), unique=True).map(sorted),
    wanted=st.sets(st.integers(1, 99)),
)
def test_a_division_loses_nothing_and_keeps_the_order(
    deletions: list[int], wanted: set[int]
) -> None:
    taken, rest = parts.divided(deletions, wanted)
    assert sorted(taken + rest) == deletions
    assert (taken, rest) == (sorted(taken), sorted(rest))
    assert set(taken) == wanted & set(deletions)


def test_a_part_of_a_document_is_none_where_it_is_empty() -> None:
    document = {"1": {"a": 5}, "3": {"a": 7}}
    assert parts.part_of(document, [2, 3]) == {"3": {"a": 7}}
    assert parts.part_of(document, [2]) is None
    assert parts.part_of(None, [1]) is None


def batch_size(rows: int, most: int) -> BatchSize:
    return BatchSize(rows, most=most, seconds=0.1)


class TestBatchSize:
    def test_it_starts_below_the_most(self) -> None:
        assert batch_size(1000, 7).rows == 7

    def test_a_slow_statement_halves_it_but_not_below_the_fewest(self) -> None:
        found = batch_size(400, 1000)
        rows = []
        for _ in range(5):
            found.record_step(0.2)
            rows.append(found.rows)
        assert rows == [200, 100, MIN_ROWS, MIN_ROWS, MIN_ROWS]

    def test_the_way_to_a_server_that_is_far_away_is_none_of_its_rows(self) -> None:
        """20 ms, for four statements, BEGIN and COMMIT; the rows take 10 ms for each thousand."""
        found = batch_size(1000, 10_000)
        for _ in range(6):
            work = (0.0, found.rows / 200_000, 0.001, found.rows / 200_000)
            statements = [0.02 + seconds for seconds in work]
            found.record_step(6 * 0.02 + found.rows / 100_000, statements=statements)
        assert 6_000 < found.rows < 8_000

    def test_a_server_that_is_slow_is_not_taken_for_one_that_is_far_away(self) -> None:
        found = batch_size(1000, 10_000)
        for _ in range(6):
            found.record_step(2.1, statements=[2.0])
        assert found.rows == MIN_ROWS

    def test_after_a_quick_statement_as_many_as_fit_but_not_above_the_most(self) -> None:
        found = batch_size(400, 1000)
        found.record_step(0.04)
        assert found.rows == 800
        found.record_step(0.04)
        assert found.rows == 1000

    def test_no_more_at_once_than_a_leap(self) -> None:
        found = batch_size(10, 1000)
        found.record_step(0.0)
        assert found.rows == 10 * MAX_GROWTH

    def test_one_that_had_fewer_rows_than_it_might_proves_nothing_for_more(self) -> None:
        found = batch_size(400, 1000)
        found.record_step(0.01, full=False)
        assert found.rows == 400
        found.record_step(0.2, full=False)
        assert found.rows == 200

    def test_a_statement_in_time_leaves_it(self) -> None:
        found = batch_size(400, 1000)
        found.record_step(0.08)
        assert found.rows == 400

    def test_fewer_rows_than_the_fewest_stay_as_they_are(self) -> None:
        found = batch_size(7, 7)
        found.record_step(5.0)
        assert found.rows == 7


def sizes_of(database: str, saved: dict[str, int] | None = None) -> BatchSizes:
    return BatchSizes(1_000, most=40_000, seconds=0.1, saved=saved, database=database)


class TestBatchSizes:
    def test_each_relation_has_its_own(self) -> None:
        batch_sizes = BatchSizes(1_000, most=40_000, seconds=0.1)
        batch_sizes["quick"].record_step(0.04)
        assert batch_sizes["slow"].rows == 2_000
        batch_sizes["slow"].record_step(0.2)
        assert (batch_sizes["quick"].rows, batch_sizes["slow"].rows) == (2_000, 1_000)

    def test_a_new_one_begins_where_the_slowest_is_and_not_far_above_the_first_rows(self) -> None:
        batch_sizes = BatchSizes(1_000, most=40_000, seconds=0.1)
        for _ in range(6):
            batch_sizes["quick"].record_step(0.01)
        assert batch_sizes["quick"].rows == 40_000
        assert batch_sizes["new"].rows == 1_000 * MAX_HEAD_START
        batch_sizes["new"].record_step(0.2)
        assert batch_sizes["newer"].rows == 500 * MAX_HEAD_START

    def test_a_run_begins_where_the_last_one_has_ended(self) -> None:
        first = sizes_of("a")
        first["quick"].record_step(0.01)
        first.end()
        assert sizes_of("a")["quick"].rows == 8_000
        assert sizes_of("a", saved={"quick": 3_000})["quick"].rows == 3_000
        assert sizes_of("b")["quick"].rows == 1_000

    def test_in_a_busy_database_with_as_many_rows_as_its_shorter_steps_may_have(self) -> None:
        first = sizes_of("a")
        first["quick"].record_step(0.01)
        first.end()
        second = sizes_of("a")
        second.aim_at(0.025)
        assert second["quick"].rows == 2_000

    def test_without_a_database_each_begins_anew(self) -> None:
        first = sizes_of("")
        first["quick"].record_step(0.01)
        first.end()
        assert sizes_of("")["quick"].rows == 1_000

    def test_but_not_where_that_was_long_ago(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = sizes_of("a")
        first["quick"].record_step(0.01)
        first.end()
        later = time.monotonic() + RECENT_SECONDS
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert sizes_of("a")["quick"].rows == 1_000


@pytest.mark.parametrize(
    ("dispatched", "workers"),
    [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (10**6, dispatch.WORKERS_MAX)],
)
def test_a_burst_wakes_more_workers_than_one_up_to_a_bound(dispatched: int, workers: int) -> None:
    assert dispatch.workers_to_wake(dispatched) == workers
