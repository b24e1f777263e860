"""One key with very many rows goes block by block, and nothing depends on what a walk has met."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.integrity import backends, cascade, failpoints
from apps.integrity.cascade import walks
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from tests.kinds.left.models import Box, Shelf
from tests.kinds.parents.models import Owner, Root
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed", "more_than_one_step")

ROWS, BOUND = 6_000, 1_500
KEY: Any = Leaf._meta.get_field("owner")


@pytest.fixture
def more_than_one_step(tune: Tune) -> None:
    tune(statement_rows=1_000, statement_rows_max=BOUND, statement_seconds=30, turn_seconds=60)


@pytest.fixture(autouse=True)
def no_bloat(committed: None) -> Iterator[None]:
    """The tables begin with their first block."""
    for alias, tables in {"test_right": "right_leaf", "test_left": "left_box, left_shelf"}.items():
        run(f"VACUUM (FULL, ANALYZE) {tables}", alias)
    yield
    run("DROP TABLE IF EXISTS right_more")
    run("VACUUM right_leaf")


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT count(*) FROM gone) > 100 THEN
        RAISE 'statement timeout' USING ERRCODE = 'query_canceled';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refuse AFTER DELETE ON right_leaf REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION refuse()
"""


def run(sql: str, alias: str = "test_right") -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def leaves(owner: Owner, number: int = ROWS, *, beside: Owner | None = None) -> None:
    """Rows of that owner; each tenth is another one's."""
    other = beside.pk if beside else owner.pk
    run(
        "INSERT INTO right_leaf (owner_id) SELECT CASE WHEN number % 10 = 0"  # noqa: S608 (ours)
        f" THEN {other} ELSE {owner.pk} END FROM generate_series(1, {number}) AS number"
    )


def by_blocks(statements: list[str]) -> list[bool]:
    """For each DELETE, whether it was by blocks."""
    return ["ctid >=" in sql for sql in statements if "DELETE FROM" in sql]


def test_they_go_by_blocks_and_an_index_leads_to_the_rest(
    converge: Converge, captured: Captured
) -> None:
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves(dead, beside=living)
    dead.delete()
    with captured:
        assert converge()["right.Leaf.owner"] == ROWS * 9 // 10
    ways = by_blocks(captured["test_right"])
    assert sum(ways) > 2
    assert not ways[-1]
    assert Leaf.objects.filter(owner=living).count() == ROWS // 10 == Leaf.objects.count()
    assert Cascade.objects.get(database="test_right").state == "done"


def test_each_time_slice_walks_on_where_rows_are_left(
    converge: Converge, captured: Captured, tune: Tune
) -> None:
    tune(statement_rows=1_000, statement_rows_max=BOUND, statement_seconds=30, turn_seconds=1e-6)
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves(dead, beside=living)
    dead.delete()
    with captured:
        assert converge()["right.Leaf.owner"] == ROWS * 9 // 10
    first, *ways = by_blocks(captured["test_right"])
    assert not first
    assert sum(ways) > 2
    assert all(ways[:3])
    assert Leaf.objects.filter(owner=living).count() == ROWS // 10 == Leaf.objects.count()


def test_so_do_rows_that_others_refer_to_and_their_leaves_with_them(
    converge: Converge, captured: Captured
) -> None:
    dead, living = Root.objects.create(), Root.objects.create()
    run(
        "INSERT INTO left_shelf (root_id) SELECT CASE WHEN number % 10 = 0"  # noqa: S608 (ours)
        f" THEN {living.pk} ELSE {dead.pk} END FROM generate_series(1, {ROWS}) AS number",
        "test_left",
    )
    run("INSERT INTO left_box (shelf_id) SELECT id FROM left_shelf", "test_left")
    dead.delete()
    with captured:
        rows = converge()
    gone = ROWS * 9 // 10
    assert (rows["left.Shelf.root"], rows["left.Box.shelf"]) == (gone, gone)
    assert any("left_shelf" in sql and "ctid >=" in sql for sql in captured["test_left"])
    assert Shelf.objects.filter(root=living).count() == ROWS // 10 == Box.objects.count()
    assert set(Box.objects.values_list("shelf", flat=True)) == set(
        Shelf.objects.values_list("pk", flat=True)
    )


