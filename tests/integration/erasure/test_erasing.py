"""Erasure steps: what belongs to rows that a cascade removes is found, erased and proven gone."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models.signals import pre_delete
from django.test import Client, override_settings
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity import cascade, failpoints, testing
from apps.integrity.capture import installation
from apps.integrity.cascade import erasing, verification
from apps.integrity.cascade.drained import Drained
from apps.integrity.cascade.proving import UNTOLD
from apps.integrity.checks.doctor import examine
from apps.integrity.control import actions, identity
from apps.integrity.erasure import Found
from apps.integrity.exceptions import DatabaseUnreachable, InvalidSetting
from apps.integrity.failpoints import Failpoint
from apps.integrity.log import claims
from apps.integrity.log import findings as log_findings
from apps.integrity.log.retry import retry_blocked
from apps.integrity.models import Cascade, ChildDatabase, Deletion, Finding, Tally
from apps.integrity.queues import dispatch
from apps.integrity.relations import discover
from apps.integrity.report import receipt_text, receipts
from apps.integrity.report.metrics import exposition
from apps.integrity.report.overview import collect_overview
from apps.integrity.report.status import collect_status
from apps.integrity.scan.replay import children
from apps.shop.models import Order
from tests.conftest import Captured
from tests.erasure_steps import Files
from tests.kinds.parents.models import Owner
from tests.log_rows import cascade_states, in_database

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

PLACE = "step:files"
FILES = "tests.erasure_steps.Files"


@pytest.fixture
def directory(tmp_path: Path, committed: None, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the files; the step is in the settings."""
    monkeypatch.setattr(Files, "erased", [])
    monkeypatch.setattr(Files, "probed", [])
    tune(steps={"files": (FILES, {"directory": str(tmp_path)})}, grace_seconds=0.01)
    return tmp_path


def with_files(directory: Path, name: str, *, posts: int = 2) -> User:
    """Create a user whose posts, comments of others below them, and order have files."""
    user, other = User.objects.create(username=name), User.objects.create(username=f"{name}-2")
    for number in range(posts):
        title = f"{name}-post-{number}"
        post = Post.objects.create(title=title, content="", author=user)
        Comment.objects.create(post=post, author=other, content=f"{title}-comment")
    Order.objects.create(order_number=f"{name}-order", customer=user, total=1)
    for names in (
        Post.objects.filter(author=user).values_list("title", flat=True),
        Comment.objects.filter(author=other).values_list("content", flat=True),
        Order.objects.filter(customer=user).values_list("order_number", flat=True),
    ):
        for each in names:
            (directory / each).write_text("text")
    return user


def work(*databases: str) -> None:
    """Dispatch, and work on those places once."""
    dispatch.sweep_all()
    for database in databases or ("blog_db", "shop_db", PLACE):
        cascade.drain(database)


def make_due() -> None:
    Cascade.objects.exclude(due_at=None).update(due_at="2020-01-01T00:00Z")


def until_verified() -> None:
    for _ in range(6):
        make_due()
        work()
        make_due()
        for database in ("blog_db", "shop_db", PLACE):
            verification.verify(database)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def findings() -> int:
    return sum(Finding.objects.using(alias).count() for alias in ("blog_db", "shop_db"))


def test_files_go_with_their_rows_in_every_database_and_below_and_no_others(
    directory: Path,
) -> None:
    gone, kept = with_files(directory, "gone"), with_files(directory, "kept")
    everything = names(directory)
    pk = gone.pk
    gone.delete()
    until_verified()
    assert names(directory) == {name for name in everything if name.startswith("kept")}
    assert cascade_states(database=PLACE) == ["verified"]
    assert in_database(pk, PLACE).rows == {PLACE: 5}
    assert findings() == 0
    assert Post.objects.filter(author=kept).count() == 2


def test_a_rolled_back_step_leaves_rows_and_finds_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = with_files(directory, "gone")
    everything = names(directory)
    user.delete()

    def die(point: Failpoint) -> None:
        if point is Failpoint.REMOVED:
            raise RuntimeError("killed before the commit")

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "hit", die)
        work("blog_db")
    assert Post.objects.count() == 2
    assert findings() == 0
    work(PLACE)
    assert names(directory) == everything
    until_verified()
    assert names(directory) == set()
    assert in_database(user_pk(), PLACE).rows == {PLACE: 5}


def user_pk() -> str:
    return str(Deletion.objects.get().key)


