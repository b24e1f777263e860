"""Two database roles with exactly what `integrity grants` prints: all the work is done, no more."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connections, models
from django.db.models import ProtectedError, RestrictedError
from django.test.utils import isolate_apps
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege

from apps.blog.models import Comment, Post
from apps.integrity import cascade, failpoints, relations
from apps.integrity.cascade import verification
from apps.integrity.control import circuit_breaker, heartbeats
from apps.integrity.control.grants import Kind, grants
from apps.integrity.control.grants.log import PAGES as PAGES_LOG
from apps.integrity.control.grants.log import WORKER as WORKER_LOG
from apps.integrity.control.grants.privileges import Need, Privilege, statements
from apps.integrity.control.grants.rows import lock
from apps.integrity.exceptions import InvalidRole
from apps.integrity.log import deletions
from apps.integrity.models import Audit, Cascade, ChildDatabase, Deletion, Heartbeat, Suspect
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from sandbox import project
from tests import log_rows, roles, snippets, superuser
from tests.kinds.left import models as left
from tests.kinds.lite.models import Note
from tests.kinds.parents import models as parents
from tests.kinds.right.models import BookNote, Locker, Restricting
from tests.kinds.spread.models import Entry
from tests.roles import granted, on_postgresql, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import Model
    from pytest_django import DjangoDbBlocker

    from tests.conftest import Tune
    from tests.roles import LogIn

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.postgresql]

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "how-to" / "least-privilege.md"

REFUSED = "42501"  # insufficient_privilege
USAGE, FINDINGS = 2, 3
#: What records a deletion.
CAPTURED = (
    'INSERT ("actor", "because", "deadline", "key", "parent", "reference", "source", "targets")'
    ' ON "integrity_deletion"'
)
#: What confirms a suspect.
CONFIRMED = 'INSERT ("key", "parent", "relation", "source", "targets")'


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    call_command("integrity", "grants", *arguments)
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def log_in(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[LogIn]:
    """Log in for a block: real roles, granted what the command prints."""
    with django_db_blocker.unblock(), roles.made() as logged_in:
        yield logged_in


def work() -> None:
    """What the workers do until nothing is left to do."""
    for _ in range(50):
        _, due = dispatch.sweep_all()
        logs = circuit_breaker.answering_logs()
        unverified = {alias for using in logs for alias in log_rows.unverified(using=using)}
        for alias in sorted(due):
            cascade.drain(alias)
        for alias in sorted(unverified):
            verification.verify(alias)
        for using in logs:
            heartbeats.record("worker", using=using)
        if not Cascade.objects.exclude(state="verified").exists() and not due | unverified:
            return
    raise AssertionError(list(Cascade.objects.values_list("database", "state", "reason")))


@pytest.fixture
def scene(tune: Tune) -> list[Model]:
    """Parents of every kind, to be deleted; each with rows of its own elsewhere."""
    tune(grace_seconds=0.001)
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    for user in (ann, bob):
        post = Post.objects.create(title="t", content="c", author=user)
        Comment.objects.create(post=post, author=bob, content="c")
        Order.objects.create(order_number=user.username, customer=user, total=1)
    parents.Giver.objects.bulk_create(
        parents.Giver(pk=pk) for pk in (left.DEFAULT, left.VALUE, left.CALLED, left.CUSTOM)
    )
    parents.Giver.objects.create(pk=left.INSTANCE)
    giver = parents.Giver.objects.create()
    for model in (left.Nulled, left.Defaulted, left.Valued, left.Called, left.Instanced):
        model.objects.create(giver=giver)
    left.Customised.objects.create(giver=giver)
    return [ann, giver, *_trees(), *_keys()]


def _trees() -> Iterator[Model]:
    root = parents.Root.objects.create()
    shelf = left.Shelf.objects.create(root=root)
    left.Item.objects.create(box=left.Box.objects.create(shelf=shelf))
    left.Label.objects.create(shelf=shelf)
    forest = parents.Forest.objects.create()
    left.Node.objects.create(forest=forest, above=left.Node.objects.create(forest=forest))
    album = parents.Album.objects.create()
    picture = left.Picture.objects.create(album=album)
    kind = ContentType.objects.db_manager("test_left").get_for_model(left.Picture)
    left.Tag.objects.create(content_type=kind, object_id=picture.pk)
    series = parents.Series.objects.create()
    left.NumberedPart.objects.create(numbered=left.Numbered.objects.create(series=series, number=7))
    lineage = parents.Lineage.objects.create()
    left.Derived.objects.create(lineage=lineage)
    library = parents.Library.objects.create()
    book = left.Book.objects.create(library=library)
    left.Page.objects.create(book=book)
    BookNote.objects.create(book=book)
    yield from (root, forest, album, series, lineage, library)


def _keys() -> Iterator[Model]:
    person = parents.Person.objects.create(code="p", number="1.5")
    left.Badge.objects.create(person=person)
    left.Invoice.objects.create(person=person)
    Locker.objects.create(person=person)
    restaurant = parents.Restaurant.objects.create(code="r")
    left.RestaurantNote.objects.create(restaurant=restaurant)
    left.PlaceNote.objects.create(place=restaurant.place_ptr)
    tenant = parents.Tenant.objects.create()
    account = parents.Account.objects.create(tenant=tenant)
    left.AccountNote.objects.create(account=account)
    left.DeskNote.objects.create(desk=parents.Desk.objects.create(account=account))
    everywhere = parents.Everywhere.objects.create()
    for alias in ("test_left", "test_right"):
        Entry.objects.using(alias).create(everywhere=everywhere)
    mixed = parents.Mixed.objects.create()
    Note.objects.create(mixed=mixed)
    yield from (person, restaurant, account, everywhere, mixed)


def test_the_whole_path_of_every_kind_of_deletion(
    log_in: LogIn, scene: list[Model], tune: Tune
) -> None:
    with log_in("web"):
        for parent in scene:
            parent.delete()
    assert Deletion.objects.count() >= len(scene)
    ContentType.objects.clear_cache()  # another process would not know them
    with log_in("worker"):
        work()
        assert set(log_rows.states()) <= {"verified", "cancelled"}
        idle = Deletion.objects.filter(cancelled_at__isnull=False)
        assert {*idle.values_list("reason", flat=True)} <= {deletions.NOTHING_TO_DO}
        assert Heartbeat.objects.get().name == "worker"
        tune(retention_days=1e-9)
        for using in relations.log_databases():
            while deletions.purge(using=using):
                pass
    assert not Deletion.objects.exists()
    assert not Deletion.objects.using("test_left").exists()
    assert Post.objects.get().author.username == Comment.objects.get().author.username == "bob"
    assert Order.objects.get().customer.username == "bob"
    givers = {
        model.__name__: model.objects.get().giver_id
        for model in (
            left.Nulled, left.Defaulted, left.Valued, left.Called, left.Instanced, left.Customised,
        )
    }  # fmt: skip
    assert givers == {
        "Nulled": None, "Defaulted": left.DEFAULT, "Valued": left.VALUE, "Called": left.CALLED,
        "Instanced": left.INSTANCE, "Customised": left.CUSTOM,
    }  # fmt: skip
    assert left.Label.objects.get().shelf_id is None
    for gone in (
        left.Shelf, left.Box, left.Item, left.Node, left.Picture, left.Tag, left.Numbered,
        left.NumberedPart, left.Base, left.Derived, left.Book, left.Page, BookNote, left.Badge,
        left.Invoice, Locker, left.RestaurantNote, left.PlaceNote, left.AccountNote,
        left.DeskNote, Note,
    ):  # fmt: skip
        assert not gone.objects.exists(), gone
    for alias in ("test_left", "test_right"):
        assert not Entry.objects.using(alias).exists()


def test_rows_that_somebody_else_holds_are_passed_over(
    log_in: LogIn, scene: list[Model], locked: type
) -> None:
    ann = scene[0]
    pk = ann.pk
    post = Post.objects.create(title="t", content="c", author=ann)
    order = Order.objects.create(order_number="held", customer=ann, total=1)
    with log_in("web"):
        ann.delete()
    with (
        locked(Post.objects.filter(pk=post.pk)),
        locked(Order.objects.filter(pk=order.pk)),
        log_in("worker"),
    ):
        dispatch.sweep_all()
        assert cascade.drain("blog_db", seconds=0).rows["blog.Post.author"] == 1
        assert cascade.drain("shop_db", seconds=0).rows == {"shop.Order.customer": 1}
    assert Post.objects.get(author_id=pk) == post
    assert Order.objects.get(customer_id=pk) == order


def test_a_parent_that_came_back_is_seen_by_the_worker(log_in: LogIn, scene: list[Model]) -> None:
    ann = scene[0]
    pk = ann.pk
    with log_in("web"):
        ann.delete()
    User.objects.create(pk=pk, username="ann")
    with log_in("worker"):
        dispatch.sweep_all()
        assert cascade.drain("blog_db").kept == 1
    assert Post.objects.count() == 2


def test_protect_and_restrict_are_asked_in_the_other_databases(log_in: LogIn) -> None:
    protected, restricted, free = (parents.Guarded.objects.create() for _ in range(3))
    left.Protecting.objects.create(guarded=protected)
    Restricting.objects.create(guarded=restricted)
    with log_in("web"):
        with pytest.raises(ProtectedError):
            protected.delete()
        with pytest.raises(RestrictedError):
            restricted.delete()
        free.delete()
    assert parents.Guarded.objects.count() == 2


def test_the_command_line_works_as_the_worker(
    log_in: LogIn, scene: list[Model], capsys: pytest.CaptureFixture[str]
) -> None:
    ann = scene[0]
    key = str(ann.pk)
    person = parents.Person.objects.create(code="q")
    heartbeats.record("beat", using="default")
    with log_in("worker"):
        for arguments in (
            ["preview", "auth.User", key],
            ["preview", "parents.Person", str(person.pk)],
            ["pause", "--database", "test_left", "--reason", "maintenance"],
            ["resume", "--database", "test_left"],
            ["status"],
        ):
            call_command("integrity", *arguments)
    with log_in("web"):
        ann.delete()
    with log_in("worker"):
        dispatch.sweep_all()
    Cascade.objects.update(state="blocked")
    deletion = Deletion.objects.get(parent="auth.User", key=key)
    with log_in("worker"):
        call_command("integrity", "retry", str(deletion.pk))
        call_command("integrity", "drain", "--verify", "--timeout", "60")
        call_command("integrity", "receipt", "auth.User", key)
        assert "verified" in capsys.readouterr().out
    assert set(Audit.objects.values_list("verb", flat=True)) == {"pause", "resume", "retry"}


def test_the_worker_scans_every_relation_and_repairs(
    log_in: LogIn, scene: list[Model], tune: Tune
) -> None:
    tune(grace_seconds=0.001, brake_keys=100)
    post = Post.objects.create(title="t", content="c", author_id=9_999)
    Order.objects.create(order_number="o", customer_id=9_999, total=1)
    left.Protecting.objects.create(guarded_id=9_999)
    with log_in("worker"):
        with pytest.raises(SystemExit, match=str(FINDINGS)):
            call_command("integrity", "scan", "--full")
        found = Suspect.objects.all()
        assert sorted(found.values_list("relation", flat=True)) == [
            "blog.Post.author",
            "shop.Order.customer",
        ]
        call_command("integrity", "repair", "--apply")
        work()
    assert not Post.objects.filter(pk=post.pk).exists()
    assert not Order.objects.filter(customer_id=9_999).exists()
    assert left.Protecting.objects.exists()


def test_a_database_that_is_away_is_noted_by_the_worker(
    log_in: LogIn, refuse: Callable[[str], Any]
) -> None:
    with log_in("worker"):
        with refuse("blog_db"):
            assert cascade.drain("blog_db").unreachable
        assert ChildDatabase.objects.get().reason


WORKER = [
    ("blog_db", "INSERT INTO blog_post DEFAULT VALUES"),
    ("blog_db", "TRUNCATE blog_comment"),
    ("blog_db", "DROP TABLE blog_comment"),
    ("blog_db", "CREATE TABLE mine (id int)"),
    ("blog_db", "ALTER TABLE blog_post DISABLE TRIGGER ALL"),
    ("blog_db", "CREATE INDEX ON blog_post (title)"),
    ("blog_db", "UPDATE blog_post SET title = 'x'"),
    ("blog_db", "UPDATE blog_post SET author_id = 1"),
    ("test_left", "UPDATE left_nulled SET id = 1"),
    ("test_left", "DELETE FROM left_nulled"),
    ("test_left", "DELETE FROM left_protecting"),
    ("shop_db", "SELECT name FROM shop_product"),
    ("default", "DELETE FROM auth_user"),
    ("default", "INSERT INTO auth_user DEFAULT VALUES"),
    ("default", "UPDATE auth_user SET id = 1"),
    ("default", "TRUNCATE auth_user CASCADE"),
    ("default", "DROP TABLE auth_user CASCADE"),
    ("default", "SELECT password FROM auth_user"),
    ("default", "SELECT id FROM auth_user FOR UPDATE"),
    ("default", "UPDATE integrity_deletion SET key = '1'"),
    ("default", "UPDATE integrity_deletion SET parent = 'auth.User'"),
    ("default", "UPDATE integrity_deletion SET recorded_at = now()"),
    ("default", "UPDATE integrity_suspect SET value = '1'"),
    ("default", "UPDATE integrity_suspect SET relation = 'x'"),
    ("default", "UPDATE integrity_cascade SET database = 'shop_db'"),
    ("default", "UPDATE integrity_cascade SET batch = 1"),
    ("default", "UPDATE integrity_cascade SET parent = 'auth.User'"),
    ("default", "TRUNCATE integrity_deletion CASCADE"),
    ("default", "UPDATE integrity_audit SET actor = 'x'"),
    ("default", "DELETE FROM integrity_audit"),
    ("default", "SELECT session_key FROM django_session"),
]
WEB = [
    ("default", "DELETE FROM integrity_deletion"),
    ("default", "UPDATE integrity_deletion SET cancelled_at = now()"),
    ("default", "TRUNCATE integrity_deletion CASCADE"),
    ("default", "DROP TABLE integrity_deletion CASCADE"),
    ("default", "SELECT batch FROM integrity_deletion"),
    ("default", "INSERT INTO integrity_cascade DEFAULT VALUES"),
    ("default", "SELECT id FROM integrity_cascade"),
    ("default", "SELECT id FROM integrity_suspect"),
    ("default", "INSERT INTO integrity_suspect DEFAULT VALUES"),
    ("default", "DELETE FROM integrity_suspect"),
    ("default", "INSERT INTO integrity_audit DEFAULT VALUES"),
    ("default", "UPDATE auth_user SET is_superuser = true"),
    ("default", "TRUNCATE auth_user CASCADE"),
    ("default", "CREATE TABLE mine (id int)"),
    ("blog_db", "SELECT id FROM blog_post"),
    ("blog_db", "DELETE FROM blog_post"),
    ("test_left", "DELETE FROM left_protecting"),
    ("test_right", "INSERT INTO right_restricting DEFAULT VALUES"),
]


@pytest.mark.parametrize(
    ("kind", "alias", "statement"),
    [("worker", *each) for each in WORKER] + [("web", *each) for each in WEB],
)
def test_what_a_role_must_not_do_is_refused_by_the_database(
    log_in: LogIn, kind: str, alias: str, statement: str
) -> None:
    with log_in(kind), pytest.raises(ProgrammingError) as refusal:
        run(alias, statement)
    assert refusal.value.__cause__.sqlstate == REFUSED


class TestTheStatements:
    """Of the sample project, word for word."""

    def of(self, alias: str, *apps: str, kinds: tuple[Kind, ...] = ()) -> list[str]:
        return [
            statement.replace(' TO "r";', "")
            for statement in granted(alias, "r", *kinds)
            if any(f'ON "{app}_' in statement for app in apps)
        ]

    def log(self, table: str, *kinds: Kind) -> str:
        found = self.of("default", "integrity", kinds=kinds)
        return "\n".join(each for each in found if each.endswith(f'"integrity_{table}"'))

    def test_the_worker_in_the_child_databases(self) -> None:
        finding = 'GRANT SELECT, INSERT, UPDATE ("erased_at"), DELETE ON "integrity_finding"'
        identity = 'GRANT SELECT, INSERT, UPDATE ("uuid") ON "integrity_identity"'
        columns = '"at", "counts", "keys", "targets"'
        tally = f'GRANT SELECT, INSERT, UPDATE ({columns}), DELETE ON "integrity_tally"'
        removed = 'UPDATE ("id"), DELETE'
        assert self.of("blog_db", "blog", "integrity", "auth") == [
            f'GRANT SELECT ("author_id", "ctid", "id", "post_id"), {removed} ON "blog_comment"',
            f'GRANT SELECT ("author_id", "ctid", "id"), {removed} ON "blog_post"',
            finding,
            identity,
            tally,
        ]
        assert self.of("shop_db", "shop", "integrity", "auth") == [
            finding,
            identity,
            tally,
            f'GRANT SELECT ("ctid", "customer_id", "id"), {removed} ON "shop_order"',
        ]

    def test_the_worker_where_the_parents_are(self) -> None:
        assert self.of("default", "auth", "admin") == ['GRANT SELECT ("id") ON "auth_user"']

    def test_the_worker_sets_a_key_and_no_other_column(self) -> None:
        found = self.of("test_left", "left")
        assert (
            'GRANT SELECT ("ctid", "giver_id", "id"), UPDATE ("giver_id") ON "left_nulled"' in found
        )
        assert 'GRANT SELECT ("ctid", "id", "shelf_id"), UPDATE ("shelf_id") ON "left_label"' in (
            found
        )
        assert 'GRANT SELECT ON "left_seal"' in found

    @isolate_apps("tests.kinds.left")
    def test_rows_are_locked_by_a_column_that_nobody_can_set(self) -> None:
        def model(name: str, **fields: Any) -> Any:
            meta = type("Meta", (), {"app_label": "left"})
            return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})

        seal = models.GeneratedField(
            expression=models.Value(1), output_field=models.IntegerField(), db_persist=True
        )
        assert lock(model("Sealed", seal=seal), "test_left").column == "seal"
        assert lock(model("Plain"), "test_left").column == "id"

    def test_the_worker_cannot_change_whose_deletion_it_is(self) -> None:
        assert self.log("deletion") == (
            f'GRANT SELECT, {CONFIRMED}, UPDATE ("batch", "cancelled_at", "deadline", "reason"),'
            ' DELETE ON "integrity_deletion"'
        )
        assert self.log("suspect") == (
            'GRANT SELECT, INSERT, UPDATE ("fence"), DELETE ON "integrity_suspect"'
        )
        assert "database" not in self.log("cascade").partition("UPDATE")[2]
        assert "relation" not in self.log("scan").partition("UPDATE")[2]

    def test_what_is_inserted_into_the_log_is_named(self) -> None:
        audit = 'INSERT ("actor", "reason", "target", "verb") ON "integrity_audit"'
        assert self.log("audit") == f"GRANT {audit}"
        assert self.log("audit", Kind.DASHBOARD) == f"GRANT SELECT, {audit}"

    def test_what_is_only_reported_is_seen_by_its_key(self) -> None:
        assert 'GRANT SELECT ("guarded_id") ON "left_protecting"' in self.of("test_left", "left")
        assert 'GRANT SELECT ("giver_id") ON "right_untouched"' in self.of("test_right", "right")

    def test_the_web_reads_what_a_trigger_recorded_before_it(self, tune: Tune) -> None:
        tune(capture={"auth.User": "both"})
        assert self.log("deletion", Kind.WEB).startswith(
            'GRANT SELECT ("key", "parent", "recorded_at", "source"), INSERT ("actor",'
        )

    def test_the_web_writes_no_log_where_a_trigger_does(self, tune: Tune) -> None:
        tune(capture="trigger")
        assert self.log("deletion", Kind.WEB) == ""
        assert self.log("deletion", Kind.LOG) == f"GRANT {CAPTURED}"

    def test_the_web_deletes_users_and_what_hangs_on_them_in_their_own_database(self) -> None:
        found = self.of("default", "auth", "integrity", kinds=(Kind.WEB,))
        assert [each for each in found if "auth_user" in each or "integrity" in each] == [
            'GRANT SELECT, DELETE ON "auth_user"',
            'GRANT SELECT ("user_id"), DELETE ON "auth_user_groups"',
            'GRANT SELECT ("permission_id", "user_id"), DELETE ON "auth_user_user_permissions"',
            f'GRANT SELECT ("key"), {CAPTURED}',
        ]
        assert self.of("blog_db", "blog", kinds=(Kind.WEB,)) == []

    def test_buttons_delete_only_suspects_and_change_no_deletion(self) -> None:
        assert self.log("deletion", Kind.DASHBOARD) == (
            f'GRANT SELECT, {CONFIRMED} ON "integrity_deletion"'
        )
        found = [each for each in granted("default", "r", Kind.DASHBOARD) if "DELETE" in each]
        assert found == [
            'GRANT SELECT, INSERT, UPDATE ("fence"), DELETE ON "integrity_suspect" TO "r";'
        ]
        assert self.log("cascade", Kind.DASHBOARD) == (
            'GRANT SELECT, INSERT, UPDATE ("acknowledged_at", "attempts", "claim", "deadline",'
            ' "deletions", "due_at", "kept", "order_at", "rows", "size", "state", "tally")'
            ' ON "integrity_cascade"'
        )
        pages = self.of("blog_db", "blog", kinds=(Kind.DASHBOARD,))
        assert [each.partition(") ON ")[0] for each in pages] == [
            'GRANT SELECT ("author_id", "ctid", "id", "post_id"',
            'GRANT SELECT ("author_id", "ctid", "id"',
        ]

    def test_beat_keeps_its_timetable(self) -> None:
        found = self.of("default", "django_celery_beat", "auth", "integrity", kinds=(Kind.BEAT,))
        assert 'GRANT SELECT, INSERT, UPDATE ON "django_celery_beat_periodictask"' in found
        assert all("django_celery_beat" in each and "DELETE" not in each for each in found)

    def test_every_table_of_the_log_is_thought_of(self) -> None:
        models = {
            each for each in apps.get_app_config("integrity").get_models() if not each._meta.proxy
        }
        assert set(WORKER_LOG) == set(PAGES_LOG) == models


class TestTheRole:
    """Who may be granted anything."""

    @pytest.mark.parametrize(
        "role",
        [
            *("public", "PUBLIC", "Public", '"public"', " public "),
            *("current_user", "CURRENT_USER", "session_user", "Current_Role", "user", "none"),
            *("", "  ", "pg_monitor", "PG_read_all_data", "ro\nle", "role\x00", "r\x1b[31m"),
        ],
    )
    def test_what_is_no_role_of_its_own_is_refused(self, role: str) -> None:
        with pytest.raises(InvalidRole, match="no privileges are granted to") as refused:
            grants(role)
        assert refused.value.role == role
        assert str(refused.value).isprintable()
        with pytest.raises(CommandError) as error:
            call_command("integrity", "grants", role)
        assert error.value.returncode == USAGE

    @pytest.mark.parametrize("role", ["r" * 64, "ä" * 32, "ポスグレ" * 6])
    def test_a_name_that_is_cut_is_refused(self, role: str) -> None:
        with pytest.raises(InvalidRole, match="63 bytes"):
            grants(role)

    @pytest.mark.parametrize(
        "role",
        [
            'o"brien',
            "r" * 63,
            "ü" * 31,
            "ポスグレ",
            "-- drop",
            "public_web",
            "Web; --",
            "\uff30ublic",
        ],
    )
    def test_odd_names_are_granted_to_the_very_role(self, role: str) -> None:
        superuser.run("blog_db", f"CREATE ROLE {roles.quoted(role)}")
        try:
            run("blog_db", *granted("blog_db", role))
            with superuser.session("blog_db") as own:
                grantee = own.execute(
                    "SELECT DISTINCT grantee FROM information_schema.role_column_grants"
                    " WHERE table_name = 'blog_post' AND privilege_type = 'UPDATE'"
                    " AND grantee = %s",
                    [role],
                ).fetchall()
            assert grantee == [(role,)]
        finally:
            superuser.run("blog_db", f"DROP OWNED BY {roles.quoted(role)}")
            superuser.run("blog_db", f"DROP ROLE {roles.quoted(role)}")


class TestTheTables:
    """Names of tables as a project may have them."""

    @pytest.mark.parametrize(
        ("table", "schemas", "name"),
        [
            ("plain", [], '"plain"'),
            ('crm"."contact', ['"crm"'], '"crm"."contact"'),
            ('"Sales 2"."order item"', ['"Sales 2"'], '"Sales 2"."order item"'),
            ("Größe", [], '"Größe"'),
        ],
    )
    def test_a_schema_that_is_named_may_be_used(
        self, table: str, schemas: list[str], name: str
    ) -> None:
        needs = [Need("blog_db", table, Privilege.SELECT, "id")]
        assert [*statements("r", needs, "blog_db")] == [
            *(f'GRANT USAGE ON SCHEMA {each} TO "r";' for each in schemas),
            f'GRANT SELECT ("id") ON {name} TO "r";',
        ]

    def test_on_a_real_server(self, log_in: LogIn) -> None:
        superuser.run(
            "blog_db",
            'CREATE SCHEMA "Sales 2" CREATE TABLE "order item" (id int, secret text)',
            "CREATE ROLE seller",
        )
        try:
            needs = [Need("blog_db", 'Sales 2"."order item', Privilege.SELECT, "id")]
            superuser.run("blog_db", *statements("seller", needs, "blog_db"))
            with superuser.session("blog_db") as own:
                own.execute("SET ROLE seller")
                own.execute('SELECT id FROM "Sales 2"."order item"')
                with pytest.raises(InsufficientPrivilege):
                    own.execute('SELECT secret FROM "Sales 2"."order item"')
        finally:
            superuser.run(
                "blog_db",
                'DROP SCHEMA "Sales 2" CASCADE',
                "DROP OWNED BY seller",
                "DROP ROLE seller",
            )

    def test_parents_of_several_databases(self) -> None:
        """Three databases with parents: each gets the log's, and its own parents', and no other."""
        homes = {home for each in relations.catalogue().relations for home in each.parent_databases}
        assert {"default", "test_left", "test_lite"} <= homes
        for alias in on_postgresql():
            log_there = any("integrity_deletion" in each for each in granted(alias, "r"))
            assert log_there == (alias in relations.log_databases())


class TestTheCommand:
    def test_text_goes_straight_into_a_shell_of_the_database(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, *others = printed(capsys, 'ro"le', "--database", "shop_db").splitlines()
        assert first == "-- shop_db"
        assert others == list(granted("shop_db", 'ro"le'))
        assert others[-1].endswith(', UPDATE ("id"), DELETE ON "shop_order" TO "ro""le";')

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        document = json.loads(printed(capsys, "r", "--json"))
        assert (document["schema_version"], document["exit_reason"]) == (1, "clean")
        found = {each["database"]: each for each in document["grants"]}
        assert set(found) == set(connections)
        for alias in on_postgresql():
            assert found[alias]["statements"] == list(granted(alias, "r"))

    def test_a_database_without_roles_is_skipped_and_says_so(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = printed(capsys, "r", "--database", "test_lite")
        assert out == "-- test_lite: skipped, sqlite: grants are made for PostgreSQL only\n"

    def test_an_unknown_database_is_a_usage_error(self) -> None:
        with pytest.raises(CommandError, match="unknown database 'nope'; known: ") as error:
            call_command("integrity", "grants", "r", "--database", "nope")
        assert error.value.returncode == USAGE


#: The worker of tests/roles.py.
WORKER = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'worker \"%'"


@pytest.fixture
def limited() -> Iterator[Callable[[str], None]]:
    """Give the worker's role limits for its next sessions, for the length of a test."""

    def limit(text: str) -> None:
        for alias in on_postgresql():
            with superuser.session(alias) as own:
                for (role,) in own.execute(WORKER).fetchall():
                    own.execute(text.replace("worker", roles.quoted(role)).encode())

    yield limit
    limit("ALTER ROLE worker RESET ALL")


