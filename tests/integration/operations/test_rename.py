"""`integrity rename` and its migration operation: what was open under an old name gets done."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.core.management.sql import emit_post_migrate_signal
from django.db import connections, migrations
from django.db.migrations.state import ProjectState
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity.control import actions, heartbeats, identity
from apps.integrity.log import claims, outcomes, suspects
from apps.integrity.log.renaming import Kind, Renaming
from apps.integrity.models import (
    Alarm,
    Audit,
    Cascade,
    ChildDatabase,
    Deletion,
    Heartbeat,
    Identity,
    Scan,
    Suspect,
)
from apps.integrity.operations import RenameTracked, renames
from apps.integrity.queues import dispatch
from apps.integrity.report import receipts
from apps.shop.models import Order
from tests import log_rows
from tests.integration.log.test_names import (
    COMMENT,
    OLD_ALIAS,
    OLD_CHILD,
    OLD_FIELD,
    OLD_PARENT,
    ORDER,
    POST,
    blocked,
    deleted,
    dispatched,
    lost,
    of_old_alias,
    of_old_child,
    of_old_field,
    of_old_parent,
    recorded,
    rows,
    run,
    unproven,
    waiting,
)
from tests.kinds.left.models import Quote
from tests.kinds.lite.models import Author

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Tune
    from tests.integration.log.test_names import Run

__all__ = ["run"]

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(autouse=True)
def _quick(tune: Tune) -> None:
    tune(grace_seconds=0.000_001)


def drained(run: Run) -> None:
    call_command("integrity", "retry", "--all")
    assert run("drain", "--verify", "--timeout", "30").code == 0


ALIAS = (OLD_ALIAS, "blog_db", of_old_alias)
PARENT = (OLD_PARENT, "auth.User", of_old_parent)


class TestTheWorkIsDone:
    @pytest.mark.parametrize("state", [dispatched, lost, waiting, blocked, unproven])
    @pytest.mark.parametrize("aged", [ALIAS, PARENT], ids=["alias", "parent"])
    def test_under_its_new_name(
        self, run: Run, state: Callable[[], None], aged: tuple[str, str, Callable[[], None]]
    ) -> None:
        old, new, age = aged
        state()
        age()
        assert run("status").document["unknown"]
        dry = run("rename", old, new)
        assert (dry.code, dry.document["applied"]) == (3, False)
        assert dry.document["changed"] > 0
        assert run("status").document["unknown"], "a dry run changes nothing"
        done = run("rename", old, new, "--apply")
        assert (done.code, done.document["changed"]) == (0, dry.document["changed"])
        drained(run)
        assert rows() == 0
        assert set(log_rows.states()) == {"verified"}
        heartbeats.record("beat", using="default")
        found = run("status")
        assert (found.code, found.document["unknown"]) == (0, [])

    @pytest.mark.parametrize("names", [PARENT], ids=["parent"])
    def test_what_was_only_recorded(
        self, run: Run, names: tuple[str, str, Callable[[], None]]
    ) -> None:
        old, new, age = names
        recorded()
        age()
        assert run("rename", old, new, "--model", "--apply").document["changed"] == 1
        drained(run)
        assert rows() == 0

    @pytest.mark.parametrize(
        ("old", "new", "age"),
        [("blog.Article", "blog.Post", of_old_child), (OLD_FIELD, POST, of_old_field)],
        ids=["child", "field"],
    )
    @pytest.mark.parametrize("state", [recorded, dispatched, blocked, unproven])
    def test_what_a_scan_had_confirmed(
        self,
        run: Run,
        state: Callable[[], None],
        old: str,
        new: str,
        age: Callable[[], None],
    ) -> None:
        """Along one relation: the child model, or the field, was renamed."""
        state()
        age()
        Cascade.objects.filter(database="shop_db").delete()
        Scan.objects.create(
            relation=OLD_CHILD if age is of_old_child else OLD_FIELD,
            database="blog_db",
            finished_at=timezone.now(),
            last_orphans=1,
        )
        done = run("rename", old, new, "--apply")
        assert done.document["tables"] == {"log": 1, "scans": 1}
        assert Scan.objects.get().relation == POST
        drained(run)
        assert not Post.objects.filter(author_id__in=keys()).exists()
        assert Deletion.objects.get().state == "verified"

    def test_a_suspect_of_a_renamed_relation_is_repaired(self, run: Run) -> None:
        suspected(OLD_FIELD)
        run("rename", OLD_FIELD, POST, "--apply")
        assert suspects.number_of_suspects(POST, using="default") == 1
        run("repair", "--relation", POST, "--apply")  # without a fence it gets one, and waits
        done = run("repair", "--relation", POST, "--apply").document
        assert done["rows"][POST] == 1

    def test_a_worker_that_still_has_it_finishes_it(self) -> None:
        dispatched()
        claim = claims.claim("blog_db", using="default", limit=5, lease_seconds=60)
        assert claim is not None
        of_old_alias()
        change = Renaming(kind=Kind.ALIAS, old=OLD_ALIAS, new="blog_db")
        renames.rename(change, actor="test", apply=True)
        assert outcomes.finish(claim, {each: {} for each in claim.ids}, barrier=None)

    def test_two_names_of_one_database_become_one(self, run: Run) -> None:
        dispatched()
        [here] = Cascade.objects.filter(database="blog_db")
        known = str(here.deletions[0])
        at = timezone.now()
        Cascade.objects.filter(pk=here.pk).update(
            state="verified", done_at=at, verified_at=at, ended_at=at, rows={known: {POST: 2}}
        )
        here.pk, here.database, here.rows = None, OLD_ALIAS, {known: {POST: 3, COMMENT: 4}}
        here.save(force_insert=True)
        run("rename", OLD_ALIAS, "blog_db", "--apply")
        drained(run)
        assert rows() == 0
        log_rows.check_partitions()
        states = dict(Cascade.objects.values_list("database", "state"))
        assert states == {"blog_db": "verified", "shop_db": "verified"}
        assert log_rows.in_database(Deletion.objects.get(), "blog_db").rows == {POST: 6, COMMENT: 5}

    def test_a_part_of_a_batch_that_has_both_names(self, run: Run) -> None:
        """One deletion of the two has been cascaded under the new name already."""
        first, second = deleted("ann"), deleted("bob")
        dispatch.sweep_all()
        [old] = Cascade.objects.filter(database="blog_db")
        of_old_alias()
        one = log_rows.deletion_of(first).pk
        at = timezone.now()
        Cascade.objects.create(
            batch=old.batch, database="blog_db", parent="auth.User", deletions=[one], size=1,
            state="verified", recorded_at=at, done_at=at, verified_at=at, ended_at=at,
        )  # fmt: skip
        run("rename", OLD_ALIAS, "blog_db", "--apply")
        log_rows.check_partitions()
        assert {*Cascade.objects.values_list("database", flat=True)} == {"blog_db", "shop_db"}
        drained(run)
        assert rows() == 0
        assert log_rows.deletion_of(second).state == "verified"

    def test_a_log_in_sqlite_is_renamed_by_the_same_command(self, run: Run) -> None:
        author = Author.objects.create()
        Quote.objects.create(author=author)
        author.delete()
        dispatch.sweep_all()
        cascades, deletions = (
            Cascade.objects.using("test_lite"),
            Deletion.objects.using("test_lite"),
        )
        cascades.update(database="quotes_of_old")
        deletions.update(parent="lite.Writer")
        cascades.update(parent="lite.Writer")
        names = {(each["name"], each["log"]) for each in run("status").document["unknown"]}
        assert names == {("quotes_of_old", "test_lite"), ("lite.Writer", "test_lite")}
        assert run("rename", "quotes_of_old", "test_left", "--apply").document["changed"] == 1
        assert run("rename", "lite.Writer", "lite.Author", "--apply").document["changed"] == 1
        drained(run)
        assert not Quote.objects.exists()
        assert deletions.get().state == "verified"

    def test_an_old_release_beside_a_new_one(self, run: Run) -> None:
        """It records under the old name after the rename: a finding again, and renamed again."""
        recorded()
        of_old_parent()
        run("rename", OLD_PARENT, "auth.User", "--apply")
        key = deleted("bob")
        Deletion.objects.filter(key=str(key)).update(parent=OLD_PARENT)
        assert [each["name"] for each in run("status").document["unknown"]] == [OLD_PARENT]
        assert run("rename", OLD_PARENT, "auth.User", "--apply").document["changed"] == 1
        drained(run)
        assert rows() == 0


def suspected(relation: str, *, parent: str = "auth.User", fence: Any = None) -> int:
    """A user who went without a record, and one relation's suspect for that."""
    key = deleted()
    Deletion.objects.all().delete()
    Suspect.objects.create(parent=parent, relation=relation, value=str(key), fence=fence or {})
    return key


