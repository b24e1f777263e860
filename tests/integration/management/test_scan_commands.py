"""`integrity scan`, `integrity repair` and `cleanup_orphaned`: what they say is what happened."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from apps.blog.models import Post
from apps.integrity import relations, scan
from apps.integrity.control import actions
from apps.integrity.models import Audit, ChildDatabase, Deletion, Scan, Suspect
from apps.integrity.relations import discovery, homes
from sandbox.processes import eventually
from tests import log_rows
from tests.kinds.left.models import Box, Optional, Seal, Shelf, Vault
from tests.kinds.parents.models import Guarded, Owner, Root, Safe
from tests.kinds.right.models import Leaf, Restricting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Run = Callable[..., "Outcome"]

pytestmark = pytest.mark.usefixtures("committed")

CLEAN, ERROR, USAGE, FINDINGS, INCOMPLETE, UNREACHABLE, BRAKE = range(7)
LEAF, OPTIONAL = "right.Leaf.owner", "left.Optional.owner"
#: The relations of tests that repair: each repair needs a scan of all.
FEW = {
    *(LEAF, OPTIONAL, "blog.Post.author", "left.Badge.person", "left.Shelf.root"),
    *("left.Vault.safe", "right.BookNote.book", "right.Restricting.guarded"),
}


class Outcome:
    """What a run of a command gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> dict[str, Any]:
        [line] = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def reason(self) -> str:
        assert self.document["schema_version"] == 1
        return str(self.document["exit_reason"])

    def of(self, relation: str) -> dict[str, Any]:
        [row] = [each for each in self.document["relations"] if each["relation"] == relation]
        return dict(row)

    def effect(self, relation: str) -> int:
        rows = [each for each in self.document["effects"] if each["relation"] == relation]
        return sum(each["rows"] for each in rows)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tune: Tune) -> Run:
    """Run a command as a shell does: its code, and what it wrote where."""
    tune(grace_seconds=0.001)
    Owner.objects.create()

    def run(name: str, *arguments: str) -> Outcome:
        capsys.readouterr()
        code, message = CLEAN, ""
        try:
            call_command(name, *arguments)
        except CommandError as error:
            code, message = error.returncode, str(error)
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return Outcome(code, out, err + message)

    return run


@pytest.fixture
def integrity(command: Run) -> Run:
    return lambda *arguments: command("integrity", *arguments)


@pytest.fixture
def cleanup(command: Run) -> Run:
    return lambda *arguments: command("cleanup_orphaned", *arguments)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with few relations, in all logs and child databases that the tests name."""
    known = tuple(each for each in relations.discover().relations if each.label in FEW)
    assert len(known) == len(FEW)
    monkeypatch.setattr(discovery, "_known", [relations.Catalogue(known)])


@pytest.fixture
def repaired(integrity: Run) -> Run:
    """`repair --apply --json`, again while transactions of others hold a fence back."""

    def run(*arguments: str) -> Outcome:
        outcomes: list[Outcome] = []

        def over() -> bool:
            outcomes.append(integrity("repair", "--apply", "--json", *arguments))
            return not outcomes[-1].document["waiting"] or outcomes[-1].code == BRAKE

        assert eventually(over, timeout=30)
        return outcomes[-1]

    return run


def orphaned(number: int = 3, child: Any = Leaf) -> list[int]:
    """Two rows each for owners that are gone without a trace; gives the owners' keys."""
    owners = Owner.objects.bulk_create(Owner() for _ in range(number))
    child.objects.bulk_create(child(owner=each) for each in owners for _ in range(2))
    Owner.objects.filter(pk__in=[each.pk for each in owners])._raw_delete("default")
    return [each.pk for each in owners]


