"""G2: a row that moves to a living parent keeps all its leaves, whenever it moves."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connections

from apps.integrity import backends, failpoints
from apps.integrity.backends.portable.barriers import NoBarriers
from apps.integrity.backends.portable.log import PortableLog
from apps.integrity.backends.portable.rows import PortableRows
from apps.integrity.backends.postgresql import constraints
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade
from sandbox.processes import eventually
from tests.kinds.left.models import Box, Item, Label, Shelf
from tests.kinds.parents.models import Root

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

BOXES = 40


def shelves(root: Root, number: int) -> None:
    made = Shelf.objects.bulk_create(Shelf(root=root) for _ in range(number))
    Box.objects.bulk_create(Box(shelf=each) for each in made for _ in range(BOXES))


def boxes_of_the_living(living: Root) -> set[int]:
    """How many boxes each shelf of the living root has."""
    found = Shelf.objects.filter(root=living)
    return {Box.objects.filter(shelf=each).count() for each in found}


@pytest.mark.parametrize("form", ["PostgreSQL", "portable"])
@pytest.mark.parametrize("rows", [25, 60, 400])
def test_rows_that_move_between_two_steps(
    tune: Tune, converge: Converge, monkeypatch: pytest.MonkeyPatch, form: str, rows: int
) -> None:
    if form == "portable":
        monkeypatch.setattr(backends, "log_backend", lambda _: PortableLog())
        monkeypatch.setattr(backends, "row_backend", lambda _: PortableRows())
        monkeypatch.setattr(backends, "barrier_backend", lambda _: NoBarriers())
    tune(statement_rows=rows, statement_rows_max=max(rows, 100))
    dead, living = Root.objects.create(), Root.objects.create()
    shelves(dead, 30)
    chance = random.Random(rows)  # noqa: S311 (a seed)
    moved: list[int] = []

    def move(phase: Failpoint) -> None:
        left = list(Shelf.objects.exclude(root=living).values_list("pk", flat=True))
        if phase is Failpoint.REMOVAL_COMMITTED and left:
            moved.append(pk := chance.choice(left))
            Shelf.objects.filter(pk=pk).update(root=living)

    monkeypatch.setattr(failpoints, "hit", move)
    dead.delete()
    converge()
    assert moved
    assert Shelf.objects.count() == len(moved)
    assert boxes_of_the_living(living) == {BOXES}


@pytest.mark.postgresql  # elsewhere it passes over locked rows at once
def test_a_row_that_moves_while_the_step_waits_for_it(converge: Converge) -> None:
    dead, living = Root.objects.create(), Root.objects.create()
    shelves(dead, 3)
    moving = Shelf.objects.order_by("pk")[1]
    dead.delete()
    other = connections["test_left"].copy()
    thread = threading.Thread(target=lambda: (converge(), connections.close_all()))
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(
                f"UPDATE left_shelf SET root_id = {living.pk} WHERE id = {moving.pk}"  # noqa: S608
            )
            thread.start()
            assert eventually(somebody_waits, timeout=30)
            other.commit()
    finally:
        other.close()
        thread.join()
    assert Shelf.objects.get().root_id == living.pk
    assert boxes_of_the_living(living) == {BOXES}


@pytest.mark.postgresql
def test_a_leaf_that_comes_while_its_root_goes_is_refused(converge: Converge) -> None:
    """Its key is checked at its own commit, by when the root is gone."""
    dead = Root.objects.create()
    shelves(dead, 1)
    shelf = Shelf.objects.get()
    dead.delete()
    other = connections["test_left"].copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"INSERT INTO left_box (shelf_id) VALUES ({shelf.pk})")  # noqa: S608
        converge()
        with pytest.raises(IntegrityError):
            other.commit()
    finally:
        other.close()
    assert (Shelf.objects.count(), Box.objects.count()) == (0, 0)
    assert Cascade.objects.get().attempts == 1


def test_one_that_was_checked_before_keeps_its_root_until_it_is_committed(
    tune: Tune, converge: Converge
) -> None:
    tune(lock_seconds=0.2)
    dead = Root.objects.create()
    shelves(dead, 1)
    shelf = Shelf.objects.get()
    dead.delete()
    other = connections["test_left"].copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            if other.vendor == "postgresql":  # InnoDB always checks at once
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"INSERT INTO left_box (shelf_id) VALUES ({shelf.pk})")  # noqa: S608
        converge()
        assert (Shelf.objects.count(), Box.objects.count()) == (1, BOXES)
        assert Cascade.objects.get().attempts == 0
        other.commit()
    finally:
        other.close()
    Cascade.objects.update(due_at=Cascade.objects.get().recorded_at)
    converge()
    assert (Shelf.objects.count(), Box.objects.count()) == (0, 0)


def test_a_row_with_more_leaves_than_a_statement_may_touch_goes_in_parts(
    tune: Tune, converge: Converge, captured: Captured
) -> None:
    tune(statement_rows=10, statement_rows_max=10)
    dead = Root.objects.create()
    shelves(dead, 2)
    Label.objects.bulk_create(Label(shelf=each) for each in Shelf.objects.all() for _ in range(15))
    dead.delete()
    with captured:
        assert converge() == {
            "left.Shelf.root": 2,
            "left.Box.shelf": 2 * BOXES,
            "left.Label.shelf": 30,
        }
    assert not Item.objects.exists()
    steps = "\n".join(captured["test_left"]).split("BEGIN")[1:]
    assert max(step.count("DELETE FROM") for step in steps) < 10


def test_where_a_key_is_protects_the_leaves_go_first(
    converge: Converge, captured: Captured
) -> None:
    """As in tables that somebody made by hand: a foreign key that is not deferrable."""
    constraints.deferred_constraints.cache_clear()
    constraint = "made_by_hand"
    with connections["test_left"].cursor() as cursor:
        cursor.execute(
            "ALTER TABLE left_box ADD CONSTRAINT made_by_hand"
            " FOREIGN KEY (shelf_id) REFERENCES left_shelf (id)"
        )
    try:
        dead = Root.objects.create()
        shelves(dead, 2)
        dead.delete()
        with captured:
            assert converge() == {"left.Shelf.root": 2, "left.Box.shelf": 2 * BOXES}
    finally:
        with connections["test_left"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE left_box DROP CONSTRAINT {constraint}")
        constraints.deferred_constraints.cache_clear()
    deletes = [sql for sql in captured["test_left"] if "DELETE FROM" in sql]
    assert "left_shelf" in deletes[-1]
    assert "left_shelf" not in deletes[0]


@pytest.mark.postgresql  # keys that are checked at the commit
def test_elsewhere_the_roots_go_first_by_which_they_are_locked(
    converge: Converge, captured: Captured
) -> None:
    dead = Root.objects.create()
    shelves(dead, 2)
    dead.delete()
    with captured:
        converge()
    deletes = [sql for sql in captured["test_left"] if "DELETE FROM" in sql]
    assert "left_shelf" in deletes[0]
    assert not [sql for sql in captured["test_left"] if "FOR UPDATE" in sql]


def somebody_waits() -> bool:
    with connections["test_left"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        return bool(cursor.fetchone()[0])


@pytest.fixture(autouse=True)
def no_box_is_left(committed: None) -> Any:
    """Whatever a test did, no leaf is without its root."""
    yield
    orphans = Box.objects.exclude(shelf__in=Shelf.objects.all())
    assert not orphans.exists()