def test_what_is_found_is_erased_once_for_a_duplicate_message(directory: Path) -> None:
    with_files(directory, "gone").delete()
    work("blog_db", "shop_db", PLACE, PLACE, "blog_db", PLACE)
    make_due()
    work(PLACE, PLACE)
    assert sorted(name for call in Files.erased for name in call) == sorted(
        ["gone-order", "gone-post-0", "gone-post-1", "gone-post-0-comment", "gone-post-1-comment"]
    )


def test_erased_and_not_noted_is_erased_again_and_counted_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_files(directory, "gone").delete()
    work("blog_db", "shop_db")

    def die(point: Failpoint) -> None:
        if point is Failpoint.REMOVED:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "hit", die)
        with pytest.raises(KeyboardInterrupt):
            work(PLACE)
    assert Finding.objects.using("blog_db").filter(erased_at=None).count() == 2
    until_verified()
    assert names(directory) == set()
    assert in_database(user_pk(), PLACE).rows == {PLACE: 5}
    assert cascade_states() == ["verified"] * 3


def test_it_is_not_done_before_the_rows_are_gone_and_verified(directory: Path) -> None:
    with_files(directory, "gone").delete()
    work("shop_db", PLACE)
    assert names(directory) >= {"gone-post-0"}
    assert "gone-order" not in names(directory)
    outcome = in_database(user_pk(), PLACE)
    assert (outcome.state, outcome.attempts) == ("pending", 0)
    assert outcome.reason == (
        "waits until rows are gone and verified in blog_db (pending), shop_db (done)"
    )
    (row,) = (row for row in collect_status()["databases"] if row["database"] == PLACE)
    assert (row["state"], row["failing"], row["backlog"]) == ("working", 0, 1)
    make_due()
    work("blog_db", PLACE)
    assert names(directory) == set()
    assert in_database(user_pk(), PLACE).state == "pending"
    until_verified()
    assert cascade_states() == ["verified"] * 3


