"""A key with very many rows goes over two connections, and nothing depends on the second one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import OperationalError, transaction

from apps.integrity import cascade, failpoints
from apps.integrity.cascade import second_walk, walks
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade, Identity, Tally
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import dispatch
from tests.integration.cascade.test_walks import (  # the fixtures are used by their names
    ROWS,
    leaves,
    more_than_one_step,
    no_bloat,
    run,
)
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Locked, Tune

    Converge = Callable[[], Counter[str]]

__all__ = ["more_than_one_step", "no_bloat"]
pytestmark = pytest.mark.usefixtures("committed", "more_than_one_step", "no_bloat", "tallied")

GONE = ROWS * 9 // 10
SECONDS = 20.0


class Both:
    """The steps of both walks. The first one waits for the second one's first step."""

    def __init__(self) -> None:
        self.first, self.second = list[range](), list[range]()
        self.wanted = list[bool]()
        self.began = threading.Event()
        self.fails: Callable[[], None] = lambda: None
        self.patient = True

    def delete(self, walk: walks.Walk, *given: Any, **named: Any) -> Any:
        if not walk.backwards and self.patient:
            self.began.wait(SECONDS)
        try:
            gone = delete(walk, *given, **named)
            if walk.backwards:
                self.fails()
        finally:
            if walk.backwards:
                self.began.set()
        (self.second if walk.backwards else self.first).append(walk.taken)
        return gone


delete, begun = walks.Walk.delete, second_walk.begun


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    steps = Both()
    monkeypatch.setattr(second_walk, "MIN_ROWS", 1)

    def step(walk: walks.Walk, *given: Any, **named: Any) -> Any:
        return steps.delete(walk, *given, **named)

    def begin(*given: Any, **named: Any) -> second_walk.SecondWalk | None:
        second = begun(*given, **named)
        steps.wanted.append(second is not None)
        return second

    monkeypatch.setattr(walks.Walk, "delete", step)
    monkeypatch.setattr(second_walk, "begun", begin)
    yield steps
    for thread in threading.enumerate():
        if thread.name == "integrity-walk":
            thread.join(SECONDS)


@pytest.fixture
def tallied(committed: None) -> Iterator[None]:
    yield
    Tally.objects.using("test_right").all().delete()


def one_of_two() -> Owner:
    """A parent that is gone, and whose rows lie among those of a living one."""
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves(dead, beside=living)
    dead.delete()
    return living


def require_exact(living: Owner, number: int = GONE) -> None:
    """All rows of the dead parent are gone, and counted once; none of the living one's is."""
    assert Leaf.objects.filter(owner=living).count() == ROWS // 10 == Leaf.objects.count()
    done = Cascade.objects.get(database="test_right")
    assert done.state == "done"
    assert [*(done.rows or {}).values()] == [{"right.Leaf.owner": number}]
    counted = Tally.objects.using("test_right").values_list("counts", flat=True)
    assert sum(sum(counts.values()) for counts in counted) == number


def test_both_walks_delete_rows_and_meet(converge: Converge, both: Both) -> None:
    living = one_of_two()
    assert converge()["right.Leaf.owner"] == GONE
    require_exact(living)
    assert both.first
    assert both.second
    taken = [block for blocks in (*both.first, *both.second) for block in blocks]
    assert len(taken) == len({*taken})
    assert min(both.second[0]) > max(both.first[0])


def last_block_of(owner: Owner) -> int:
    """The last block that has rows of that owner."""
    sql = "SELECT max((ctid::text::point)[0])::int FROM right_leaf WHERE owner_id = {}"
    ((block,),) = run(sql.format(owner.pk))
    return int(block)


def test_the_second_one_begins_with_the_last_block_that_has_rows(
    converge: Converge, both: Both
) -> None:
    """Others have written behind them since; and in the next time slice, the last ones are gone."""
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves(dead, beside=living)
    last = last_block_of(dead)
    leaves(living, ROWS)
    dead.delete()
    converge()
    assert both.second[0].stop == last + 1
    assert not Leaf.objects.filter(owner_id=dead.pk).exists()