def keys() -> list[str | None]:
    return list(Deletion.objects.values_list("key", flat=True))


class TestWhatElseHasTheName:
    def test_pauses_scans_and_alarms_go_with_an_alias_and_heartbeats_do_not(self, run: Run) -> None:
        recorded()
        ChildDatabase.objects.create(alias=OLD_ALIAS, paused_at=timezone.now(), paused_reason="x")
        Scan.objects.create(relation=POST, database=OLD_ALIAS, cursor="7", began_at=timezone.now())
        Alarm.objects.create(kind="blocked", subject=OLD_ALIAS)
        Alarm.objects.create(kind="unknown", subject=OLD_ALIAS)
        Heartbeat.objects.create(name=OLD_ALIAS)
        tables = run("rename", OLD_ALIAS, "blog_db", "--apply").document["tables"]
        assert tables == {"scans": 1, "databases": 1, "alarms": 1}
        assert actions.paused_reason("blog_db", using="default") == "paused: x"
        assert not ChildDatabase.objects.filter(alias=OLD_ALIAS).exists()
        assert Scan.objects.get(database="blog_db").cursor == "7"
        assert set(Alarm.objects.values_list("kind", "subject")) == {
            ("blocked", "blog_db"),
            ("unknown", OLD_ALIAS),
        }
        assert Heartbeat.objects.filter(name=OLD_ALIAS).exists()

    def test_receipts_are_found_by_the_new_name(self, run: Run) -> None:
        recorded()
        drained(run)
        of_old_parent()
        [key] = keys()
        run("rename", OLD_PARENT, "auth.User", "--apply")
        assert run("receipt", "auth.User", str(key)).document["deletion"]["state"] == "verified"

    def test_fences_of_suspects_are_those_of_the_new_alias(self, run: Run) -> None:
        suspected(POST, fence={"main": 7, "other": 8})
        run("rename", "main", "default", "--apply")
        assert Suspect.objects.get().fence == {"default": 7, "other": 8}

    def test_suspects_go_with_their_parent(self, run: Run) -> None:
        suspected(POST, parent=OLD_PARENT)
        assert run("rename", OLD_PARENT, "auth.User", "--apply").document["changed"] == 1
        assert Suspect.objects.get().parent == "auth.User"

    def test_a_suspect_that_is_known_by_the_new_name_is_one(self, run: Run) -> None:
        key = suspected(OLD_FIELD)
        Suspect.objects.create(parent="auth.User", relation=POST, value=str(key))
        Suspect.objects.create(parent="auth.User", relation=OLD_FIELD, value="other")
        run("rename", OLD_FIELD, POST, "--apply")
        assert {*Suspect.objects.values_list("relation", "value")} == {
            (POST, str(key)),
            (POST, "other"),
        }

    @pytest.mark.parametrize("met", [False, True])
    def test_a_child_knows_its_parents_by_their_new_alias(self, run: Run, met: bool) -> None:  # noqa: FBT001
        """Whether or not a process has introduced them under the new one before."""
        own = uuid.uuid4()
        Identity.objects.using("default").create(alias="main", uuid=own)
        Identity.objects.using("blog_db").create(alias="main", uuid=own)
        if met:
            assert not identity.register("blog_db", using="default")
        run("rename", "main", "default", "--apply")
        assert not Identity.objects.using("blog_db").filter(alias="main").exists()
        assert not identity.register("blog_db", using="default")
        assert Audit.objects.get().target == "alias main → default"
        if not met:
            assert Identity.objects.using("default").get(alias="default").uuid == own

    def test_one_that_knew_another_database_still_does(self, run: Run) -> None:
        Identity.objects.using("default").create(alias="main", uuid=uuid.uuid4())
        Identity.objects.using("blog_db").create(alias="main", uuid=uuid.uuid4())
        run("rename", "main", "default", "--apply")
        assert identity.register("blog_db", using="default")