def test_no_step_changes_more_rows_than_a_statement_may(
    converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first blocks have few rows of the key, the others have nothing else."""
    dead, living = Owner.objects.create(), Owner.objects.create()
    for _ in range(12):
        leaves(living, 150)
        leaves(dead, 90)
    leaves(dead)
    key, left = dead.pk, [Leaf.objects.filter(owner=dead).count()]

    def count(phase: Failpoint) -> None:
        if phase is Failpoint.REMOVAL_COMMITTED:
            left.append(Leaf.objects.filter(owner_id=key).count())

    monkeypatch.setattr(failpoints, "hit", count)
    dead.delete()
    converge()
    steps = [before - after for before, after in itertools.pairwise(left)]
    assert max(steps) <= BOUND
    assert left[-1] == 0


@pytest.mark.parametrize(
    "meanwhile",
    [
        "INSERT INTO right_leaf (owner_id) SELECT {dead} FROM generate_series(1, 50)",
        "VACUUM FULL right_leaf",
        "CLUSTER right_leaf USING right_leaf_pkey",
        "UPDATE right_leaf SET owner_id = owner_id",
        "CREATE TABLE IF NOT EXISTS right_more () INHERITS (right_leaf)",
        "VACUUM (TRUNCATE) right_leaf",
    ],
)
def test_nothing_is_lost_whatever_rows_do_meanwhile(
    converge: Converge, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves(dead, beside=living)
    key, came = dead.pk, []

    def act(phase: Failpoint) -> None:
        if phase is Failpoint.REMOVAL_COMMITTED and len(came) < 5:
            came.append(run(meanwhile.format(dead=key)))

    monkeypatch.setattr(failpoints, "hit", act)
    dead.delete()
    rows = converge()["right.Leaf.owner"]
    assert not Leaf.objects.filter(owner_id=key).exists()
    assert Leaf.objects.count() == ROWS // 10
    added = 50 * len(came) if "INSERT" in meanwhile else 0
    assert rows == ROWS * 9 // 10 + added


def test_it_goes_on_by_an_index_where_a_step_may_no_longer_delete_a_whole_block(
    converge: Converge, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the walk's first step, the server cancels a statement that deletes more than 100."""
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves(dead, beside=living)
    refusing = list[Any]()

    def refuse(phase: Failpoint) -> None:
        committed = phase is Failpoint.REMOVAL_COMMITTED
        if committed and not refusing and by_blocks(captured["test_right"])[-1]:
            refusing.append(run(REFUSE))

    monkeypatch.setattr(failpoints, "hit", refuse)
    dead.delete()
    try:
        with captured:
            rows = converge()["right.Leaf.owner"]
    finally:
        run("DROP TRIGGER IF EXISTS refuse ON right_leaf; DROP FUNCTION IF EXISTS refuse()")
    assert refusing
    assert rows == ROWS * 9 // 10
    assert Leaf.objects.filter(owner=living).count() == ROWS // 10 == Leaf.objects.count()


def test_a_row_that_moves_to_a_living_parent_stays(
    converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves(dead)
    key, moved = dead.pk, []

    def move(phase: Failpoint) -> None:
        if phase is Failpoint.REMOVAL_COMMITTED and len(moved) < 3:
            sql = "UPDATE right_leaf SET owner_id = {} WHERE id ="
            last = f"(SELECT max(id) FROM right_leaf WHERE owner_id = {key})"  # noqa: S608 (ours)
            moved.append(run(f"{sql.format(living.pk)} {last}"))

    monkeypatch.setattr(failpoints, "hit", move)
    dead.delete()
    assert converge()["right.Leaf.owner"] == ROWS - 3
    assert Leaf.objects.filter(owner=living).count() == 3 == Leaf.objects.count()


def test_a_parent_that_comes_back_in_the_middle_keeps_what_is_left(
    converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Owner.objects.create()
    leaves(dead)
    key, steps = dead.pk, list[int]()
    plain = walks.Walk.delete

    def came_back(*given: Any, **named: Any) -> Any:
        gone = plain(*given, **named)
        if len(steps) == 1:
            Owner.objects.create(pk=key)
        steps.append(gone.numbers.total())
        return gone

    monkeypatch.setattr(walks.Walk, "delete", came_back)
    dead.delete()
    rows = converge()["right.Leaf.owner"]
    assert len(steps) == 2
    assert steps[1] > 0
    assert Leaf.objects.count() == ROWS - rows
    assert rows <= ROWS - steps[1]


def test_after_a_crash_in_the_middle_it_goes_on_and_counts_each_row_once(
    converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    dead = Owner.objects.create()
    leaves(dead)
    dead.delete()
    dispatch.sweep("default")
    plain, steps = walks.Walk.delete, []

    def die(*given: Any, **named: Any) -> Any:
        gone = plain(*given, **named)
        steps.append(gone)
        if len(steps) == 2:
            raise Died
        return gone

    monkeypatch.setattr(walks.Walk, "delete", die)
    cascade.drain("test_right", interruptions=(Died,))
    assert 0 < Leaf.objects.count() < ROWS
    converge()
    assert not Leaf.objects.exists()
    assert [*(Cascade.objects.get(database="test_right").rows or {}).values()] == [
        {"right.Leaf.owner": ROWS}
    ]


class TestTheBackend:
    def test_many_rows_in_few_blocks_are_dense(self) -> None:
        leaves(Owner(pk=1))
        backend = backends.row_backend("test_right")
        dense = backend.dense_blocks(KEY, 1, using="test_right")
        assert dense
        assert dense.blocks.start == 0
        ((pages,),) = run("SELECT pg_relation_size('right_leaf') / 8192")
        assert dense.blocks.stop == pages

    def test_one_row_in_each_block_is_not(self) -> None:
        run(
            "INSERT INTO right_leaf (owner_id) SELECT CASE WHEN number % 200 = 0 THEN 1 ELSE 2 END"
            " FROM generate_series(1, 250000) AS number"
        )
        assert not backends.row_backend("test_right").dense_blocks(KEY, 1, using="test_right")

    @pytest.mark.parametrize("kind", ["INHERITS (right_leaf)", ""])
    def test_nor_are_few_rows_or_a_table_with_child_tables(self, kind: str) -> None:
        leaves(Owner(pk=1), ROWS if kind else 999)
        if kind:
            run(f"CREATE TABLE right_more () {kind}")
        assert not backends.row_backend("test_right").dense_blocks(KEY, 1, using="test_right")

    @pytest.mark.parametrize("pks", [True, False])
    def test_it_deletes_nothing_where_the_blocks_have_more_than_the_limit(
        self, *, pks: bool
    ) -> None:
        leaves(Owner(pk=1), 1_000)
        backend, blocks = backends.row_backend("test_right"), range(100)
        named: Any = {"pks": pks, "using": "test_right"}
        assert backend.delete_in_blocks(KEY, 1, blocks, 999, **named) is None
        assert Leaf.objects.count() == 1_000
        assert backend.delete_in_blocks(KEY, 2, blocks, 999, **named).numbers == {}  # type: ignore[union-attr]
        gone = backend.delete_in_blocks(KEY, 1, blocks, 1_000, **named)
        assert gone
        assert gone.numbers == {1: 1_000}
        assert len(gone.pks) == (1_000 if pks else 0)
        assert not Leaf.objects.exists()