def test_what_it_has_committed_counts_though_it_fails_later(converge: Converge, both: Both) -> None:
    def fail() -> None:
        if both.second:
            raise OperationalError("the connection is lost")

    living, both.fails = one_of_two(), fail
    converge()
    require_exact(living)
    assert len(both.second) == 1


def test_its_rows_come_back_where_it_fails_before_its_first_commit(
    converge: Converge, both: Both
) -> None:
    def fail() -> None:
        raise OperationalError("the connection is lost")

    living, both.fails = one_of_two(), fail
    converge()
    require_exact(living)
    assert not both.second


def test_it_touches_no_row_of_a_parent_that_came_back(converge: Converge, both: Both) -> None:
    dead = Owner.objects.create()
    leaves(dead)
    key, came_back = dead.pk, threading.Event()

    def come_back() -> None:
        Owner.objects.create(pk=key)
        came_back.set()

    both.fails = come_back
    dead.delete()
    first_step = 1_000
    assert converge()["right.Leaf.owner"] == first_step
    assert came_back.is_set()
    assert Leaf.objects.count() == ROWS - first_step
    assert Cascade.objects.get(database="test_right").state == "kept"


def test_it_does_not_write_into_a_database_of_other_parents(
    converge: Converge, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias led to the right one when the claim began; a new connection leads elsewhere."""
    living, swapped, both.patient = one_of_two(), list[Any](), False
    identities = Identity.objects.using("test_right")

    def swap(phase: Failpoint) -> None:
        if phase is Failpoint.REMOVAL_COMMITTED and not swapped:
            swapped.extend(identities.values_list("pk", "uuid"))
            identities.update(uuid=uuid4())

    monkeypatch.setattr(failpoints, "hit", swap)
    dispatch.sweep("default")
    try:
        cascade.drain("test_right")
    finally:
        for pk, uuid in swapped:
            identities.filter(pk=pk).update(uuid=uuid)
    assert swapped
    assert both.first
    assert not both.second
    converge()
    assert Leaf.objects.count() == Leaf.objects.filter(owner=living).count()


def test_a_lock_on_its_rows_holds_up_nobody(
    converge: Converge, both: Both, locked: Callable[..., Locked], tune: Tune
) -> None:
    tune(statement_rows=1_000, statement_rows_max=1_500, statement_seconds=30, lock_seconds=0.2)
    dead = Owner.objects.create()
    leaves(dead)
    last, both.patient = Leaf.objects.latest("pk"), False
    dead.delete()
    with locked(Leaf.objects.filter(pk=last.pk)):
        dispatch.sweep("default")
        began = time.monotonic()
        cascade.drain("test_right")
        assert time.monotonic() - began < SECONDS
        assert Leaf.objects.count() == 1
    Cascade.objects.update(due_at=ServerNow())
    converge()
    assert not Leaf.objects.exists()
    done = Cascade.objects.get(database="test_right")
    assert [*(done.rows or {}).values()] == [{"right.Leaf.owner": ROWS}]


@pytest.mark.parametrize(
    "values",
    [
        {"second_connection": False},
        {"pressure": {"test_right": {"max_rows_per_second": 100_000}}},
        {"pressure": {"test_right": {"busy": "tests.integration.cascade.test_second_walk.busy"}}},
        {"pressure": {"test_right": {"max_replica_lag_seconds": 60}}},
    ],
    ids=["off", "rate", "busy", "lag"],
)
def test_there_is_none_where_one_connection_is_wanted(
    converge: Converge, both: Both, tune: Tune, values: dict[str, Any]
) -> None:
    both.patient = False
    tune(statement_rows=1_000, statement_rows_max=1_500, statement_seconds=30, **values)
    living = one_of_two()
    converge()
    assert both.wanted
    assert not any(both.wanted)
    assert Leaf.objects.count() == Leaf.objects.filter(owner=living).count()


def busy(_alias: str) -> float:
    """Return how busy the database is."""
    return 0.2


def test_there_is_none_inside_a_callers_transaction(both: Both) -> None:
    """As in a test of the project: another connection would see none of its rows."""
    both.patient = False
    living = one_of_two()
    dispatch.sweep("default")
    with transaction.atomic("test_right"):
        cascade.drain("test_right")
    assert both.wanted
    assert not any(both.wanted)
    assert Leaf.objects.count() == Leaf.objects.filter(owner=living).count()