class TestAnOperatorDoesIt:
    def test_it_is_audited_and_the_second_run_changes_nothing(self, run: Run) -> None:
        dispatched()
        of_old_alias()
        first = run("rename", OLD_ALIAS, "blog_db", "--apply")
        assert first.document["changed"] == 1
        audit = Audit.objects.get()
        assert (audit.verb, audit.target) == ("rename", "alias posts_of_old → blog_db")
        assert audit.actor.startswith("command line")
        before = list(Cascade.objects.order_by("pk").values())
        second = run("rename", OLD_ALIAS, "blog_db", "--apply")
        assert (second.code, second.document["changed"]) == (0, 0)
        assert list(Cascade.objects.order_by("pk").values()) == before
        assert Audit.objects.count() == 1

    def test_who_dies_in_between_leaves_the_rest_for_the_next_run(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from apps.integrity.log import renames as in_log

        for number in range(7):
            deleted(f"user {number}")
            dispatch.sweep_all()
        of_old_parent()
        monkeypatch.setattr(in_log, "CASCADES", 3)
        real, calls = in_log.make_due, []

        def die(cascades: Any) -> None:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            real(cascades)

        monkeypatch.setattr(in_log, "make_due", die)
        with pytest.raises(KeyboardInterrupt):
            run("rename", OLD_PARENT, "auth.User", "--apply")
        assert Cascade.objects.filter(parent=OLD_PARENT).count() == 14 - 4
        assert Deletion.objects.filter(parent=OLD_PARENT).count() == 7 - 2
        monkeypatch.setattr(in_log, "make_due", real)
        assert run("rename", OLD_PARENT, "auth.User", "--apply").document["changed"] == 5
        assert not Cascade.objects.filter(parent=OLD_PARENT).exists()
        drained(run)
        assert rows() == 0

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ([OLD_ALIAS, "nowhere"], "unknown alias 'nowhere'; known: "),
            (["shop_db", "blog_db"], "the alias 'shop_db' is still in the catalogue"),
            ([OLD_PARENT, "auth.Nobody"], "unknown model 'auth.Nobody'; "),
            (["auth.User", "auth.User"], "is both the old name and the new one"),
            ([OLD_FIELD, "blog.Post.nothing"], "unknown relation 'blog.Post.nothing'; "),
            ([OLD_FIELD], "give the new name, or --close"),
            ([OLD_FIELD, POST, "--close", "why"], "give the new name, or --close"),
            (
                ["shop_db", "--close", "why"],
                "is still in the catalogue: its work cannot be given up",
            ),
        ],
    )
    def test_names_that_make_no_sense_are_refused(self, words: list[str], told: str) -> None:
        with pytest.raises(CommandError) as raised:
            call_command("integrity", "rename", *words, "--apply")
        assert raised.value.returncode == 2
        assert told in str(raised.value)

    def test_force_moves_the_work_of_a_name_that_is_in_use(self, run: Run) -> None:
        dispatched()
        Cascade.objects.filter(database="blog_db").update(database="test_lite")
        assert run("rename", "test_lite", "blog_db", "--force", "--apply").document["changed"] == 1
        drained(run)
        assert rows() == 0

    def test_the_finding_says_what_to_type(self, run: Run) -> None:
        dispatched()
        of_old_parent()
        [told] = run("status").document["unknown"]
        assert "`manage.py integrity rename auth.Customer " in told["reason"]
        _, _, rest = told["reason"].partition("`manage.py ")
        words = rest.partition("`")[0].split()
        assert words[-1] == "--model"