def test_a_failed_erasure_is_tried_again_blocked_and_retried(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ConnectionError("the storage is down")

    with_files(directory, "gone").delete()
    work("blog_db", "shop_db")
    with monkeypatch.context() as patch:
        patch.setattr(Files, "before_erase", staticmethod(refuse))
        work(PLACE)
        outcome = in_database(user_pk(), PLACE)
        assert (outcome.state, outcome.attempts) == ("waiting", 1)
        assert "ConnectionError" in outcome.reason
        for _ in range(10):
            make_due()
            work(PLACE)
        assert in_database(user_pk(), PLACE).state == "blocked"
    assert len(names(directory)) == 5
    assert retry_blocked(None, using="default") == 1
    until_verified()
    assert names(directory) == set()
    assert cascade_states() == ["verified"] * 3


def test_one_that_fails_holds_up_no_other_for_long(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(items: list[str]) -> None:
        if any(name.startswith("poison") for name in items):
            raise PermissionError(items)

    users = [with_files(directory, name) for name in ("a", "poison", "b", "c")]
    monkeypatch.setattr(Files, "before_erase", staticmethod(refuse))
    for user in users:
        user.delete()
    for _ in range(12):
        make_due()
        work()
        make_due()
        for database in ("blog_db", "shop_db", PLACE):
            verification.verify(database)
    assert {name.partition("-")[0] for name in names(directory)} == {"poison"}
    assert cascade_states(database=PLACE) == ["blocked", "verified", "verified", "verified"]


@pytest.mark.parametrize("answer", [Found.UNKNOWN, OSError("no answer"), None])
def test_unknown_is_never_verified(
    directory: Path, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    def untold(_: object) -> Found:
        if isinstance(answer, Exception):
            raise answer
        return cast("Found", answer)

    with_files(directory, "gone").delete()
    with monkeypatch.context() as patch:
        patch.setattr(Files, "answer", staticmethod(untold))
        until_verified()
        assert cascade_states(database=PLACE) == ["done"]
        assert cascade_states(database="blog_db") == ["verified"]
        held = ChildDatabase.objects.get(alias=PLACE).held_reason
        assert held == ("its probe fails: OSError" if isinstance(answer, OSError) else UNTOLD)
        assert findings() == 3
    until_verified()
    assert cascade_states(database=PLACE) == ["verified"]
    assert ChildDatabase.objects.get(alias=PLACE).held_reason == ""
    assert findings() == 0


def test_what_is_there_again_goes_back_to_work(directory: Path) -> None:
    gone, other = with_files(directory, "gone"), with_files(directory, "other")
    pk, other_pk = gone.pk, other.pk
    gone.delete()
    other.delete()
    work()
    for _ in range(2):
        make_due()
        for database in ("blog_db", "shop_db"):
            verification.verify(database)
        make_due()
        work(PLACE)
    assert cascade_states(database=PLACE) == ["done", "done"]
    (directory / "gone-post-1").write_text("back")
    make_due()
    verification.verify(PLACE)
    assert in_database(other_pk, PLACE).state == "verified"
    assert in_database(pk, PLACE).state == "pending"
    until_verified()
    assert names(directory) == set()
    assert in_database(pk, PLACE).state == "verified"
    assert in_database(pk, PLACE).rows == {PLACE: 5}


def test_a_paused_child_database_is_not_taken_for_an_empty_one(directory: Path) -> None:
    with_files(directory, "gone").delete()
    work("blog_db", "shop_db")
    for _ in range(2):
        make_due()
        for database in ("blog_db", "shop_db"):
            verification.verify(database)
    actions.pause("blog_db", actor="test", reason="moving it", using="default")
    work(PLACE)
    outcome = in_database(user_pk(), PLACE)
    assert (outcome.state, outcome.attempts) == ("waiting", 0)
    assert outcome.reason == "waits for blog_db, which is paused: moving it"
    assert "gone-order" not in names(directory)
    actions.resume("blog_db", actor="test", reason="", using="default")
    until_verified()
    assert names(directory) == set()


def test_an_unreachable_child_database_is_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reach(database: str, **_: object) -> None:
        if database == "blog_db":
            raise DatabaseUnreachable(database, "connection refused")

    with_files(directory, "gone").delete()
    work("blog_db", "shop_db")
    for _ in range(2):
        make_due()
        for database in ("blog_db", "shop_db"):
            verification.verify(database)
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "reach", reach)
        work(PLACE)
        assert in_database(user_pk(), PLACE).state == "waiting"
        assert in_database(user_pk(), PLACE).reason.startswith("waits for blog_db, which ")
    make_due()
    work(PLACE)
    assert in_database(user_pk(), PLACE).state == "done"
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "reach", reach)
        make_due()
        assert verification.verify(PLACE).verified == 0
    until_verified()
    assert in_database(user_pk(), PLACE).state == "verified"


def test_a_paused_step_touches_nothing(directory: Path) -> None:
    with_files(directory, "gone").delete()
    actions.pause(PLACE, actor="test", reason="the storage moves", using="default")
    until_verified()
    assert len(names(directory)) == 5
    assert cascade_states(database="blog_db") == ["verified"]
    actions.resume(PLACE, actor="test", reason="", using="default")
    until_verified()
    assert names(directory) == set()


def test_a_claim_that_was_taken_over_ends_once(directory: Path) -> None:
    with_files(directory, "gone").delete()
    work("blog_db", "shop_db")
    for _ in range(2):
        make_due()
        for database in ("blog_db", "shop_db"):
            verification.verify(database)
    dispatch.sweep_all()
    log = identity.of_log("default")
    first = claims.claim(PLACE, using="default", limit=10, lease_seconds=60, log=log)
    assert first is not None
    make_due()  # its lease is over
    work(PLACE)
    done = Drained(database=PLACE)
    erasing._Erasing(first, time.monotonic() + 5, (), done).run()
    assert done.finished == 0
    assert in_database(user_pk(), PLACE).rows == {PLACE: 5}
    assert len(Files.erased) == 2


def test_a_row_whose_parent_came_back_keeps_its_file(directory: Path) -> None:
    user = with_files(directory, "back")
    everything, pk = names(directory), user.pk
    user.delete()
    User(pk=pk, username="back").save(force_insert=True)
    until_verified()
    assert names(directory) == everything
    assert Post.objects.count() == 2
    assert findings() == 0


@pytest.mark.postgresql
def test_a_row_that_a_trigger_keeps_keeps_its_file(directory: Path) -> None:
    with_files(directory, "gone").delete()
    with connections["blog_db"].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF OLD.title = 'gone-post-1' THEN RETURN NULL; END IF; RETURN OLD; END $$;"
            " CREATE TRIGGER keep BEFORE DELETE ON blog_post"
            " FOR EACH ROW EXECUTE FUNCTION keep()"
        )
    try:
        until_verified()
        assert "gone-post-1" in names(directory)
        assert Post.objects.filter(title="gone-post-1").exists()
        assert "keeps rows of blog.Post.author" in in_database(user_pk(), "blog_db").reason
    finally:
        with connections["blog_db"].cursor() as cursor:
            cursor.execute("DROP TRIGGER keep ON blog_post; DROP FUNCTION keep()")
    retry_blocked(None, using="default")
    until_verified()
    assert names(directory) == set()


