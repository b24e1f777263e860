"""DB_CASCADE, DB_SET_NULL and DB_SET_DEFAULT, which Django has since 6.1, on real databases."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.apps import apps
from django.db import connections, models, transaction
from django.db.models import deletion
from django.db.models.signals import pre_delete
from django.utils import timezone

from apps.integrity import backends, cascade, relations, scan
from apps.integrity.backends.portable.barriers import NoBarriers
from apps.integrity.backends.portable.log import PortableLog
from apps.integrity.backends.portable.rows import PortableRows
from apps.integrity.capture import triggers
from apps.integrity.cascade.blockers import LOCKED
from apps.integrity.checks import keys, shapes
from apps.integrity.exceptions import UnusablePolicy
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.report import preview, receipts
from apps.integrity.report.receipt_lines import BY_DATABASE
from apps.integrity.scan import repair
from tests.kinds.by_database import SPARE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django has them since 6.1"),
]


def model(label: str) -> Any:
    return apps.get_model(label)


@pytest.fixture(autouse=True)
def emptied(committed: None) -> Iterator[None]:
    """Delete helpers before combs: else the database would set their default."""
    yield
    model("left.Helper").objects.all().delete()


@pytest.fixture(params=["PostgreSQL", "portable"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once in each form of the statements."""
    if request.param == "portable":
        monkeypatch.setattr(backends, "log_backend", lambda _: PortableLog())
        monkeypatch.setattr(backends, "row_backend", lambda _: PortableRows())
        monkeypatch.setattr(backends, "barrier_backend", lambda _: NoBarriers())
    return str(request.param)


def comb(hive: Any, *, cells: int = 2, eggs: int = 2, pk: int | None = None) -> Any:
    made = model("left.Comb").objects.create(hive=hive, pk=pk)
    for _ in range(cells):
        cell = model("left.Cell").objects.create(comb=made)
        model("left.Egg").objects.bulk_create(model("left.Egg")(cell=cell) for _ in range(eggs))
    model("left.Drone").objects.create(comb=made)
    model("left.Helper").objects.create(comb=made)
    return made


@pytest.fixture
def spare() -> Any:
    """The comb of a living hive, which is the default of helpers."""
    return comb(model("parents.Hive").objects.create(), pk=SPARE)


def tree(combs: int, *, cells: int = 2, eggs: int = 2) -> Counter[str]:
    return Counter(
        {
            "left.Comb.hive": combs,
            "left.Cell.comb": combs * cells,
            "left.Egg.cell": combs * cells * eggs,
            "left.Drone.comb": combs,
            "left.Helper.comb": combs,
        }
    )


def only_the_spare_is_left(spare: Any, freed: int) -> None:
    assert model("left.Comb").objects.get() == spare
    assert {cell.comb_id for cell in model("left.Cell").objects.all()} == {SPARE}
    assert model("left.Egg").objects.count() == 4
    assert model("left.Drone").objects.filter(comb=None).count() == freed
    assert model("left.Helper").objects.filter(comb=SPARE).count() == freed + 1


def receipt_of(hive_pk: int) -> dict[str, tuple[str, int | None]]:
    row = Deletion.objects.get(key=str(hive_pk))
    return {line.relation: (line.outcome, line.rows) for line in receipts.lines_of(row)}