class TestGivenUp:
    def test_a_database_that_is_gone_for_good(self, run: Run) -> None:
        dispatched()
        of_old_alias()
        Scan.objects.create(relation=POST, database=OLD_ALIAS, began_at=timezone.now())
        dry = run("rename", OLD_ALIAS, "--close", "it was shut down")
        assert (dry.code, dry.document["changed"]) == (3, 2)
        assert run("rename", OLD_ALIAS, "--close", "it was shut down", "--apply").code == 0
        assert Audit.objects.get().reason == "it was shut down"
        drained(run)
        [receipt] = receipts.receipts_of("auth.User", keys()[0] or "")
        assert {each["database"]: each["state"] for each in receipt["cascades"]} == {
            OLD_ALIAS: "cancelled",
            "shop_db": "verified",
        }
        heartbeats.record("beat", using="default")
        assert run("status").code == 0

    def test_of_which_nothing_is_left_is_not_verified(self, run: Run) -> None:
        dispatched()
        of_old_alias()
        Cascade.objects.filter(database="shop_db").delete()
        run("rename", OLD_ALIAS, "--close", "it was shut down", "--apply")
        assert Deletion.objects.get().state == "cancelled"

    def test_a_model_that_is_gone_for_good(self, run: Run) -> None:
        dispatched()
        of_old_parent()
        run("rename", OLD_PARENT, "--close", "the app was removed", "--apply")
        assert Deletion.objects.get().state == "cancelled"
        assert not Cascade.objects.exclude(state="cancelled").exists()
        heartbeats.record("beat", using="default")
        assert run("status").code == 0