def test_where_django_loads_the_rows_their_files_go_too(directory: Path, converge: object) -> None:
    def receive(**_: object) -> None:
        pass

    gone, _ = with_files(directory, "gone"), with_files(directory, "kept")
    pre_delete.connect(receive, sender=Post)  # it would delete comments without loading them
    try:
        gone.delete()
        until_verified()
    finally:
        pre_delete.disconnect(receive, sender=Post)
    assert {name.partition("-")[0] for name in names(directory)} == {"kept"}
    assert in_database(user_pk(), PLACE).rows == {PLACE: 5}


def test_many_rows_go_in_bounded_batches(directory: Path, tune: Tune) -> None:
    tune(
        steps={"files": (FILES, {"directory": str(directory)})},
        grace_seconds=0.01,
        statement_rows=20,
        statement_rows_max=40,
    )
    with_files(directory, "gone", posts=300).delete()
    until_verified()
    assert names(directory) == set()
    assert in_database(user_pk(), PLACE).rows == {PLACE: 601}
    assert max(map(len, Files.erased)) <= max(erasing.ITEMS, log_findings.ITEMS)


def test_a_failing_collect_keeps_the_rows(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise LookupError("which bucket?")

    with_files(directory, "gone").delete()
    with monkeypatch.context() as patch:
        patch.setattr(Files, "before_collect", staticmethod(refuse))
        work("blog_db")
        assert Post.objects.count() == 2
        assert "LookupError" in in_database(user_pk(), "blog_db").reason
    until_verified()
    assert names(directory) == set()


def test_a_retry_of_kept_rows_lets_the_step_go_on(directory: Path) -> None:
    user = with_files(directory, "back")
    pk = user.pk
    user.delete()
    back = User(pk=pk, username="back")
    back.save(force_insert=True)
    until_verified()
    assert cascade_states(database=PLACE) == ["verified"]
    User.objects.filter(pk=pk)._raw_delete("default")
    deletion = Deletion.objects.order_by("pk")[0]
    actions.retry([deletion.pk], actor="test", using="default", kept=True)
    until_verified()
    assert names(directory) == set()


def test_a_batch_that_was_made_before_the_step_was_known_gets_it(
    directory: Path, tune: Tune
) -> None:
    tune(grace_seconds=0.01)
    with_files(directory, "gone").delete()
    dispatch.sweep_all()
    assert not Cascade.objects.filter(database=PLACE).exists()
    tune(steps={"files": (FILES, {"directory": str(directory)})}, grace_seconds=0.01)
    until_verified()
    assert names(directory) == set()
    assert cascade_states(database=PLACE) == ["verified"]


def test_drains_of_tests_and_of_the_command_erase_too(directory: Path) -> None:
    with_files(directory, "gone").delete()
    testing.drain()
    assert names(directory) == set()
    with_files(directory, "more").delete()
    document = run_json("drain", "--verify", "--timeout", "30")
    assert names(directory) == set()
    assert document["pending"] == 0
    assert cascade_states(database=PLACE) == ["verified", "verified"]


def test_without_steps_nothing_is_asked_or_written(tune: Tune, tmp_path: Path) -> None:
    with_files(tmp_path, "gone").delete()
    with Captured() as captured:
        work("blog_db", "shop_db")
    assert not [
        sql for alias in ("blog_db", "shop_db") for sql in captured[alias] if "finding" in sql
    ]
    assert {row.database for row in Cascade.objects.all()} == {"blog_db", "shop_db"}


def test_a_relation_without_covered_rows_has_no_step(directory: Path) -> None:
    tune_parent = Owner.objects.create()
    tune_parent.delete()
    dispatch.sweep_all()
    assert not Cascade.objects.filter(database=PLACE).exists()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["files"], "it takes a dictionary"),
        ({"a b": FILES}, "the name of a queue"),
        ({"blog_db": FILES}, "has the name of a database"),
        ({"files": 3}, "the dotted path of a class"),
        ({"files": "tests.erasure_steps.Nothing"}, "cannot be imported"),
        ({"files": "tests.erasure_steps.NoStep"}, "is no subclass"),
        ({"files": "tests.erasure_steps.Refusing"}, "refuses its options: ValueError"),
        ({"files": (FILES, {"bucket": 1})}, "refuses its options: TypeError"),
    ],
)
def test_a_step_that_cannot_be_used_is_refused(given: object, text: str) -> None:
    with override_settings(INTEGRITY={"steps": given}), pytest.raises(InvalidSetting, match=text):
        installation.require(discover())