class TestBelowAChild:
    def test_rows_of_the_database_are_counted_and_others_stay(
        self, converge: Converge, form: str, spare: Any
    ) -> None:
        hive = model("parents.Hive").objects.create()
        comb(hive), comb(hive)
        pk = hive.pk
        effects = preview.preview_of("parents.Hive", str(pk))
        assert Counter({each["relation"]: each["rows"] for each in effects}) == tree(2)
        assert {each["policy"] for each in effects if "Cell" in each["relation"]} == {"DB_CASCADE"}
        hive.delete()
        assert converge() == tree(2)
        only_the_spare_is_left(spare, 2)
        assert receipt_of(pk) == {
            "left.Comb.hive": ("deleted", 2),
            "left.Cell.comb": ("deleted", 4),
            "left.Egg.cell": ("deleted", 8),
            "left.Drone.comb": ("changed", 2),
            "left.Helper.comb": ("changed", 2),
        }

    def test_a_comb_with_more_rows_than_a_statement_may_change(
        self, converge: Converge, tune: Tune, spare: Any
    ) -> None:
        tune(statement_rows=20, statement_rows_max=20)
        hive = model("parents.Hive").objects.create()
        comb(hive, cells=70, eggs=1)
        with Changes("left_cell") as changes:
            hive.delete()
            assert converge() == tree(1, cells=70, eggs=1)
        assert max(changes.rows) <= 20
        only_the_spare_is_left(spare, 1)

    def test_workers_at_the_same_time_count_each_row_once(
        self, tune: Tune, at_once: Callable[..., list[Any]], spare: Any
    ) -> None:
        tune(claim_keys=5, statement_rows=20, statement_rows_max=20)
        for hive in model("parents.Hive").objects.bulk_create(
            model("parents.Hive")() for _ in range(20)
        ):
            comb(hive)
        model("parents.Hive").objects.exclude(pk=spare.hive_id).delete()
        dispatch.sweep("default")
        done = at_once(*[lambda: cascade.drain("test_left")] * 3)
        assert sum((each.rows for each in done), Counter()) == tree(20)
        assert not any(each.failed for each in done)
        only_the_spare_is_left(spare, 20)

    def test_a_row_that_is_not_committed_yet_is_counted_when_it_is(
        self, converge: Converge, at_once: Callable[..., list[Any]], spare: Any
    ) -> None:
        """Its insert holds the row that it refers to, and no trigger is blamed for that."""
        hive = model("parents.Hive").objects.create()
        made = comb(hive)
        hive.delete()
        dispatch.sweep("default")
        with transaction.atomic(using="test_left"):
            connections["test_left"].cursor().execute("SET CONSTRAINTS ALL IMMEDIATE")
            model("left.Cell").objects.create(comb=made)
            at_once(lambda: cascade.drain("test_left"))
            assert model("left.Comb").objects.filter(pk=made.pk).exists()
            held = Cascade.objects.using("default").get(database="test_left")
            assert (held.attempts, held.reason) == (0, f"left.Comb.hive: {LOCKED}")
        Cascade.objects.update(due_at=timezone.now())
        rows = converge()
        assert (rows["left.Comb.hive"], rows["left.Cell.comb"]) == (1, 3)
        only_the_spare_is_left(spare, 1)

    def test_below_what_django_deletes_the_database_does_it_and_nobody_counts(
        self, converge: Converge, spare: Any
    ) -> None:
        hive = model("parents.Hive").objects.create()
        comb(hive)
        pk, heard = hive.pk, []
        pre_delete.connect(
            hear := lambda instance, **_: heard.append(instance.pk), model("left.Comb")
        )
        try:
            relations.catalogue().derived.clear()
            told = {each.obj: each.msg for each in shapes.unsignalled()}
            hive.delete()
            assert converge() == {"left.Comb.hive": 1}
            assert len(heard) == 1
            lines = receipt_of(pk)
        finally:
            pre_delete.disconnect(hear, model("left.Comb"))
            relations.catalogue().derived.clear()
        only_the_spare_is_left(spare, 1)
        below = ("left.Cell.comb", "left.Egg.cell", "left.Drone.comb", "left.Helper.comb")
        assert lines == {
            "left.Comb.hive": ("deleted", 1),
            **dict.fromkeys(below, (BY_DATABASE, None)),
        }
        assert (
            "no receipt counts them (left.Comb has delete signal receivers)"
            in (told[model("left.Cell")._meta.get_field("comb")])
        )