class TestMigration:
    def migrate(self, operation: RenameTracked, *, back: bool = False) -> None:
        state = ProjectState()
        for alias in ("default", "blog_db"):  # as `migrate --database` does
            with connections[alias].schema_editor(atomic=True) as editor:
                act = operation.database_backwards if back else operation.database_forwards
                act("auth", editor, state, state)

    def test_a_model_there_and_back(self, run: Run) -> None:
        dispatched()
        of_old_parent()
        operation = RenameTracked(OLD_PARENT, "auth.User")
        self.migrate(operation)
        assert Deletion.objects.get().parent == "auth.User"
        assert Audit.objects.get().actor == "migration of auth"
        self.migrate(operation, back=True)
        assert Deletion.objects.get().parent == OLD_PARENT
        self.migrate(operation)
        drained(run)
        assert rows() == 0

    def test_a_field(self, run: Run) -> None:
        recorded()
        of_old_field()
        self.migrate(RenameTracked(OLD_FIELD, POST))
        assert Deletion.objects.get().relation == POST

    def test_a_database_without_the_log_is_left_alone(self) -> None:
        assert not renames.has_log("blog_db")
        assert renames.has_log("default")

    def test_it_is_written_into_migrations_and_says_what_it_does(self) -> None:
        operation = RenameTracked("shop.Customer", "shop.Client")
        assert operation.deconstruct() == ("RenameTracked", ("shop.Customer", "shop.Client"), {})
        assert operation.describe() == ("Rename shop.Customer to shop.Client in the deletion log")
        assert operation.reversible

    @pytest.mark.parametrize("names", [("default", "main"), ("shop.Customer", "shop.Order.by")])
    def test_names_of_two_kinds_are_refused(self, names: tuple[str, str]) -> None:
        with pytest.raises(ValueError, match="give two labels of models"):
            RenameTracked(*names)