def run_json(*arguments: str) -> Any:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(CommandError, SystemExit):
        call_command("integrity", *arguments, "--json")
    return json.loads(out.getvalue().splitlines()[-1])


class TestShown:
    """A step is shown wherever a database is."""

    @pytest.fixture(autouse=True)
    def _blocked(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: object) -> None:
            raise ConnectionError("the storage is down")

        monkeypatch.setattr(Files, "before_erase", staticmethod(refuse))
        with_files(directory, "gone").delete()
        with_files(directory, "living")
        work("blog_db", "shop_db", PLACE)

    def test_in_status(self) -> None:
        row = next(row for row in collect_status()["databases"] if row["database"] == PLACE)
        assert row["backlog"] == 1
        assert "ConnectionError" in row["reason"]
        assert not row["unreachable"]

    def test_in_the_overview_and_the_metrics(self) -> None:
        card = next(card for card in collect_overview().cards if card["database"] == PLACE)
        assert card["backlog"] == 1
        assert f'database="{PLACE}"' in exposition().decode()

    def test_in_doctor(self) -> None:
        found = {check.name: check for check in examine(None)}
        assert found[f"step {PLACE}"].ok
        assert "blog.Post.author" in found[f"step {PLACE}"].detail
        assert not [name for name in found if name in {f"database {PLACE}", f"tables {PLACE}"}]

    def test_in_the_preview(self) -> None:
        user = User.objects.get(username="living")
        document = run_json("preview", "auth.User", str(user.pk))
        assert document["steps"] == {PLACE: 5}
        assert document["total"] == 5

    def test_in_the_receipt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Files, "before_erase", None)
        until_verified()
        document = run_json("receipt", "auth.User", user_pk())
        (receipt,) = document.get("receipts", [document])
        (line,) = [line for line in receipt["scope"] if line["database"] == PLACE]
        assert (line["outcome"], line["rows"]) == ("erased", 5)
        assert [one["rows_exact"] for one in receipt["cascades"]] == [True] * 3
        assert receipt["statement"][0].endswith(
            " in blog_db and shop_db referred to it,"
            " and nothing was left of what step:files had found."
        )
        assert receipt_text.along(line) == "step:files: erased 5"

    def test_in_the_receipt_of_what_is_not_done(self) -> None:
        (receipt,) = receipts.receipts_of("auth.User", user_pk())
        (line,) = [line for line in receipt["scope"] if line["database"] == PLACE]
        assert "step:files" not in receipt_text.conclusion(receipt)
        assert receipt_text.along(line).startswith("step:files: open")

    def test_on_the_pages(self) -> None:
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        pk = Deletion.objects.get().pk
        found = {}
        for name, args in (("changelist", ()), ("deletions", ()), ("deletion", ("default", pk))):
            answer = client.get(reverse(f"admin:integrity_dashboard_{name}", args=args))
            assert answer.status_code == HTTPStatus.OK
            found[name] = answer.content.decode()
        assert PLACE in found["changelist"]
        assert PLACE in found["deletion"]
        chosen = reverse("admin:integrity_dashboard_deletions") + f"?database={PLACE}"
        assert f">{pk}<" in client.get(chosen).content.decode().replace(" ", "")
        pause = reverse("admin:integrity_dashboard_pause")
        assert client.post(pause, {"database": PLACE, "reason": "a move"}).status_code in {200, 302}
        assert ChildDatabase.objects.get(alias=PLACE).paused_reason == "a move"

    def test_pause_resume_and_drain_take_it(self) -> None:
        assert run_json("pause", "--database", PLACE, "--reason", "a move")["changed"] > 0
        assert ChildDatabase.objects.get(alias=PLACE).paused_reason == "a move"
        assert run_json("resume", "--database", PLACE)["changed"] > 0
        assert "pending" in run_json("drain", "--database", PLACE, "--timeout", "1")

    def test_a_step_that_was_removed_waits_and_is_named(self, tune: Tune) -> None:
        tune(grace_seconds=0.01)
        make_due()
        row = next(row for row in collect_status()["databases"] if row["database"] == PLACE)
        assert row["state"] == "unknown"
        assert row["backlog"] == 1
        failed = {check.name: check.detail for check in examine(None) if not check.ok}
        assert any(PLACE in f"{name} {detail}" for name, detail in failed.items()), failed


