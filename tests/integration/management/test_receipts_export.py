"""Exports hold each deletion that ended in their time once; the purge warns of what none holds."""

from __future__ import annotations

import csv
import datetime as dt
import errno
import io
import json
import os
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone
from hypothesis import strategies as st

from apps.integrity.backends import clocks
from apps.integrity.checks.doctor import unexported
from apps.integrity.control import exports
from apps.integrity.log import parts
from apps.integrity.models import Audit, Cascade, Deletion, Scope
from apps.integrity.report import ended, receipt_table, receipts
from tests import log_rows
from tests.integration.management.test_command import integrity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Captured, Tune
    from tests.integration.management.test_command import Run

__all__ = ["integrity"]  # a fixture
pytestmark = pytest.mark.usefixtures("committed")

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
BOTH = ["blog_db", "shop_db"]


def ago(days: float) -> dt.datetime:
    return NOW - dt.timedelta(days=days)


def made(key: object, days: float, state: str = "verified", **columns: Any) -> Deletion:
    """A deletion that ended so many days ago."""
    [row] = log_rows.make("auth.User", [key], BOTH, state=state, recorded_at=ago(days), **columns)
    return row


def made_at(key: object, at: dt.datetime) -> None:
    """A deletion that ended then."""
    Cascade.objects.filter(batch=made(key, 9).batch).update(ended_at=at, verified_at=at)


def ended_in(row: Deletion, database: str, days: float) -> None:
    at = ago(days)
    Cascade.objects.filter(batch=row.batch, database=database).update(ended_at=at, verified_at=at)


def keys(out: str) -> list[str]:
    return [json.loads(line)["deletion"]["key"] for line in out.splitlines()]


class TestWhich:
    def test_the_last_database_counts_and_the_end_is_left_out(self, integrity: Run) -> None:
        for key, days in (("before", 4.0), ("first", 3.0), ("last", 1.0001), ("after", 1.0)):
            row = made(key, 9)
            ended_in(row, "shop_db", days)
        slow = made("slow", 2)
        ended_in(slow, "blog_db", 0.5)
        since, until = ago(3).isoformat(), ago(1).isoformat()
        outcome = integrity("receipts", "--since", since, "--until", until)
        assert keys(outcome.out) == ["first", "last"]
        assert outcome.code == 0, outcome.err

    def test_they_come_in_the_order_in_which_they_ended(self, integrity: Run) -> None:
        for days in (2, 5, 3, 4):
            made(days, days)
        assert keys(integrity("receipts").out) == ["5", "4", "3", "2"]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [("2026-01-31", "2026-01-31T00:00:00+00:00"), ("2026-01-31T12:00+02:00",) * 2],
    )
    def test_a_moment_without_a_zone_is_in_utc(self, given: str, expected: str) -> None:
        from apps.integrity.management.options import moment

        assert moment(given) == dt.datetime.fromisoformat(expected)

    @pytest.mark.parametrize(
        "words",
        [
            ["--since", "yesterday"],
            ["--since", "2026-02-01", "--until", "2026-01-01"],
            ["--json"],
            ["--format", "xml"],
        ],
    )
    def test_wrong_arguments_are_refused(self, integrity: Run, words: list[str]) -> None:
        assert integrity("receipts", *words).code == 2

    @pytest.mark.parametrize("using", ["default", "test_lite"])
    def test_those_of_all_logs_are_in_it(self, integrity: Run, using: str) -> None:
        [row] = log_rows.make("auth.User", ["7"], ["shop_db"], state="verified", using=using)
        [line] = map(json.loads, integrity("receipts").out.splitlines())
        assert (line["log"], line["deletion"]["id"]) == (using, row.pk)

    def test_one_without_a_cascade_is_in_it(self, integrity: Run) -> None:
        [row] = log_rows.make("auth.User", ["7"], [])
        Deletion.objects.filter(pk=row.pk).update(cancelled_at=ago(1), reason="nothing to do")
        outcome = integrity("receipts")
        [line] = map(json.loads, outcome.out.splitlines())
        assert (
            line["statement"][0] == "This is no proof: the deletion was cancelled: nothing to do."
        )
        assert outcome.code == 4


