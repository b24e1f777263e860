"""The whole path, with names and keys that break whatever does not quote them."""

# ruff: noqa: S608 - the names are what this is about

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, models
from django.db.models import QuerySet
from django.test.utils import isolate_apps
from django.utils import timezone

from apps.integrity import capture, cascade, relations, scan
from apps.integrity.cascade import verification
from apps.integrity.models import KEY_CHARS, Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.relations import crossing, discovery
from apps.integrity.report import preview, receipts
from tests.kinds.hostile.models import (
    FAMILIES,
    LENGTH_MAX,
    LONE,
    LONG,
    PERCENT,
    QUOTED,
    made,
    refers,
)
from tests.kinds.parents.models import Owner
from tests.log_rows import states

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from django.db.models import Model

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

KEYS = {
    "quotes": """it's "x"; DROP TABLE integrity_deletion; -- """,
    "placeholders": "%s %(x)s %% {0} $1 :1 ?",
    "lines": "a\nb\r\n\tc",
    "escapes": "\\' \\x00 \x1b[31m",
    "not ASCII": "ü→🎉\u202e",
    "an array": '{a,"b",NULL}',
    "null": "NULL",
    "spaces": "  ",
    "very long": "long enough ".ljust(KEY_CHARS, "x"),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> dict[str, Any]:
    return FAMILIES[request.param]


def rows(model: type[Model]) -> QuerySet[Any]:
    return QuerySet(model=model, using=model.home)


def populate(family: dict[str, Any], parent: Any) -> None:
    """A row of each model for that parent."""
    for prefix in ("", "lite"):
        child = family[f"{prefix}child"].objects.create(parent=parent)
        family[f"{prefix}below"].objects.create(child=child)
        family[f"{prefix}kept"].objects.create(child=child)
        family[f"{prefix}nulled"].objects.create(parent=parent)
        above = family[f"{prefix}circle"].objects.create(parent=parent)
        family[f"{prefix}circle"].objects.create(parent=parent, above=above)


def two_parents(family: dict[str, Any]) -> tuple[Any, Any]:
    text = family["parent"]._meta.pk.get_internal_type() == "CharField"
    gone, kept = (
        family["parent"].objects.create(**({"id": each} if text else {})) for each in "ab"
    )
    for parent in (gone, kept):
        populate(family, parent)
    return gone, kept


#: Rows of one parent that are deleted and that are kept, for each model of a family.
DELETED = {"child": 1, "below": 1, "circle": 2}
NULLED = {"kept": "child_id", "nulled": "parent_id"}
ROWS = 2 * (sum(DELETED.values()) + len(NULLED))  # in two databases


def test_the_names_are_what_they_should_be() -> None:
    for model in FAMILIES[LONG].values():
        assert len(model._meta.db_table.encode()) == LENGTH_MAX
    for model in FAMILIES[QUOTED].values():
        connection = connections[model.home]
        with connection.cursor() as cursor:
            found = {each.name for each in connection.introspection.get_table_list(cursor)}
        assert model._meta.db_table[1:-1].replace('""', '"') in found


def test_every_way_of_a_cascade(family: dict[str, Any], converge: Converge) -> None:
    gone, kept = two_parents(family)
    gone.delete()
    assert converge().total() == ROWS
    for prefix in ("", "lite"):
        for what, number in DELETED.items():
            assert rows(family[prefix + what]).count() == number, what
        assert rows(family[f"{prefix}child"]).get().parent_id == kept.pk
        for what, key in NULLED.items():
            left = set(rows(family[prefix + what]).values_list(key, flat=True))
            assert len(left) == 2, what
            assert None in left, what
    assert {*states()} == {"cascaded"}


def test_a_log_on_sqlite(family: dict[str, Any], converge: Converge) -> None:
    gone, kept = (family["other"].objects.create() for _ in range(2))
    for parent in (gone, kept):
        family["ofother"].objects.create(parent=parent)
    gone.delete()
    assert converge().total() == 1
    assert rows(family["ofother"]).get().parent_id == kept.pk


def test_verification_finds_what_came_late(
    family: dict[str, Any], converge: Converge, tune: Tune
) -> None:
    tune(grace_seconds=0.001)
    gone, _ = two_parents(family)
    pk = gone.pk
    gone.delete()
    converge()
    family["child"].objects.create(parent_id=pk)
    family["litechild"].objects.create(parent_id=pk)
    assert [verification.verify(alias).reopened for alias in ("test_left", "test_lite")] == [1, 1]
    assert converge().total() == 2
    for alias in ("test_left", "test_lite"):
        verification.verify(alias)
    assert {*states()} == {"verified"}


def test_a_living_parent_keeps_its_rows(family: dict[str, Any], converge: Converge) -> None:
    gone, _ = two_parents(family)
    pk = gone.pk
    gone.delete()
    family["parent"](pk=pk).save(force_insert=True)
    assert not converge()
    assert rows(family["child"]).count() == 2
    assert {*states()} == {"kept"}


def test_a_scan_finds_orphans(family: dict[str, Any]) -> None:
    _, kept = two_parents(family)
    for what in ("child", "litechild"):
        family[what].objects.create(parent_id=f"{kept.pk}9")
        label = f"{family[what]._meta.label}.parent"
        [found], _ = scan.scan(family[what].home, labels=[label], seconds=60)
        assert (found.keys_scanned, found.suspects, found.reason) == (3, 1, "")


def test_preview_counts_what_the_cascade_then_does(
    family: dict[str, Any], converge: Converge
) -> None:
    gone, _ = two_parents(family)
    label, key = family["parent"]._meta.label, str(gone.pk)
    effects = preview.preview_of(label, key)
    counted = {(each["relation"], each["database"]): each["rows"] for each in effects}
    assert counted[f"{label.replace('Parent', 'Child')}.parent", "test_left"] == 1
    assert sum(counted.values()) == ROWS
    gone.delete()
    assert converge().total() == sum(counted.values())
    [receipt] = receipts.receipts_of(label, key)
    assert sum(sum(each["rows"].values()) for each in receipt["cascades"]) == sum(counted.values())


class Percent:
    """Models that only these tests know: Django's ORM takes a % in a name for a parameter."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.parent = made(kind, "parent", "default")
        self.child = made(kind, "child", "test_left", parent=self.key())
        self.nulled = made(kind, "nulled", "test_left", parent=self.key(models.SET_NULL))
        self.lite = made(kind, "lite", "test_lite", parent=self.key())

    def key(self, on_delete: Any = models.CASCADE) -> Any:
        return refers(self.kind, self.parent, "key", on_delete)

    def label(self, what: str) -> str:
        return f"hostile.{self.kind}{what}.parent"

    def all(self) -> list[Any]:
        return [self.parent, self.child, self.nulled, self.lite]

    def names(self, model: Any) -> tuple[str, str]:
        quote = connections[model.home].ops.quote_name
        key = model._meta.pk if model is self.parent else model._meta.get_field("parent")
        return quote(model._meta.db_table), quote(key.column)

    def fill(self, model: Any, *keys: int) -> None:
        table, column = self.names(model)
        with connections[model.home].cursor() as cursor:
            for key in keys:
                cursor.execute(f"INSERT INTO {table} ({column}) VALUES ({key})")

    def left(self, model: Any) -> list[int | None]:
        table, column = self.names(model)
        with connections[model.home].cursor() as cursor:
            cursor.execute(f"SELECT {column} FROM {table} ORDER BY 1")
            return [key for (key,) in cursor.fetchall()]


@pytest.fixture(params=[PERCENT, LONE])
def percent(
    request: pytest.FixtureRequest, committed: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Percent]:
    with isolate_apps("tests.kinds.hostile"):
        found = Percent(request.param)
    known = relations.catalogue().relations
    extended = relations.Catalogue((*known, *filter(None, map(_relation, found.all()))))
    monkeypatch.setattr(discovery, "_known", [extended])
    for model in found.all():
        with connections[model.home].schema_editor() as editor:
            editor.create_model(model)
    yield found
    for model in found.all():
        with connections[model.home].cursor() as cursor:
            cursor.execute(f"DROP TABLE {found.names(model)[0]}")


def _relation(model: Any) -> relations.Relation | None:
    keys = [each for each in model._meta.fields if each.is_relation]
    return crossing.relation_of(keys[0]) if keys else None


class TestPercent:
    """PostgreSQL's own statements escape it, once. Elsewhere Django's ORM does not.

    So a name with `%s` or `%%` in it, which no query of the project could use either, is refused
    there: nothing is touched, and the cascade is blocked with the reason.
    """

    def test_the_set_based_ways_work(
        self, percent: Percent, converge: Converge, tune: Tune
    ) -> None:
        tune(grace_seconds=0.001)
        percent.fill(percent.parent, 2)
        percent.fill(percent.child, 1, 1, 2)
        percent.fill(percent.nulled, 1, 2)
        assert capture.record((percent.parent, [1]), using="default") == ["1"]
        assert converge() == {percent.label("Child"): 2, percent.label("Nulled"): 1}
        assert percent.left(percent.child) == [2]
        assert percent.left(percent.nulled) == [2, None]
        assert verification.verify("test_left").verified == 1

    def test_a_living_parent_is_seen(self, percent: Percent, converge: Converge) -> None:
        percent.fill(percent.child, 1)
        capture.record((percent.parent, [1]), using="default")
        percent.fill(percent.parent, 1)
        assert not converge()
        assert percent.left(percent.child) == [1]
        assert Cascade.objects.get(database="test_left").state == "kept"

    def test_orphans_are_found(self, percent: Percent) -> None:
        percent.fill(percent.parent, 2)
        percent.fill(percent.child, 1, 2)
        [found], _ = scan.scan("test_left", labels=[percent.label("Child")], seconds=60)
        assert (found.suspects, found.orphans, found.reason) == (1, 1, "")

    @pytest.mark.parametrize("percent", [PERCENT], indirect=True)
    def test_elsewhere_nothing_is_touched_and_the_cascade_tells_why_and_ends(
        self, percent: Percent, tune: Tune
    ) -> None:
        tune(attempts=2)
        percent.fill(percent.lite, 1, 2)
        capture.record((percent.parent, [1]), using="default")
        dispatch.sweep_all()
        for state in ("waiting", "blocked"):
            Cascade.objects.update(due_at=timezone.now())
            assert cascade.drain("test_lite").failed == 1
            assert percent.left(percent.lite) == [1, 2]
            told = Cascade.objects.get(database="test_lite")
            assert told.state == state
            assert re.match(r"hostile\.\w+\.parent: \w+Error\b", told.reason)

    @pytest.mark.parametrize("percent", [LONE], indirect=True)
    def test_elsewhere_a_percent_that_is_no_placeholder_works(
        self, percent: Percent, converge: Converge
    ) -> None:
        percent.fill(percent.lite, 1, 2)
        capture.record((percent.parent, [1]), using="default")
        assert converge() == {percent.label("Lite"): 1}
        assert percent.left(percent.lite) == [2]


class TestKeys:
    @pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
    def test_a_key_is_passed_on_as_it_is(
        self, key: str, converge: Converge, caplog: pytest.LogCaptureFixture, tune: Tune
    ) -> None:
        tune(grace_seconds=0.001)
        caplog.set_level(logging.DEBUG, "integrity")
        family = FAMILIES[LONG]
        gone, kept = (
            family["parent"].objects.create(id=key),
            family["parent"].objects.create(id="a"),
        )
        for parent in (gone, kept):
            populate(family, parent)
        label = family["parent"]._meta.label
        previewed = sum(each["rows"] for each in preview.preview_of(label, key))
        gone.delete()
        assert converge().total() == previewed == ROWS
        for alias in ("test_left", "test_lite"):
            assert verification.verify(alias).verified == 1
        deletion = Deletion.objects.get()
        assert (deletion.key, deletion.state) == (key, "verified")
        assert rows(family["child"]).get().parent_id == kept.pk
        assert receipts.receipts_of(label, key)[0]["deletion"]["key"] == key
        assert logged(caplog, key) == []

    def test_keys_of_one_statement_do_not_mix(self, converge: Converge) -> None:
        family = FAMILIES[LONG]
        for key in [*KEYS.values(), "kept"]:
            populate(family, family["parent"].objects.create(id=key))
        family["parent"].objects.filter(pk__in=list(KEYS.values())).delete()
        assert converge().total() == ROWS * len(KEYS)
        assert rows(family["child"]).get().parent_id == "kept"


def logged(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    """Log lines that quote that text, tracebacks included."""
    wanted = text.strip() or "nothing but spaces"
    lines = [logging.Formatter().format(each) for each in caplog.records]
    return [line for line in lines if wanted in line or repr(wanted)[1:-1] in line]


class TestWhatFailsIsLoggedWithoutItsKey:
    SECRET = "ann@example.org"

    @pytest.fixture
    def failing(self, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
        caplog.set_level(logging.DEBUG)
        return caplog

    def test_an_error_of_the_database_that_quotes_the_row(
        self, failing: pytest.LogCaptureFixture
    ) -> None:
        family = FAMILIES[LONG]
        gone = family["parent"].objects.create(id=self.SECRET)
        populate(family, gone)
        gone.delete()
        quote = connections["test_left"].ops.quote_name
        table = quote(family["child"]._meta.db_table)
        column = quote(family["child"]._meta.get_field("parent").column)
        with connections["test_left"].cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE strict (key text);"
                f"CREATE UNIQUE INDEX one ON {table} ({column});"
                f"ALTER TABLE strict ADD FOREIGN KEY (key) REFERENCES {table} ({column});"
                f"INSERT INTO strict VALUES ('{self.SECRET}')"
            )
        try:
            dispatch.sweep_all()
            assert cascade.drain("test_left").failed == 1
        finally:
            with connections["test_left"].cursor() as cursor:
                cursor.execute("DROP TABLE strict; DROP INDEX one")
        assert Cascade.objects.get(database="test_left").reason.startswith(
            "hostile.LongChild.parent: IntegrityError 23503 ("
        )
        assert self.SECRET not in Cascade.objects.get(database="test_left").reason
        assert failing.records
        assert logged(failing, self.SECRET) == []

    def test_a_key_that_its_field_cannot_hold(self, failing: pytest.LogCaptureFixture) -> None:
        Deletion.objects.create(parent=Owner._meta.label, key=self.SECRET, source="api")
        dispatch.sweep_all()
        assert cascade.drain("test_left").failed == 1
        told = Cascade.objects.get(database="test_left").reason
        assert told.endswith(f": InvalidKey: not a key that {Owner._meta.label}.id can hold")
        assert failing.records
        assert logged(failing, self.SECRET) == []