class TestLimits:
    """Those of the guide, on real servers."""

    def settings(self) -> dict[str, str]:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        with connections["blog_db"].cursor() as cursor:
            cursor.execute(
                "SELECT name, current_setting(name) FROM unnest(%s::text[]) name", [[*names]]
            )
            return dict(cursor.fetchall())

    @pytest.fixture
    def no_options(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the sample sets for each connection is left out."""
        for alias in on_postgresql():
            options = {**connections[alias].settings_dict["OPTIONS"]}
            options.pop("options", None)
            monkeypatch.setitem(connections[alias].settings_dict, "OPTIONS", options)

    def test_the_work_is_done_with_them(
        self,
        log_in: LogIn,
        scene: list[Model],
        limited: Callable[[str], None],
        no_options: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        limited(snippets.blocks(GUIDE, "sql")[1].text)
        seen = list[dict[str, str]]()

        def look(failpoint: failpoints.Failpoint) -> None:
            if failpoint is failpoints.Failpoint.REMOVED and connections["blog_db"].in_atomic_block:
                seen.append(self.settings())

        with log_in("web"):
            for parent in scene:
                parent.delete()
        ContentType.objects.clear_cache()
        monkeypatch.setattr(failpoints, "hit", look)
        with log_in("worker"):
            outside = self.settings()
            work()
        limits = {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "30s"}
        assert outside == limits | {"lock_timeout": "5s"}
        assert seen
        assert all(each == limits | {"lock_timeout": "2s"} for each in seen)
        assert {*log_rows.states()} <= {"verified", "cancelled"}

    def test_a_step_that_is_idle_for_too_long_is_rolled_back_and_repeated(
        self,
        log_in: LogIn,
        scene: list[Model],
        limited: Callable[[str], None],
        no_options: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        limited("ALTER ROLE worker SET idle_in_transaction_session_timeout = '100ms'")
        slept = list[float]()

        def sleep(failpoint: failpoints.Failpoint) -> None:
            if failpoint is failpoints.Failpoint.REMOVED:
                slept.append(0.5)
                time.sleep(0.5)

        with log_in("web"):
            scene[0].delete()
        with log_in("worker"):
            dispatch.sweep_all()
            with monkeypatch.context() as patch:
                patch.setattr(failpoints, "hit", sleep)
                cascade.drain("blog_db", seconds=0)
            assert slept
            assert Post.objects.count() == 2, "what the server ended is rolled back"
        limited("ALTER ROLE worker RESET ALL")
        Cascade.objects.update(due_at=timezone.now())
        with log_in("worker"):
            work()
        assert Post.objects.count() == 1
        assert {*log_rows.states()} == {"verified"}


class TestTheGuide:
    """docs/how-to/least-privilege.md is true."""

    def test_its_examples_print_what_it_says(self) -> None:
        examples = [
            command
            for block in snippets.blocks(GUIDE, "console")
            for command in snippets.commands(block)
        ]
        assert len(examples) == 2
        for command in examples:
            done = project.run(
                *command.line.split()[1:],
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
            )
            assert (done.returncode, done.stdout.splitlines()) == (0, [*command.output])

    def test_its_roles_can_be_created(self) -> None:
        text = "".join(block.text for block in snippets.blocks(GUIDE, "sql"))
        suffix = secrets.token_hex(4)
        named = re.sub(r"ROLE (\w+)", rf"ROLE \1_{suffix}", text)
        with superuser.session("default", autocommit=False) as own:
            own.execute(named.encode())
            found = own.execute(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE %s", [f"%\\_{suffix}"]
            )
            assert found.fetchone() == (2,)
            own.rollback()