class TestExitCode:
    def test_what_has_not_ended_is_missing_and_said(self, integrity: Run) -> None:
        made("old", 3)
        made("open", 2, state="done")
        log_rows.make("auth.User", ["recorded"], [], recorded_at=ago(2))
        outcome = integrity("receipts")
        assert keys(outcome.out) == ["old"]
        assert outcome.code == 4
        assert "2 of the deletions that were recorded before have not ended" in outcome.err
        assert integrity("receipts", "--until", ago(2.5).isoformat()).code == 0

    def test_kept_rows_are_a_finding(self, integrity: Run) -> None:
        made("kept", 3, state="kept")
        assert integrity("receipts").code == 3
        made("cancelled", 3, state="cancelled")
        assert integrity("receipts").code == 4

    def test_what_it_covers_must_be_known(self, integrity: Run) -> None:
        made("old", 3)
        Cascade.objects.update(scope=1)
        assert integrity("receipts").code == 4

    def test_a_log_that_does_not_answer_is_named(
        self, integrity: Run, refuse: Callable[[str], Any]
    ) -> None:
        made("old", 3, using="test_lite")
        with refuse("default"):
            outcome = integrity("receipts")
        assert outcome.code == 5
        assert keys(outcome.out) == ["old"]
        assert "the log in default does not answer" in outcome.err


