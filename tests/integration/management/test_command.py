"""`manage.py integrity VERB`: results, one JSON document, exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import capture
from apps.integrity.control import heartbeats
from apps.integrity.management.commands.integrity import Command
from apps.integrity.models import Audit, Cascade, ChildDatabase
from apps.integrity.queues import dispatch
from apps.integrity.report import catalogue
from apps.shop.models import Order
from tests import log_rows
from tests.kinds.left.models import Book
from tests.kinds.parents.models import Library
from tests.kinds.right.models import BookNote

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Tune


pytestmark = pytest.mark.usefixtures("committed")

CLEAN, ERROR, USAGE, FINDINGS, INCOMPLETE, UNREACHABLE = range(6)


class Outcome:
    """What a run of the command gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def text(self) -> str:
        """What it printed, as one line: sentences are wrapped."""
        return " ".join(self.out.split())

    @property
    def document(self) -> dict[str, Any]:
        [line] = self.out.splitlines()
        return json.loads(line)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def integrity(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code, message = CLEAN, ""
        try:
            call_command("integrity", *arguments)
        except CommandError as error:
            code, message = error.returncode, str(error)
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return Outcome(code, out, err + message)

    return run


Run = "Callable[..., Outcome]"


@pytest.fixture
def ann() -> User:
    user = User.objects.create(username="ann")
    Post.objects.create(title="t", content="c", author=user)
    for n in range(2):
        Order.objects.create(order_number=f"{n}", customer=user, total=1)
    return user


class TestRelations:
    def test_json(self, integrity: Run) -> None:
        outcome = integrity("relations", "--json")
        assert outcome.code == CLEAN
        assert outcome.document["schema_version"] == 1
        assert outcome.document["exit_reason"] == "clean"
        [post] = [
            each for each in outcome.document["relations"] if each["relation"] == "blog.Post.author"
        ]
        assert post["child_database"] == "blog_db"
        assert set(post) >= {"parent", "parent_database", "policy", "indexed", "last_full_scan"}

    def test_mermaid(self, integrity: Run) -> None:
        outcome = integrity("relations", "--format", "mermaid")
        assert outcome.code == CLEAN
        assert outcome.lines[0] == "flowchart LR"
        assert sum("-->" in line for line in outcome.lines) == len(catalogue.relation_rows())
        assert integrity("relations", "--format", "mermaid", "--json").code == USAGE

    def test_text(self, integrity: Run) -> None:
        outcome = integrity("relations", "--wide")
        assert outcome.lines[0].split()[:2] == ["RELATION", "CHILD_DATABASE"]
        [line] = [each for each in outcome.lines if each.startswith("blog.Post.author ")]
        assert line.split()[1:] == ["blog_db", "auth.User", "default", "CASCADE", "set-based"]


@pytest.mark.parametrize("verb", ["relations", "status", "scan", "repair"])
def test_tables_fit_eighty_columns_and_more_if_asked(integrity: Run, verb: str) -> None:
    lines = integrity(verb).lines
    assert lines
    too_long = [line for line in lines if len(line) > 80 and len(line.split()) > 1]
    assert too_long == []
    assert {*integrity(verb, "--wide").lines} != {*lines} or verb == "repair"


class TestPreview:
    def test_json(self, integrity: Run, ann: User) -> None:
        outcome = integrity("preview", "auth.User", str(ann.pk), "--json")
        assert outcome.code == CLEAN
        assert outcome.document["total"] == 3
        assert {each["relation"]: each["rows"] for each in outcome.document["effects"]} == {
            "blog.Comment.author": 0,
            "blog.Post.author": 1,
            "blog.Comment.post": 0,
            "shop.Order.customer": 2,
        }

    def test_text(self, integrity: Run, ann: User) -> None:
        outcome = integrity("preview", "auth.user", str(ann.pk))
        assert outcome.code == CLEAN
        assert outcome.lines[-1] == "total 3"

    def test_a_parent_that_is_not_there_is_a_finding_with_what_refers_to_it(
        self, integrity: Run, ann: User
    ) -> None:
        User.objects.filter(pk=ann.pk)._raw_delete("default")
        outcome = integrity("preview", "auth.User", str(ann.pk), "--json")
        assert (outcome.code, outcome.document["exit_reason"]) == (FINDINGS, "findings")
        assert (outcome.document["exists"], outcome.document["total"]) == (False, 3)
        said = f"there is no auth.User {ann.pk}, but 3 rows refer to it"
        assert integrity("preview", "auth.user", str(ann.pk)).err == f"{said}\n"
        assert integrity("preview", "auth.User", "999").err.startswith(
            "there is no auth.User 999, and no row refers to it"
        )

    @pytest.mark.parametrize("verb", ["preview", "receipt"])
    def test_an_unknown_model_is_a_usage_error_that_lists_the_known(
        self, integrity: Run, verb: str
    ) -> None:
        outcome = integrity(verb, "auth.Nobody", "1")
        assert outcome.code == USAGE
        assert "unknown parent model 'auth.Nobody'; known: " in outcome.err
        assert "auth.User" in outcome.err

    @pytest.mark.parametrize("verb", ["preview", "receipt"])
    def test_a_malformed_key_is_a_usage_error_that_names_the_field(
        self, integrity: Run, verb: str
    ) -> None:
        outcome = integrity(verb, "auth.User", "abc")
        assert "not a key that auth.User.id can hold" in outcome.err
        assert outcome.code == USAGE

    def test_a_database_that_cannot_be_asked_has_its_own_exit_code(
        self, integrity: Run, refuse: Callable[[str], Any]
    ) -> None:
        with refuse("blog_db"):
            outcome = integrity("preview", "auth.User", "1")
        assert outcome.code == UNREACHABLE
        assert "blog_db: cannot be reached" in outcome.err
        assert "refused" in outcome.err or "its connection failed (2002)" in outcome.err
        assert "Traceback" not in outcome.err


class TestStatus:
    def test_clean(self, integrity: Run) -> None:
        heartbeats.record("beat", using="default")
        outcome = integrity("status", "--json")
        assert outcome.code == CLEAN
        assert outcome.document["exit_reason"] == "clean"
        assert {each["database"] for each in outcome.document["databases"]} >= {
            "blog_db",
            "shop_db",
        }
        assert set(outcome.document) >= {"deletions", "scans", "workers", "beat"}

    def test_text(self, integrity: Run, ann: User) -> None:
        ann.delete()
        outcome = integrity("status")
        [line] = [each for each in outcome.lines if each.startswith("blog_db")]
        assert line.split()[1:4] == ["working", "1", "0"]
        assert outcome.lines[-1] == "deletions: 1 recorded"

    def test_backlog_is_incomplete(self, integrity: Run, ann: User) -> None:
        ann.delete()
        outcome = integrity("status", "--json")
        assert (outcome.code, outcome.document["exit_reason"]) == (INCOMPLETE, "incomplete")

    def test_only_blocked_cascades_are_findings(self, integrity: Run, ann: User) -> None:
        ann.delete()
        dispatch.sweep_all()
        Cascade.objects.filter(database="blog_db").update(state="blocked")
        Cascade.objects.filter(database="shop_db").update(state="done")
        outcome = integrity("status", "--json")
        assert (outcome.code, outcome.document["exit_reason"]) == (FINDINGS, "findings")

    def test_an_unreachable_database_is_the_worst(
        self, integrity: Run, ann: User, refuse: Callable[[str], Any]
    ) -> None:
        ann.delete()
        with refuse("blog_db"):
            integrity("drain")
            outcome = integrity("status", "--json")
        assert (outcome.code, outcome.document["exit_reason"]) == (UNREACHABLE, "unreachable")


class TestDrain:
    def test_json(self, integrity: Run, ann: User) -> None:
        ann.delete()
        outcome = integrity("drain", "--json")
        assert outcome.code == CLEAN
        document = outcome.document
        assert document["schema_version"] == 1
        assert (document["dispatched"], document["cascaded"]) == (1, 2)
        assert document["pending"] == 0
        assert document["rows"] == {"blog.Post.author": 1, "shop.Order.customer": 2}
        assert not Order.objects.exists()

    def test_text(self, integrity: Run, ann: User) -> None:
        ann.delete()
        outcome = integrity("drain")
        assert outcome.code == CLEAN
        assert outcome.lines[0].startswith("dispatched 1, cascaded 2")
        assert "  1 blog.Post.author" in outcome.lines
        assert "  2 shop.Order.customer" in outcome.lines

    def test_nothing_to_do(self, integrity: Run) -> None:
        outcome = integrity("drain", "--json")
        assert outcome.code == CLEAN
        assert (outcome.document["dispatched"], outcome.document["rows"]) == (0, {})

    def test_a_chain_over_three_databases_in_one_run(self, integrity: Run) -> None:
        library = Library.objects.create()
        BookNote.objects.create(book=Book.objects.create(library=library))
        library.delete()
        outcome = integrity("drain", "--json")
        assert outcome.document["rows"] == {"left.Book.library": 1, "right.BookNote.book": 1}
        assert (outcome.code, outcome.document["dispatched"]) == (CLEAN, 2)

    def test_one_database_only(self, integrity: Run, ann: User) -> None:
        ann.delete()
        outcome = integrity("drain", "--json", "--database", "shop_db")
        assert outcome.code == CLEAN
        assert outcome.document["rows"] == {"shop.Order.customer": 2}
        assert Post.objects.count() == 1

    def test_an_unknown_database_is_a_usage_error_that_lists_the_known(
        self, integrity: Run
    ) -> None:
        outcome = integrity("drain", "--database", "nope")
        assert outcome.code == USAGE
        assert "unknown child database or step 'nope'; known: " in outcome.err
        assert "blog_db" in outcome.err

    def test_time_that_is_up_is_incomplete(self, integrity: Run, tune: Tune) -> None:
        tune(statement_rows_max=1)
        user = User.objects.create(username="ann")
        for n in range(50):
            Order.objects.create(order_number=f"{n}", customer=user, total=1)
        user.delete()
        outcome = integrity("drain", "--json", "--database", "shop_db", "--timeout", "0")
        assert (outcome.code, outcome.document["exit_reason"]) == (INCOMPLETE, "incomplete")
        assert outcome.document["pending"] == 1
        assert Order.objects.exists()

    def test_blocked_cascades_are_findings(self, integrity: Run, ann: User) -> None:
        capture.record((User, [999]), using="default")
        dispatch.sweep_all()
        Cascade.objects.update(state="blocked")
        outcome = integrity("drain", "--json")
        assert (outcome.code, outcome.document["exit_reason"]) == (FINDINGS, "findings")

    def test_an_unreachable_database_delays_itself_alone(
        self, integrity: Run, ann: User, refuse: Callable[[str], Any]
    ) -> None:
        ann.delete()
        with refuse("blog_db"):
            outcome = integrity("drain", "--json")
        assert (outcome.code, outcome.document["exit_reason"]) == (UNREACHABLE, "unreachable")
        assert outcome.document["rows"] == {"shop.Order.customer": 2}
        assert outcome.document["pending"] == 1
        ChildDatabase.objects.update(probe_at=timezone.now())
        assert integrity("drain", "--json").code == CLEAN

    def test_a_second_run_before_the_next_probe_says_unreachable_too(
        self, integrity: Run, ann: User, refuse: Callable[[str], Any]
    ) -> None:
        ann.delete()
        with refuse("blog_db"):
            codes = [integrity("drain", "--json").code for _ in range(2)]
        assert codes == [UNREACHABLE, UNREACHABLE]

    def test_progress_is_no_part_of_the_document(self, integrity: Run, ann: User) -> None:
        ann.delete()
        outcome = integrity("drain", "--json")
        assert outcome.document
        assert "rows so far" in outcome.err


class TestVerify:
    def test_a_drain_without_proof_says_how_to_wait_for_it(
        self, integrity: Run, tune: Tune, ann: User
    ) -> None:
        tune(grace_seconds=600)
        ann.delete()
        for _ in range(2):  # also where nothing else is to be done
            outcome = integrity("drain", "--json")
            assert outcome.code == CLEAN
            assert "2 not verified yet: `drain --verify` waits for it" in outcome.err

    def test_a_drain_may_wait_for_the_proof(self, integrity: Run, tune: Tune, ann: User) -> None:
        tune(grace_seconds=0.01)
        key = str(ann.pk)
        ann.delete()
        outcome = integrity("drain", "--json", "--verify", "--timeout", "60")
        assert outcome.code == CLEAN
        assert outcome.document["verified"] == 2
        receipt = integrity("receipt", "auth.User", key, "--json").document
        assert receipt["deletion"]["state"] == "verified"
        assert all(each["verified_at"] for each in receipt["cascades"])

    def test_a_proof_that_is_not_due_in_time_is_incomplete(
        self, integrity: Run, tune: Tune, ann: User
    ) -> None:
        tune(grace_seconds=600)
        ann.delete()
        outcome = integrity("drain", "--json", "--verify", "--timeout", "0.5")
        assert outcome.code == INCOMPLETE
        assert (outcome.document["pending"], outcome.document["verified"]) == (0, 0)
        assert "2 not verified yet: cascades are verified 600 s after they are done" in outcome.err


class TestOperator:
    @pytest.fixture
    def blocked(self) -> int:
        capture.record((User, [998, 999]), using="default")
        dispatch.sweep_all()
        Cascade.objects.update(state="blocked", attempts=8, reason="broken")
        return int(log_rows.deletion_of(998).pk)

    def test_retry_all(self, integrity: Run, blocked: int) -> None:
        outcome = integrity("retry", "--all", "--json")
        assert (outcome.code, outcome.document["changed"]) == (CLEAN, 4)
        assert set(Cascade.objects.values_list("state", "attempts")) == {("pending", 0)}
        assert integrity("drain", "--json").document["cascaded"] == 4

    def test_retry_one_deletion(self, integrity: Run, blocked: int) -> None:
        outcome = integrity("retry", str(blocked), "--json")
        assert (outcome.code, outcome.document["changed"]) == (CLEAN, 2)
        pending = Cascade.objects.filter(state="pending").values_list("deletions", flat=True)
        assert list(pending) == [[blocked]] * 2

    @pytest.mark.parametrize("verb", ["retry", "acknowledge"])
    def test_an_unknown_id_is_an_error_that_names_it_and_changes_nothing(
        self, integrity: Run, blocked: int, verb: str
    ) -> None:
        outcome = integrity(verb, str(blocked), "999999", "--json")
        assert (outcome.code, outcome.out) == (ERROR, "")
        assert "there is no deletion 999999 in the log; nothing was changed" in outcome.err
        assert "integrity receipt MODEL KEY" in outcome.err
        assert not Audit.objects.exists()
        assert set(Cascade.objects.values_list("state", flat=True)) == {"blocked"}

    def test_what_changes_nothing_says_so_and_is_not_audited(
        self, integrity: Run, blocked: int
    ) -> None:
        integrity("retry", "--all")
        integrity("drain")
        Audit.objects.all().delete()
        for verb in ("retry", "acknowledge"):
            for which in ("--all", str(blocked)):
                outcome = integrity(verb, which)
                assert outcome.code == CLEAN
                assert outcome.out.startswith("nothing to do: ")
        assert integrity("resume", "--database", "blog_db").out == (
            "nothing to do: blog_db was not paused\n"
        )
        again = integrity("resume", "--database", "blog_db", "--accept-restore")
        assert again.out == "nothing to do: blog_db was not paused\n"
        assert integrity("drain").out == "nothing to do\n"
        assert not Audit.objects.exists()

    @pytest.mark.parametrize("arguments", [[], ["1", "--all"]])
    def test_retry_wants_deletions_or_all(self, integrity: Run, arguments: list[str]) -> None:
        outcome = integrity("retry", *arguments)
        assert outcome.code == USAGE
        assert "--all" in outcome.err

    def test_a_paused_database_waits_with_its_reason_until_it_is_resumed(
        self, integrity: Run, ann: User
    ) -> None:
        ann.delete()
        pause = ("pause", "--database", "blog_db", "--reason", "maintenance")
        assert integrity(*pause).out == "blog_db: paused\n"
        assert integrity(*pause).out == "nothing to do: blog_db is paused already\n"
        assert {*Audit.objects.values_list("verb", flat=True)} == {"pause"}
        assert Audit.objects.count() == 1
        outcome = integrity("drain", "--json")
        assert (outcome.code, outcome.document["pending"]) == (INCOMPLETE, 1)
        assert outcome.document["rows"] == {"shop.Order.customer": 2}
        [row] = [
            each
            for each in integrity("status", "--json").document["databases"]
            if each["database"] == "blog_db"
        ]
        assert (row["state"], row["reason"]) == ("paused", "paused: maintenance")
        assert integrity("resume", "--database", "blog_db").out == "blog_db: resumed\n"
        assert integrity("drain", "--json").document["rows"] == {"blog.Post.author": 1}

    def test_what_an_operator_does_is_audited(self, integrity: Run, blocked: int) -> None:
        integrity("pause", "--database", "blog_db", "--reason", "maintenance")
        integrity("resume", "--database", "blog_db")
        integrity("retry", "--all")
        rows = Audit.objects.order_by("pk").values_list("verb", "target", "reason")
        assert list(rows) == [
            ("pause", "blog_db", "maintenance"),
            ("resume", "blog_db", ""),
            ("retry", "all", "4 deletions"),
        ]
        assert all(Audit.objects.values_list("actor", flat=True))

    @pytest.mark.parametrize("number", ["-1", "0", "1.5", "x", "9" * 19])
    def test_an_id_that_is_none_is_refused_by_name(self, integrity: Run, number: str) -> None:
        assert f"{number!r} is not the id of a deletion" in integrity("retry", number).err

    @pytest.mark.parametrize("option", ["drain --timeout", "scan --max-runtime"])
    @pytest.mark.parametrize("number", ["-1", "nan", "inf", "1e999", "soon", ""])
    def test_a_time_that_is_none_is_refused_by_name(
        self, integrity: Run, option: str, number: str
    ) -> None:
        outcome = integrity(*option.split(), number)
        assert outcome.code in {ERROR, USAGE}  # Django's own, for a call from Python
        assert f"{number!r} is not a number of seconds" in outcome.err

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_an_unknown_database_is_a_usage_error(self, integrity: Run, verb: str) -> None:
        outcome = integrity(verb, "--database", "nope")
        assert outcome.code == USAGE
        assert "known: " in outcome.err


class TestReceipt:
    def test_json(self, integrity: Run, ann: User) -> None:
        key = str(ann.pk)
        ann.delete()
        integrity("drain")
        outcome = integrity("receipt", "auth.User", key, "--json")
        assert outcome.code == INCOMPLETE
        assert outcome.document["deletion"]["state"] == "cascaded"
        assert {each["database"]: each["rows"] for each in outcome.document["cascades"]} == {
            "blog_db": {"blog.Post.author": 1},
            "shop_db": {"shop.Order.customer": 2},
        }

    def test_text(self, integrity: Run, ann: User) -> None:
        key = str(ann.pk)
        ann.delete()
        integrity("drain")
        outcome = integrity("receipt", "auth.User", key)
        assert outcome.lines[0].startswith(f"auth.User {key}: ")
        assert "  shop.Order.customer in shop_db: deleted 2 (CASCADE)" in outcome.lines

    def test_what_was_never_deleted_is_an_error(self, integrity: Run) -> None:
        outcome = integrity("receipt", "auth.User", "1")
        assert outcome.code == ERROR
        assert "no deletion of auth.User 1 is in the log" in outcome.err


def test_options_of_django_may_follow_the_verb_and_keep_their_place_before_it(
    integrity: Run,
) -> None:
    options = ["--settings", "tests.settings", "--no-color", "-v", "2"]
    assert integrity("relations", "--json", *options).code == CLEAN
    parser = Command().create_parser("manage.py", "integrity")
    before = parser.parse_args(["--settings", "x", "-v", "2", "relations"])
    assert (before.settings, before.verbosity) == ("x", 2)


@pytest.mark.parametrize("arguments", [[], ["nope"], ["preview"], ["preview", "auth.User"]])
def test_a_wrong_call_is_a_usage_error(integrity: Run, arguments: list[str]) -> None:
    outcome = integrity(*arguments)
    # call_command() turns argparse's exit (2) into a CommandError.
    assert outcome.code in {ERROR, USAGE}
    assert outcome.out == ""
    assert "error" in outcome.err.lower() or outcome.err.endswith("no verb was given")