def audited() -> dict[tuple[str, str], tuple[int, int]]:
    """Verb and target → how many were confirmed, and how many alive, in all rows of the audit."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for row in Audit.objects.all():
        confirmed, alive = re.match(r"(\d+) confirmed, (\d+) alive, ", row.reason).groups()
        before = sums.get((row.verb, row.target), (0, 0))
        sums[row.verb, row.target] = before[0] + int(confirmed), before[1] + int(alive)
    return sums


def raw_delete(row: Any) -> None:
    QuerySet(model=type(row), using=row._state.db).filter(pk=row.pk)._raw_delete(row._state.db)


def everything() -> dict[str, list[Any]]:
    """The rows of all parents and children: what a dry run must leave as it is."""
    models = {each.child for each in relations.catalogue().relations}
    models |= {each.parent for each in relations.catalogue().relations}
    return {
        f"{model._meta.label} in {alias}": list(
            QuerySet(model=model, using=alias).order_by("pk").values()
        )
        for model in models
        if not model._meta.label.startswith("hostile.Percent")
        for alias in homes.databases_for(model)
    }


@contextmanager
def paused(database: str) -> Iterator[None]:
    for using in relations.catalogue().log_databases:
        actions.pause(database, actor="me", reason="a migration", using=using)
    yield
    for using in relations.catalogue().log_databases:
        actions.resume(database, actor="me", reason="", using=using)


class TestScan:
    def test_nothing_found(self, integrity: Run) -> None:
        Leaf.objects.create(owner=Owner.objects.create())
        outcome = integrity("scan", "--json")
        assert (outcome.code, outcome.reason) == (CLEAN, "clean")
        known = {
            (each.label, alias)
            for each in relations.catalogue().relations
            for alias in each.child_databases
        }
        rows = outcome.document["relations"]
        assert {(each["relation"], each["database"]) for each in rows} == known
        assert all(each["complete"] for each in rows)

    def test_json(self, integrity: Run) -> None:
        Leaf.objects.create(owner=Owner.objects.create())
        orphaned()
        outcome = integrity("scan", "--json")
        assert (outcome.code, outcome.reason) == (FINDINGS, "findings")
        row = outcome.of(LEAF)
        assert (row["rows_scanned"], row["keys_scanned"]) == (7, 4)
        assert (row["suspects"], row["orphans"], row["complete"]) == (3, 6, True)

    def test_text_goes_to_stdout_and_nothing_to_an_unwatched_stderr(self, integrity: Run) -> None:
        orphaned()
        outcome = integrity("scan", "--relation", LEAF)
        assert outcome.code == FINDINGS
        head, line = outcome.out.splitlines()
        assert head.split()[:2] == ["RELATION", "DATABASE"]
        assert line.split()[:2] == [LEAF, "test_right"]
        assert outcome.err == ""

    def test_it_writes_to_no_scanned_table(self, integrity: Run) -> None:
        orphaned()
        before = everything()
        integrity("scan")
        assert everything() == before

    def test_one_database(self, integrity: Run) -> None:
        outcome = integrity("scan", "--database", "test_right", "--json")
        assert {each["database"] for each in outcome.document["relations"]} == {"test_right"}

    @pytest.mark.parametrize(
        ("arguments", "kind", "known"),
        [
            (("--relation", "right.Leaf.nobody"), "relation 'right.Leaf.nobody'", LEAF),
            (("--database", "nowhere"), "child database 'nowhere'", "test_right"),
            (("--database", "default"), "child database 'default'", "test_right"),
        ],
    )
    def test_an_unknown_name_is_a_usage_error_that_lists_the_known(
        self, integrity: Run, arguments: tuple[str, ...], kind: str, known: str
    ) -> None:
        outcome = integrity("scan", *arguments)
        assert (outcome.code, outcome.out) == (USAGE, "")
        assert outcome.err.startswith(f"unknown {kind}; ")
        assert known in outcome.err

    def test_a_relation_that_is_not_in_that_database_is_a_usage_error(self, integrity: Run) -> None:
        """Nothing would be scanned, and "clean" would be a lie."""
        orphaned()
        outcome = integrity("scan", "--relation", LEAF, "--database", "test_left")
        assert outcome.code == USAGE
        assert "test_right" in outcome.err

    @pytest.mark.parametrize("seconds", ["soon", ""])
    def test_a_time_that_is_no_number_is_a_usage_error(self, integrity: Run, seconds: str) -> None:
        assert integrity("scan", "--max-runtime", seconds).code in {ERROR, USAGE}

    def test_time_that_is_up_is_told_and_the_next_run_goes_on(
        self, integrity: Run, tune: Tune
    ) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        orphaned(3)
        rows = []
        for _ in range(4):
            outcome = integrity("scan", "--relation", LEAF, "--max-runtime", "0", "--json")
            rows.append(outcome.of(LEAF))
            if not rows[-1]["complete"]:
                assert (outcome.code, outcome.reason) == (INCOMPLETE, "incomplete")
        assert [each["keys_scanned"] for each in rows] == [1, 1, 1, 0]
        assert [each["complete"] for each in rows] == [False, False, False, True]

    def test_a_relation_whose_turn_did_not_come_is_told(self, integrity: Run) -> None:
        """The first relation of each database is complete, and the time is up."""
        orphaned(1, Optional)
        outcome = integrity("scan", "--max-runtime", "0", "--json")
        assert log_rows.suspected() == []
        assert (outcome.code, outcome.reason) == (INCOMPLETE, "incomplete")
        row = outcome.of(OPTIONAL)
        assert (row["complete"], row["keys_scanned"]) == (False, 0)

    def test_findings_of_the_first_runs_are_told_by_the_one_that_ends_the_pass(
        self, integrity: Run, tune: Tune
    ) -> None:
        """The code is about the pass, and not about its last step."""
        tune(grace_seconds=0.001, scan_step_keys_max=2)
        orphaned(2)
        arguments = ("scan", "--relation", LEAF, "--max-runtime", "0", "--json")
        assert integrity(*arguments).code == INCOMPLETE
        outcome = integrity(*arguments)
        assert outcome.of(LEAF)["complete"]
        assert outcome.code == FINDINGS

    def test_full_begins_anew(self, integrity: Run, tune: Tune) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        orphaned(3)
        integrity("scan", "--relation", LEAF, "--max-runtime", "0")
        outcome = integrity("scan", "--relation", LEAF, "--full", "--json")
        assert outcome.of(LEAF)["keys_scanned"] == 3

    def test_a_database_that_is_down_is_told_and_the_others_are_scanned(
        self, integrity: Run, refuse: Callable[[str], Any]
    ) -> None:
        orphaned()
        with refuse("blog_db"):
            outcome = integrity("scan", "--json")
        assert (outcome.code, outcome.reason) == (UNREACHABLE, "unreachable")
        assert "blog_db cannot be reached: " in outcome.err
        assert outcome.of(LEAF)["suspects"] == 3
        with refuse("blog_db"):
            assert integrity("scan", "--database", "blog_db").out == "Nothing was scanned.\n"

    def test_a_database_that_is_down_and_has_no_part_in_it_is_nobody_s_concern(
        self, integrity: Run, refuse: Callable[[str], Any]
    ) -> None:
        orphaned()
        with refuse("blog_db"):
            outcome = integrity("scan", "--relation", LEAF, "--json")
        assert outcome.code == FINDINGS

    @pytest.mark.parametrize("log", ["default", "test_left"])
    def test_a_log_that_is_down_is_told(
        self, integrity: Run, refuse: Callable[[str], Any], log: str
    ) -> None:
        """Its parents cannot be asked either: nobody can say that their children are clean."""
        with refuse(log):
            outcome = integrity("scan", "--database", "test_right", "--json")
        assert (outcome.code, outcome.reason) == (UNREACHABLE, "unreachable")

    def test_a_paused_database_is_not_called_clean(self, integrity: Run) -> None:
        orphaned()
        with paused("test_right"):
            outcome = integrity("scan", "--database", "test_right", "--json")
        assert (outcome.code, outcome.reason) == (INCOMPLETE, "incomplete")
        assert "a migration" in outcome.of(LEAF)["reason"]

    def test_another_scan_at_work_is_told(self, integrity: Run) -> None:
        integrity("scan", "--relation", LEAF)
        Scan.objects.update(claim=uuid4(), due_at="2999-01-01T00:00Z")
        outcome = integrity("scan", "--relation", LEAF, "--json")
        assert outcome.code == INCOMPLETE
        assert outcome.of(LEAF)["reason"] == "another scan is at work on it"

    def test_a_table_that_is_not_there_is_an_error_in_one_line(
        self, integrity: Run, renamed: Callable[[str, str], Any]
    ) -> None:
        with renamed("default", "integrity_scan"):
            outcome = integrity("scan")
        assert outcome.code == ERROR
        assert "missing: integrity_scan. Run `manage.py migrate --database default`" in outcome.err


@pytest.mark.usefixtures("few")
class TestRepair:
    def test_no_suspects(self, integrity: Run) -> None:
        outcome = integrity("repair", "--json")
        assert (outcome.code, outcome.reason) == (CLEAN, "clean")
        assert outcome.document["effects"] == []
        assert integrity("repair").out.startswith("nothing to do: no suspects are known. ")

    def test_a_dry_run_says_what_it_would_do_and_changes_nothing(self, integrity: Run) -> None:
        orphaned()
        integrity("scan")
        before = everything(), list(Suspect.objects.values()), list(Scan.objects.values())
        outcome = integrity("repair", "--json")
        assert (outcome.code, outcome.reason) == (FINDINGS, "findings")
        assert outcome.document["applied"] is False
        assert outcome.effect(LEAF) == 6
        assert "dry run: --apply repairs" in integrity("repair").out
        assert (
            everything(),
            list(Suspect.objects.values()),
            list(Scan.objects.values()),
        ) == before
        assert not Audit.objects.exists()

    def test_apply_removes_what_the_dry_run_named_and_no_more(
        self, integrity: Run, repaired: Run
    ) -> None:
        living = Leaf.objects.create(owner=Owner.objects.create())
        orphaned()
        orphaned(1, Optional)
        integrity("scan")
        dry = integrity("repair", "--json").document
        outcome = repaired()
        assert (outcome.code, outcome.document["applied"]) == (CLEAN, True)
        assert {each["relation"]: each["rows"] for each in dry["effects"]} == {
            LEAF: 6,
            OPTIONAL: 2,
        }
        assert Leaf.objects.get() == living
        assert not Optional.objects.exists()

    def test_what_was_repaired_is_audited_and_nothing_else(
        self, integrity: Run, repaired: Run
    ) -> None:
        back, *_gone = orphaned(3)
        Owner.objects.create(pk=back)
        integrity("scan")
        assert integrity("repair").code == FINDINGS
        assert not Audit.objects.exists()
        repaired()
        assert audited() == {("repair", LEAF): (2, 0)}
        assert all(row.actor.startswith("command line") for row in Audit.objects.all())
        rows = Audit.objects.count()
        assert repaired().code == CLEAN
        assert Audit.objects.count() == rows

    def test_a_parent_that_came_back_is_audited(self, integrity: Run, repaired: Run) -> None:
        back, _gone = orphaned(2)
        integrity("scan")
        Owner.objects.create(pk=back)
        repaired()
        assert audited() == {("repair", LEAF): (1, 1)}

    def test_rows_below_a_row_are_named_too(self, integrity: Run) -> None:
        """As in `preview`: what goes with an orphan is part of what a repair does."""
        shelf = Shelf.objects.create(root=Root.objects.create())
        Box.objects.bulk_create(Box(shelf=shelf) for _ in range(4))
        Root.objects.create()
        raw_delete(shelf.root)
        integrity("scan")
        outcome = integrity("repair", "--json")
        assert outcome.effect("left.Shelf.root") == 1
        assert outcome.effect("left.Box.shelf") == 4

    def test_one_relation_s_repair_leaves_the_others_rows_alone(
        self, integrity: Run, repaired: Run
    ) -> None:
        """What the dry run did not name is not touched."""
        for key in orphaned(1):
            Optional.objects.create(owner_id=key)
        integrity("scan")
        dry = integrity("repair", "--relation", LEAF, "--json")
        assert (dry.effect(LEAF), dry.effect(OPTIONAL)) == (2, 0)
        assert repaired("--relation", LEAF).code == CLEAN
        integrity("drain")
        assert not Leaf.objects.exists()
        assert Optional.objects.count() == 1

    def test_rows_of_parents_that_came_back_are_not_announced(self, integrity: Run) -> None:
        keys = orphaned(2)
        integrity("scan")
        Owner.objects.bulk_create(Owner(pk=key) for key in keys)
        outcome = integrity("repair", "--json")
        assert outcome.effect(LEAF) == 0

    def test_parents_that_came_back_are_counted(self, integrity: Run, repaired: Run) -> None:
        back, gone = orphaned(2)
        integrity("scan")
        Owner.objects.create(pk=back)
        outcomes = repaired()
        assert outcomes.code == CLEAN
        assert set(Leaf.objects.values_list("owner_id", flat=True)) == {back} != {gone}
        assert [row.key for row in Deletion.objects.all()] == [str(gone)]
        assert log_rows.suspected() == []

    def test_what_still_waits_is_incomplete(self, integrity: Run, tune: Tune) -> None:
        tune(grace_seconds=60)
        orphaned()
        integrity("scan")
        outcome = integrity("repair", "--apply", "--json")
        assert (outcome.code, outcome.reason) == (INCOMPLETE, "incomplete")
        assert (outcome.document["confirmed"], outcome.document["waiting"]) == (0, 3)
        assert "can be confirmed 60 s after their scan" in outcome.err
        assert Leaf.objects.count() == 6

    def test_a_dry_run_that_could_not_count_is_not_called_clean(
        self, integrity: Run, refuse: Callable[[str], Any]
    ) -> None:
        with refuse("test_right"):
            outcome = integrity("repair", "--relation", LEAF, "--json")
        assert (outcome.code, outcome.reason) == (UNREACHABLE, "unreachable")
        assert f"{LEAF}: its rows cannot be counted: test_right: " in outcome.err

    @pytest.mark.parametrize("apply", [True, False])
    def test_the_brake_refuses_and_says_why_and_how_to_go_on(
        self, integrity: Run, *, apply: bool
    ) -> None:
        orphaned()
        Owner.objects.all()._raw_delete("default")
        integrity("scan")
        arguments = ("repair", *(["--apply"] if apply else []))
        outcome = integrity(*arguments, "--json")
        assert (outcome.code, outcome.reason) == (BRAKE, "brake")
        assert outcome.document["brakes"] == {LEAF: "the parent's table is empty"}
        assert f"{LEAF}: repair refused by the brake: the parent's table is empty" in outcome.err
        assert '--override-brake "the reason"' in outcome.err
        assert Leaf.objects.count() == 6
        assert integrity(*arguments).code == BRAKE

    def test_the_brake_of_one_relation_stops_no_other(self, integrity: Run, repaired: Run) -> None:
        orphaned()
        vault = Vault.objects.create(safe=Safe.objects.create())
        raw_delete(vault.safe)
        integrity("scan")
        outcome = repaired()
        assert outcome.code == BRAKE
        assert list(outcome.document["brakes"]) == ["left.Vault.safe"]
        assert not Leaf.objects.exists()
        assert Vault.objects.count() == 1

    def test_an_override_needs_a_reason_which_is_audited(
        self, integrity: Run, repaired: Run
    ) -> None:
        orphaned()
        Owner.objects.all()._raw_delete("default")
        integrity("scan")
        for nothing in ("", "  "):
            integrity("repair", "--apply", "--override-brake", nothing)
            assert Leaf.objects.count() == 6
        assert not Audit.objects.exists()
        assert repaired("--override-brake", "the tenant left").code == CLEAN
        assert not Leaf.objects.exists()
        rows = Audit.objects.filter(verb="override brake")
        assert set(rows.values_list("target", "reason")) == {(LEAF, "the tenant left")}
        assert rows.first().actor.startswith("command line")

    def test_a_dry_run_overrides_nothing(self, integrity: Run) -> None:
        orphaned()
        Owner.objects.all()._raw_delete("default")
        integrity("scan")
        assert integrity("repair", "--override-brake", "why not").code == BRAKE
        assert not Audit.objects.exists()

    def test_an_unknown_relation_is_a_usage_error_that_lists_the_known(
        self, integrity: Run
    ) -> None:
        outcome = integrity("repair", "--relation", "nope")
        assert outcome.code == USAGE
        assert "unknown relation 'nope'; known: " in outcome.err
        assert LEAF in outcome.err

    def test_rows_that_cannot_be_removed_are_not_called_clean(
        self, integrity: Run, repaired: Run
    ) -> None:
        vault = Vault.objects.create(safe=Safe.objects.create())
        Seal.objects.create(vault=vault)
        Safe.objects.create()
        raw_delete(vault.safe)
        integrity("scan")
        outcome = repaired("--relation", "left.Vault.safe")
        assert Vault.objects.count() == 1
        assert outcome.code in {FINDINGS, INCOMPLETE}

    def test_a_paused_database_is_not_called_clean(self, integrity: Run, repaired: Run) -> None:
        orphaned()
        integrity("scan")
        with paused("test_right"):
            outcome = repaired("--relation", LEAF)
        assert Leaf.objects.count() == 6
        assert outcome.code in {FINDINGS, INCOMPLETE}

    def test_a_database_that_is_down_is_told_and_the_others_are_repaired(
        self, integrity: Run, refuse: Callable[[str], Any]
    ) -> None:
        orphaned(1)
        Post.objects.create(title="t", content="c", author_id=999_999)
        User.objects.create(username="ann")
        integrity("scan")

        def repaired() -> bool:
            outcome = integrity("repair", "--apply", "--json")
            assert (outcome.code, outcome.reason) == (UNREACHABLE, "unreachable")
            return not Leaf.objects.exists()

        with refuse("blog_db"):
            assert eventually(repaired, timeout=30)
        assert Post.objects.count() == 1

    def test_a_log_that_is_down_is_told_and_the_others_are_repaired(
        self, integrity: Run, refuse: Callable[[str], Any]
    ) -> None:
        orphaned(1)
        integrity("scan")

        def repaired() -> bool:
            outcome = integrity("repair", "--apply", "--json")
            assert (outcome.code, outcome.reason) == (UNREACHABLE, "unreachable")
            return not Leaf.objects.exists()

        with refuse("test_left"):
            assert eventually(repaired, timeout=30)

    def test_a_log_of_yesterday_is_an_error_in_one_line(self, integrity: Run) -> None:
        Suspect.objects.create(
            parent="parents.Person", relation="left.Badge.person", field="slug", value="x"
        )
        for arguments in (("repair",), ("repair", "--apply")):
            assert integrity(*arguments).code in range(7)


@pytest.mark.usefixtures("few")
class TestCleanup:
    def test_a_dry_run_shows_and_changes_nothing(self, cleanup: Run) -> None:
        orphaned()
        before = everything()
        outcome = cleanup("--json")
        assert (outcome.code, outcome.reason) == (FINDINGS, "findings")
        assert outcome.document["applied"] is False
        assert (outcome.effect(LEAF), outcome.of(LEAF)["orphans"]) == (6, 6)
        assert everything() == before
        assert "6 orphans found (dry run: --apply repairs)" in cleanup().out

    def test_clean(self, cleanup: Run) -> None:
        Leaf.objects.create(owner=Owner.objects.create())
        assert cleanup("--json").reason == "clean"
        assert cleanup("--apply").code == CLEAN
        assert Leaf.objects.count() == 1

    def test_apply_scans_waits_and_repairs(self, cleanup: Run) -> None:
        living = Leaf.objects.create(owner=Owner.objects.create())
        orphaned()
        outcome = self.until_nothing_waits(cleanup)
        assert outcome.code == CLEAN
        assert "recheck in" in outcome.err
        assert Leaf.objects.get() == living

    def until_nothing_waits(self, cleanup: Run, *arguments: str) -> Outcome:
        outcomes: list[Outcome] = []

        def over() -> bool:
            outcomes.append(cleanup("--apply", *arguments))
            return outcomes[-1].code != INCOMPLETE

        assert eventually(over, timeout=30)
        return outcomes[-1]

    def test_it_says_repaired_only_of_what_was_repaired(self, cleanup: Run, tune: Tune) -> None:
        orphaned()
        Owner.objects.all()._raw_delete("default")
        outcome = cleanup("--apply")
        assert outcome.code == BRAKE
        assert Leaf.objects.count() == 6
        assert "6 orphans repaired" not in outcome.out
        assert "repair refused by the brake: the parent's table is empty" in outcome.err

    def test_it_says_how_many_were_repaired(self, cleanup: Run) -> None:
        orphaned()
        assert "6 orphans repaired" in self.until_nothing_waits(cleanup).out
        assert audited() == {("repair", LEAF): (3, 0)}

    def test_override(self, cleanup: Run) -> None:
        orphaned()
        Owner.objects.all()._raw_delete("default")
        outcome = self.until_nothing_waits(cleanup, "--override-brake", "they left")
        assert outcome.code == CLEAN
        assert not Leaf.objects.exists()
        rows = Audit.objects.filter(verb="override brake")
        assert set(rows.values_list("reason", flat=True)) == {"they left"}

    def test_one_app(self, cleanup: Run) -> None:
        orphaned()
        orphaned(1, Optional)
        outcome = self.until_nothing_waits(cleanup, "--app", "right")
        assert outcome.code == CLEAN
        assert not Leaf.objects.exists()
        assert Optional.objects.count() == 2

    def test_an_unknown_app_is_a_usage_error_that_lists_the_known(self, cleanup: Run) -> None:
        outcome = cleanup("--app", "nope")
        assert (outcome.code, outcome.out) == (USAGE, "")
        assert "'nope'; known: " in outcome.err
        assert "blog" in outcome.err

    @pytest.mark.parametrize("apply", [True, False])
    def test_orphans_that_no_policy_removes_are_not_called_repaired(
        self, cleanup: Run, *, apply: bool
    ) -> None:
        Guarded.objects.create()
        Restricting.objects.create(guarded_id=999_999)
        outcome = cleanup(*(["--apply"] if apply else []))
        assert outcome.code == FINDINGS
        assert Restricting.objects.count() == 1
        assert "right.Restricting.guarded" in outcome.out + outcome.err

    @pytest.mark.parametrize("apply", [True, False])
    def test_a_database_that_is_down_is_told_and_the_others_are_cleaned(
        self, cleanup: Run, refuse: Callable[[str], Any], *, apply: bool
    ) -> None:
        orphaned(1)
        Post.objects.create(title="t", content="c", author_id=999_999)
        User.objects.create(username="ann")
        cleanup()  # suspects of the one that goes away
        with refuse("blog_db"):
            outcome = cleanup("--json", *(["--apply"] if apply else []))
            assert (outcome.code, outcome.reason) == (UNREACHABLE, "unreachable")
            assert outcome.effect(LEAF) == 2
            if apply:
                assert eventually(
                    lambda: cleanup("--apply") and not Leaf.objects.exists(), timeout=30
                )
        assert Post.objects.count() == 1

    def test_a_table_that_is_not_there_is_an_error_in_one_line(
        self, cleanup: Run, renamed: Callable[[str, str], Any]
    ) -> None:
        with renamed("default", "integrity_scan"):
            outcome = cleanup()
        assert outcome.code == ERROR
        assert "integrity_scan" in outcome.err

    def test_the_pass_of_a_tick_is_not_lost_on_others(self, cleanup: Run) -> None:
        """A full scan of one app begins no pass of another one anew."""
        Optional.objects.create(owner=Owner.objects.create())
        scan.scan("test_left", labels=[OPTIONAL], seconds=0)
        began = Scan.objects.get(relation=OPTIONAL).began_at
        cleanup("--app", "right")
        assert Scan.objects.get(relation=OPTIONAL).began_at == began

    def test_the_log_holds_the_evidence_and_no_content(self, cleanup: Run) -> None:
        keys = orphaned(1)
        self.until_nothing_waits(cleanup)
        assert set(Deletion.objects.values_list("key", "source")) == {(str(keys[0]), "scan")}
        assert log_rows.in_database(keys[0], "test_right").rows == {LEAF: 2}
        assert not ChildDatabase.objects.exclude(unreachable_since=None).exists()