def test_a_setting_with_an_unusable_step_leaves_what_is_installed(tune: Tune) -> None:
    tune(steps={"files": "nowhere.Files"})
    user = User.objects.create(username="ann")
    Post.objects.create(title="t", content="c", author=user)
    user.delete()
    assert Deletion.objects.get().key == str(Post.objects.get().author_id)


def test_what_a_restore_brought_back_is_collected_and_erased_again(directory: Path) -> None:
    user, living = with_files(directory, "gone"), with_files(directory, "living")
    tables = [Tally, Post, Comment]
    backup = {model: [*model._base_manager.using("blog_db").all()] for model in tables}
    files = names(directory)
    user.delete()
    until_verified()
    assert cascade_states(database=PLACE) == ["verified"]
    for model in reversed(tables):
        model._base_manager.using("blog_db").all()._raw_delete("blog_db")
    for model, rows in backup.items():
        model._base_manager.using("blog_db").bulk_create(rows)
    for name in files - {"gone-order"}:  # it was named by a row of another database
        (directory / name).write_text("text")
    children.replay("blog_db", using="default", since=None, actor="me")
    assert cascade_states(database=PLACE) == ["pending"]
    until_verified()
    assert cascade_states() == ["verified"] * 3
    assert names(directory) == {name for name in files if name.startswith("living")}
    assert {*Post.objects.values_list("author", flat=True)} == {living.pk}


@pytest.mark.parametrize("is_erased", [False, True])
def test_what_was_found_before_the_backup_and_erased_after_it_is_erased_again(
    directory: Path, *, is_erased: bool
) -> None:
    gone, between = with_files(directory, "gone"), with_files(directory, "between")
    living, late = with_files(directory, "living"), with_files(directory, "late")
    files = names(directory)
    for user in (gone, between):  # so the first one finished before all that is put back
        user.delete()
        work("blog_db", "shop_db")
        if is_erased:
            work(PLACE)
    tables = [Tally, Finding, Post, Comment]
    backup = {model: [*model._base_manager.using("blog_db").all()] for model in tables}
    assert backup[Finding]
    until_verified()
    late.delete()
    until_verified()
    assert cascade_states() == ["verified"] * 9
    for model in reversed(tables):
        model._base_manager.using("blog_db").all()._raw_delete("blog_db")
    for model, rows in backup.items():
        model._base_manager.using("blog_db").bulk_create(rows)
    for name in files - {"gone-order", "between-order", "late-order"}:
        (directory / name).write_text("text")
    children.replay("blog_db", using="default", since=None, actor="me")
    until_verified()
    assert {*cascade_states()} == {"verified"}
    assert names(directory) == {name for name in files if name.startswith("living")}
    assert {*Post.objects.values_list("author", flat=True)} == {living.pk}
    assert findings() == 0


@pytest.mark.parametrize("erased_at", [None, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)])
def test_what_is_found_while_a_step_is_verified_is_not_removed_with_what_is_proven(
    directory: Path, monkeypatch: pytest.MonkeyPatch, erased_at: dt.datetime | None
) -> None:
    user = with_files(directory, "gone")
    user.delete()
    for _ in range(3):
        make_due()
        work()
        make_due()
        for database in ("blog_db", "shop_db"):
            verification.verify(database)
    assert cascade_states(database=PLACE) == ["done"]
    proven = Finding.objects.using("blog_db").first()
    assert proven is not None
    probe = Files.probe

    def meanwhile(step: Files, items: Any) -> Found:
        found = probe(step, items)
        late = {name: getattr(proven, name) for name in ("log", "batch", "deletion", "step")}
        Finding.objects.using("blog_db").create(**late, items=["late"], size=1, erased_at=erased_at)
        monkeypatch.setattr(Files, "probe", probe)
        return found

    monkeypatch.setattr(Files, "probe", meanwhile)
    make_due()
    verification.verify(PLACE)
    assert [row.items for row in Finding.objects.using("blog_db").all()] == [["late"]]