class TestFormat:
    def test_a_line_is_the_receipt(self, integrity: Run) -> None:
        row = made("7", 3)
        [line] = map(json.loads, integrity("receipts").out.splitlines())
        expected = json.loads(receipt_table.json_line(receipts.receipt_of(row)))
        assert line.pop("issued")["by"] == expected.pop("issued")["by"]
        assert line == expected

    def test_the_table_has_a_row_for_each_relation_and_no_value_but_the_key(
        self, integrity: Run
    ) -> None:
        row = made("7", 3)
        Deletion.objects.filter(pk=row.pk).update(targets={"email": "ann@example.org"})
        out = integrity("receipts", "--format", "csv").out
        assert "ann@" not in out
        lines = list(csv.DictReader(io.StringIO(out)))
        assert tuple(lines[0]) == receipt_table.COLUMNS
        scope = receipts.receipt_of(row)["scope"]
        assert [(line["relation"], line["outcome"]) for line in lines] == [
            (line["relation"], line["outcome"]) for line in scope
        ]
        assert {line["ended_at"] for line in lines} == {ago(3).isoformat()}
        assert {line["rows"] for line in lines} == {"0"}

    @pytest.mark.parametrize(
        ("key", "cell"), [("=1+1", "'=1+1"), ("@x", "'@x"), ("-5", "-5"), ("a,b\n", "a,b\n")]
    )
    def test_no_key_is_a_formula(self, integrity: Run, key: str, cell: str) -> None:
        made(key, 3)
        out = integrity("receipts", "--format", "csv").out
        assert {line["key"] for line in csv.DictReader(io.StringIO(out))} == {cell}

    def test_a_file_has_its_name_once_it_is_complete(
        self, integrity: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made("7", 3)
        file = tmp_path / "receipts"
        with monkeypatch.context() as patch:
            patch.setattr(receipt_table, "json_line", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                integrity("receipts", "--output", str(file))
        assert not file.exists()
        assert not Audit.objects.exists()
        document = integrity("receipts", "--output", str(file), "--json").document
        assert document["exported"] == 1
        assert keys(file.read_text()) == ["7"]
        assert file.stat().st_mode & 0o777 == 0o600
        assert "exists already" in integrity("receipts", "--output", str(file)).err


class TestLarge:
    def test_memory_is_bounded(self) -> None:
        peaks = []
        for number in (2_000, 8_000):
            keys = range(number)
            log_rows.make("auth.User", keys, ["shop_db"], apart=True, state="verified")
            tracemalloc.start()
            for page in ended.ended(None, timezone.now(), using="default"):
                assert len(page) <= ended.DELETIONS
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            Cascade.objects.all().delete()
            Deletion.objects.all().delete()
        assert peaks[1] < 1.5 * peaks[0]

    @pytest.mark.postgresql
    def test_a_page_is_found_in_the_index(self, captured: Captured) -> None:
        log_rows.make("auth.User", range(1_200), ["shop_db"], apart=True, state="verified")
        with captured:
            pages = list(ended.ended(ago(1), timezone.now(), using="default"))
        assert sum(map(len, pages)) == 1_200
        reads = [sql for sql in captured["default"] if "LIMIT 500" in sql and "size" in sql]
        assert len(reads) == 4  # three pages with rows, and the empty one after them
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            cursor.execute(f"EXPLAIN {reads[1]}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            cursor.execute("RESET enable_seqscan")
        assert "integrity_cascade_ended" in plan

    def test_a_reader_that_has_enough_ends_it(self) -> None:
        class Head(io.StringIO):
            """`| head -1`; management/broken_pipe.py turns this error into an exit code."""

            def write(self, text: str) -> int:
                if self.getvalue():
                    raise BrokenPipeError
                return super().write(text)

        log_rows.make("auth.User", range(3_000), ["shop_db"], apart=True, state="verified")
        head = Head()
        with pytest.raises(BrokenPipeError):
            call_command("integrity", "receipts", stdout=head)
        assert json.loads(head.getvalue())["deletion"]["key"] == "0"
        assert not Audit.objects.exists()  # it is no export


#: The moments at which the databases of a deletion are over, in steps; None is not yet.
ENDS = st.lists(st.integers(1, 6) | st.none(), min_size=2, max_size=2)


@hypothesis.settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    batches=st.lists(st.lists(ENDS, min_size=1, max_size=4), max_size=5),
    cuts=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    page=st.integers(1, 4),
    size=st.integers(1, 4),
)
def test_consecutive_exports_hold_each_deletion_once(
    batches: list[list[list[int | None]]], cuts: tuple[int, int], page: int, size: int
) -> None:
    """Whatever parts batches have, and wherever pages and exports begin."""
    Cascade.objects.all().delete()
    Deletion.objects.all().delete()
    last = dict[int, int | None]()
    for batch in batches:
        rows = log_rows.make("auth.User", range(len(batch)), BOTH, state="done")
        for row, ends in zip(rows, batch, strict=True):
            last[row.pk] = None if None in ends else max(filter(None, ends))
            for database, end in zip(BOTH, ends, strict=True):
                one = Cascade.objects.filter(batch=row.batch, database=database)
                with transaction.atomic():
                    whole = parts.separate(one, [row.pk], using="default", holder=True)
                if end is not None:
                    at = ago(10 - end)
                    Cascade.objects.filter(pk__in=whole).update(state="verified", ended_at=at)
    cut, until = sorted(cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ended, "CASCADES", page)
        patch.setattr(ended, "DELETIONS", size)
        found = [
            Counter(row.pk for rows in ended.ended(*times, using="default") for row in rows)
            for times in ((None, ago(10 - cut)), (ago(10 - cut), ago(10 - until)))
        ]
    assert found[0] == Counter(pk for pk, at in last.items() if at is not None and at < cut)
    assert found[1] == Counter(
        pk for pk, at in last.items() if at is not None and cut <= at < until
    )
    recorded = {at is None for at in last.values()}
    assert bool(ended.unfinished(timezone.now(), using="default")) == (True in recorded)


class TestMark:
    def exported(self, integrity: Run, *words: str) -> dt.datetime | None:
        integrity("receipts", *words)
        return exports.exported_until(using="default")

    def test_an_export_without_a_gap_before_it_moves_it(self, integrity: Run) -> None:
        for days in (9, 7, 5, 3):
            made(days, days)
        assert self.exported(integrity, "--since", ago(6).isoformat()) is None
        until = ago(6).isoformat()
        assert self.exported(integrity, "--until", until) == ago(6)
        gap = ("--since", ago(4).isoformat(), "--until", ago(2).isoformat())
        assert self.exported(integrity, *gap) == ago(6)
        next_one = ("--since", ago(6).isoformat(), "--until", ago(4).isoformat())
        assert self.exported(integrity, *next_one) == ago(4)
        assert self.exported(integrity, *gap) == ago(2)
        assert Audit.objects.filter(verb=exports.VERB).count() == 5

    def test_one_whose_gap_is_empty_moves_it_too(self, integrity: Run) -> None:
        made(3, 3)
        words = ("--since", ago(4).isoformat(), "--until", ago(1).isoformat())
        assert self.exported(integrity, *words) == ago(1)

    def test_it_stays_behind_what_may_be_committed_yet(self, integrity: Run) -> None:
        made(3, 3)
        mark = self.exported(integrity)
        assert mark is not None
        assert mark <= timezone.now() - dt.timedelta(seconds=exports.SETTLED_SECONDS)

    def test_the_next_one_begins_there(self, integrity: Run) -> None:
        made("old", 3)
        integrity("receipts", "--until", ago(2).isoformat())
        made("new", 1)
        assert keys(integrity("receipts", "--since", "last").out) == ["new"]

    def test_what_is_committed_while_a_long_one_runs_is_in_the_next(
        self, integrity: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The log's clock goes on by two minutes after the page was read."""
        began, written = clocks.now("default"), receipt_table.json_line
        clock = iter([began])
        made_at("seen", began - dt.timedelta(seconds=1))

        def write(receipt: Any) -> str:
            if not Deletion.objects.filter(key="late").exists():
                made_at("late", began - dt.timedelta(seconds=2))
            return written(receipt)

        with monkeypatch.context() as patch:
            patch.setattr(receipt_table, "json_line", write)
            later = began + dt.timedelta(seconds=120)
            patch.setattr(clocks, "now", lambda _: next(clock, later))
            assert keys(integrity("receipts").out) == ["seen"]
        assert "late" in keys(integrity("receipts", "--since", "last").out)

    def test_a_file_that_is_not_on_the_disk_is_no_export(
        self, integrity: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        made("old", 3)

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            outcome = integrity("receipts", "--output", str(tmp_path / "receipts"))
        assert outcome.code == 1
        assert "receipts was not written: No space left on device" in outcome.err
        assert not Audit.objects.exists()
        assert list(tmp_path.iterdir()) == []

    def test_two_of_them_never_write_the_same_file(
        self, integrity: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        made("old", 3)
        file, inner, written = tmp_path / "receipts", list[str](), receipt_table.json_line

        def write(receipt: Any) -> str:
            if not inner:
                inner.append("")
                inner.append(integrity("receipts", "--output", str(file)).err)
            return written(receipt)

        monkeypatch.setattr(receipt_table, "json_line", write)
        assert integrity("receipts", "--output", str(file)).code == 0
        assert "receipts.part exists" in inner[1]
        assert keys(file.read_text()) == ["old"]
        assert Audit.objects.count() == 1

    def test_a_project_without_zones_has_it_too(self, integrity: Run, settings: Any) -> None:
        made("first", 6)
        made("second", 3)
        settings.USE_TZ = False
        connections.close_all()
        try:
            for words in (["--until", ago(5).isoformat()], ["--since", ago(5).isoformat()]):
                integrity("receipts", *words)
            assert integrity("receipts", "--since", "last").code == 0
            assert exports.exported_until(using="default") > timezone.make_naive(ago(1))
        finally:
            settings.USE_TZ = True
            connections.close_all()

    def test_what_exports_nothing_leaves_no_trace(self, integrity: Run) -> None:
        assert self.exported(integrity) is None
        assert not Audit.objects.exists()

    def test_what_was_looked_at_on_a_screen_is_in_no_export(
        self, integrity: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made("old", 3)
        monkeypatch.setattr("django.core.management.base.OutputWrapper.isatty", lambda _: True)
        assert self.exported(integrity) is None

    def test_a_pipe_is_no_export_and_a_file_is(self, tmp_path: Path) -> None:
        made("old", 3)
        out, into = os.pipe()
        with os.fdopen(out), os.fdopen(into, "w") as pipe:
            call_command("integrity", "receipts", stdout=pipe)
        assert exports.exported_until(using="default") is None
        with (tmp_path / "receipts").open("w") as file:
            call_command("integrity", "receipts", stdout=file)
        assert exports.exported_until(using="default") is not None


class TestPurge:
    @pytest.fixture(autouse=True)
    def _retention(self, tune: Tune) -> None:
        tune(retention_days=30)

    def test_it_warns_of_receipts_that_nobody_exported(self, integrity: Run) -> None:
        made("first", 50)
        integrity("receipts", "--until", ago(45).isoformat())
        made("second", 40)
        made("third", 35, state="cancelled")
        dry = integrity("purge", "--dry-run", "--json")
        assert dry.code == 3
        assert dry.document["purged"] == {"deletions": 3}
        assert dry.document["unexported"] == 2
        assert Deletion.objects.count() == 3
        outcome = integrity("purge")
        assert "default: this removes 2 deletions whose receipts are in no export" in outcome.err
        assert not Deletion.objects.exists()

    def test_what_is_exported_needs_no_warning(self, integrity: Run) -> None:
        made("old", 50)
        integrity("receipts")
        dry = integrity("purge", "--dry-run")
        assert (dry.code, dry.err) == (0, "")
        assert dry.out == "would remove 1 deletion, 0 deletions of them without an export\n"
        assert integrity("purge").err == ""

    def test_an_export_before_it_is_no_reason_to_warn(self, integrity: Run, tmp_path: Path) -> None:
        made("old", 50)
        assert integrity("purge", "--export", str(tmp_path / "receipts")).err == ""

    def test_what_is_not_on_the_disk_is_not_removed(
        self, integrity: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        made("old", 50)

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                integrity("purge", "--export", str(tmp_path / "receipts"))
        assert Deletion.objects.count() == 1

    def test_a_role_that_may_not_read_the_audit_is_told(
        self, integrity: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made("old", 50)
        with monkeypatch.context() as patch:
            patch.setattr(Audit._meta, "db_table", "denied")
            assert "the export was not noted: " in integrity("receipts").err
            dry = integrity("purge", "--dry-run")
            assert "what was exported is not known: " in dry.err
            assert dry.code == 3
            assert "may not read which were exported" in unexported.check("default").detail

    def test_what_is_not_past_its_retention_is_not_counted(self, integrity: Run) -> None:
        made("young", 20)
        made("open", 50, state="done")
        assert integrity("purge", "--dry-run").code == 0

    def test_doctor_warns_where_exports_were_given_up(self, integrity: Run) -> None:
        made("first", 28)
        assert unexported.check("default").ok
        assert "none has been exported yet" in unexported.check("default").detail
        integrity("receipts", "--until", ago(26).isoformat())
        assert unexported.check("default").ok
        made("second", 25)
        bad = unexported.check("default")
        assert not bad.ok
        assert "The next 1 to be removed are in none" in bad.detail


def test_a_scope_is_read_once_for_a_page(captured: Captured) -> None:
    for key in range(20):
        made(key, 3)
    Scope.objects.create(id=5, digest="0", parent="auth.User", document={})
    Cascade.objects.update(scope=5)
    rows = list(Deletion.objects.all())
    with captured:
        assert len(receipts.receipts_for(rows, using="default")) == 20
    assert len(captured["default"]) == 2
    Scope.objects.all().delete()


class TestWhatIsMissing:
    def test_a_period_that_the_purge_may_have_reached_is_said(
        self, integrity: Run, tune: Tune
    ) -> None:
        """Its receipts may be gone, which an empty export does not show by itself."""
        tune(retention_days=30.0)
        said = "default: deletions that ended before "
        early = integrity(
            "receipts", "--since", ago(40).isoformat(), "--until", ago(35).isoformat()
        )
        assert said in early.err
        assert "may have been removed (retention_days)" in early.err
        assert said not in integrity("receipts", "--since", ago(29).isoformat()).err