class Changes:
    """How many rows of a table of test_left each DELETE has deleted, by a trigger."""

    def __init__(self, table: str) -> None:
        self.table, self.rows = table, list[int]()

    def __enter__(self) -> Self:
        with connections["test_left"].cursor() as cursor:
            cursor.execute(  # the table is a test's
                "CREATE TABLE seen_changes (number bigint);"  # noqa: S608
                "CREATE FUNCTION see_changes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " INSERT INTO seen_changes SELECT count(*) FROM gone; RETURN NULL; END $$;"
                f"CREATE TRIGGER see_changes AFTER DELETE ON {self.table}"
                " REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION see_changes()"
            )
        return self

    def __exit__(self, *_: object) -> None:
        with connections["test_left"].cursor() as cursor:
            cursor.execute("SELECT number FROM seen_changes")
            self.rows += [number for (number,) in cursor.fetchall()]
            cursor.execute(
                f"DROP TRIGGER see_changes ON {self.table}; DROP FUNCTION see_changes();"
                " DROP TABLE seen_changes"
            )


class TestAParent:
    def test_it_sends_no_signal_a_check_says_so_and_a_scan_finds_its_rows(
        self, converge: Converge, tune: Tune
    ) -> None:
        [told] = [each for each in shapes.unsignalled() if "Clerk" in each.msg]
        assert told.id == "integrity.W008"
        assert "parents.Clerk.firm has on_delete=DB_CASCADE" in told.msg
        assert "rows of left.Memo.clerk stay until a scan finds them" in told.msg
        assert "on_delete=models.CASCADE" in told.hint
        assert '"capture": {"parents.Clerk": "both"}' in told.hint
        self.fire()
        assert not Deletion.objects.exists()
        assert converge() == {}
        assert model("left.Memo").objects.count() == 2
        relation = relations.catalogue().relation("left.Memo.clerk")
        tune(grace_seconds=0.001)
        scan.scan("test_left", labels=[relation.label], mode=scan.Mode(full=True))
        repair.repair([relation], override="one of two is a half")
        assert converge() == {"left.Memo.clerk": 1}
        assert model("left.Memo").objects.count() == 1

    @pytest.mark.parametrize("capture", ["trigger", "both"])
    def test_a_trigger_records_it(
        self, capture: str, converge: Converge, triggered: Callable[[str], None]
    ) -> None:
        triggered(capture)
        assert [each for each in shapes.unsignalled() if "Clerk" in each.msg] == []
        self.fire()
        assert Deletion.objects.get().parent == "parents.Clerk"
        assert converge() == {"left.Memo.clerk": 1}
        assert model("left.Memo").objects.count() == 1

    @pytest.fixture
    def triggered(self, tune: Tune) -> Iterator[Callable[[str], None]]:
        def install(mode: str) -> None:
            tune(capture={"parents.Clerk": mode})
            triggers.install("default")

        yield install
        tune(capture="signal")
        triggers.install("default")

    def fire(self) -> None:
        """Delete a firm with one clerk; another has one, too."""
        firms, clerks, memos = map(model, ("parents.Firm", "parents.Clerk", "left.Memo"))
        gone, stays = firms.objects.create(), firms.objects.create()
        for firm in (gone, stays):
            memos.objects.create(clerk=clerks.objects.create(firm=firm))
        gone.delete()
        assert clerks.objects.count() == 1


class TestBetweenDatabases:
    LABELS = ("left.Supervised.cascading", "left.Supervised.emptied", "left.Supervised.reset")

    @pytest.mark.parametrize("label", LABELS)
    def test_e011_says_so_and_the_collector_may_not_skip_it(self, label: str) -> None:
        relation = relations.catalogue().relation(label)
        [found] = keys.problems(relation)
        assert found.id == "integrity.E011"
        assert f"on_delete={relation.policy}" in found.msg
        assert f"on_delete=models.{relation.policy.removeprefix('DB_')})" in found.hint
        assert relation.policy.by_database
        assert relation.field.remote_field.on_delete not in deletion.SKIP_COLLECTION

    def test_a_delete_is_refused(self) -> None:
        keeper = model("parents.Keeper").objects.create()
        with pytest.raises(UnusablePolicy, match="DB_CASCADE works within one database"):
            keeper.delete()
        assert model("parents.Keeper").objects.exists()
        assert not Deletion.objects.exists()