class TestNoticed:
    """A migration that renamed something, and nobody thought of the log."""

    def notice(self, caplog: pytest.LogCaptureFixture, *plan: Any) -> str:
        caplog.clear()
        emit_post_migrate_signal(0, interactive=False, db="default", plan=list(plan))
        return "\n".join(each.getMessage() for each in caplog.records)

    def test_it_is_told_after_the_migration(self, caplog: pytest.LogCaptureFixture) -> None:
        recorded()
        of_old_parent()
        renamed = (_migration("auth", migrations.RenameModel("Customer", "User")), False)
        assert "`manage.py integrity rename auth.Customer " in self.notice(caplog, renamed)
        assert self.notice(caplog) == "", "nothing was migrated"

    def test_and_not_where_the_migration_thought_of_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        recorded()
        assert self.notice(caplog, (_migration("auth"), False)) == ""


class TestGuess:
    def test_by_the_migrations_of_the_project(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from apps.integrity.report import guesses

        class Loader:
            disk_migrations = {
                ("auth", "0013"): _migration(
                    "auth",
                    migrations.RenameModel("Customer", "Client"),
                    migrations.RenameModel("Client", "User"),
                ),
                ("blog", "0002"): _migration(
                    "blog",
                    migrations.RenameField("article", "writer", "author"),
                    migrations.RenameModel("Article", "Post"),
                ),
            }

            def __init__(self, _: None) -> None:
                pass

        monkeypatch.setattr(guesses, "MigrationLoader", Loader)
        guesses._renames.cache_clear()
        try:
            assert guesses.guess("model", "auth.Customer", "default") == "auth.User"
            assert guesses.guess("model", "blog.Article", "default") == "blog.Post"
            assert guesses.guess("relation", "blog.Article.writer", "default") == POST
        finally:
            guesses._renames.cache_clear()

    def test_by_the_table_by_likeness_or_not_at_all(self) -> None:
        from apps.integrity.report import guesses

        assert guesses.guess("model", "blog.post", "default") == "blog.Post"
        assert guesses.guess("relation", "shop.Order.customers", "default") == ORDER
        assert guesses.guess("alias", "zzz", "default") == ""


def _migration(app_label: str, *operations: Any) -> migrations.Migration:
    """Return a migration as a plan holds it: Django 6.1 asks it for its app, too."""
    migration = migrations.Migration("0013", app_label)
    migration.operations = list(operations)
    return migration


def test_labels() -> None:
    model = Renaming(kind=Kind.MODEL, old="blog.Post", new="blog.Article")
    assert model.relation("blog.Post.author") == "blog.Article.author"
    assert model.relation("blog.PostScript.author") == "blog.PostScript.author"
    assert model.relation("notes.Note.of@blog.Post") == "notes.Note.of@blog.Article"
    assert model.relation("") == ""
    assert model.pair("blog.Post", "shop.Order.post") == ("blog.Article", "shop.Order.post")
    alias = Renaming(kind=Kind.ALIAS, old="a", new="b")
    assert (alias.relation("x.Y.a"), alias.model("a"), alias.alias("a")) == ("x.Y.a", "a", "b")


def test_orders_are_not_forgotten(run: Run) -> None:
    """The moment of a rename in the middle of the work: some is done, some is not."""
    for number in range(5):
        deleted(f"user {number}")
    dispatch.sweep_all()
    claim = claims.claim("blog_db", using="default", limit=2, lease_seconds=0.01)
    assert claim is not None
    of_old_alias()
    Cascade.objects.filter(state="running").update(due_at=timezone.now() - dt.timedelta(seconds=1))
    run("rename", OLD_ALIAS, "blog_db", "--apply")
    drained(run)
    assert rows() == 0
    assert not Order.objects.filter(customer_id__in=keys()).exists()
    assert User.objects.count() == 1
