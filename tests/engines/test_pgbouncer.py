"""Every database behind PgBouncer in transaction pooling, where no two statements share a session.

What needs a session is in the tests: settings, advisory locks, prepared statements, LISTEN,
temporary tables. None of it may be relied on, or left to the next client.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.db.models import ProtectedError, RestrictedError
from django.test import Client
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.cascade import verification
from apps.integrity.management.exit_codes import ExitCode
from apps.integrity.models import Cascade, Deletion, FailedAttempt
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from sandbox import project
from sandbox.environment import VARIABLES
from sandbox.processes import eventually, stop_all
from tests.engines.servers.pgbouncer import PgBouncer
from tests.kinds.left import models as left
from tests.kinds.parents.models import Giver, Guarded
from tests.kinds.right import models as right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.servers import Sandbox
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed", "pooled")

#: The alias → the alias of its server.
SERVERS = {
    "default": "default",
    "blog_db": "blog_db",
    "shop_db": "shop_db",
    "test_left": "blog_db",
    "test_right": "shop_db",
}
PROJECT = ("default", "blog_db", "shop_db")


@pytest.fixture(scope="module")
def poolers(sandbox: Sandbox, django_db_setup: None) -> Iterator[dict[str, PgBouncer]]:
    with ExitStack() as stack:
        started = {alias: PgBouncer(server) for alias, server in sandbox.postgres.items()}
        stack.callback(stop_all, started.values())
        for pooler in started.values():
            pooler.start().await_first_start()
        yield started


@pytest.fixture
def pooled(committed: None, poolers: dict[str, PgBouncer]) -> Iterator[None]:
    """Django's connections lead through the poolers, with the settings that the page asks for."""
    with through({alias: poolers[server] for alias, server in SERVERS.items()}):
        yield


@contextmanager
def through(poolers: dict[str, PgBouncer]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for alias, pooler in poolers.items():
            settings = connections[alias].settings_dict
            connections[alias].close()
            patch.setitem(settings, "PORT", str(pooler.port))
            patch.setitem(settings, "DISABLE_SERVER_SIDE_CURSORS", value=True)
        yield
        for alias in poolers:
            connections[alias].close()


def people(*names: str, rows: int = 3) -> list[User]:
    """Create users with posts, each with a comment of the user, and orders."""
    users = [User.objects.create(username=name) for name in names]
    for user in users:
        posts = [Post(title="t", content="c", author=user) for _ in range(rows)]
        for post in Post.objects.bulk_create(posts):
            Comment.objects.create(post=post, author=user, content="c")
        Order.objects.bulk_create(
            Order(order_number=f"{user} {number}", customer=user, total=1) for number in range(rows)
        )
    return users


def left_of(*names: str) -> dict[str, int]:
    """Return the rows of those users, and of nobody."""
    keys = [*User.objects.filter(username__in=names).values_list("pk", flat=True)]
    models = {Post: "author", Comment: "author", Order: "customer"}
    counts = {model.__name__: model.objects.count() for model in models}
    own = {
        model.__name__: model.objects.filter(**{f"{field}_id__in": keys}).count()
        for model, field in models.items()
    }
    assert counts == own, "rows of users who are gone"
    return own


def drained() -> None:
    """Dispatch, cascade and verify until each cascade is verified."""

    def over() -> bool:
        _, due = dispatch.sweep_all()
        for database in sorted(due):
            cascade.drain(database)
        for database in sorted({*Cascade.objects.values_list("database", flat=True)}):
            verification.verify(database)
        return {*Cascade.objects.values_list("state", flat=True)} <= {"verified"}

    assert eventually(over, timeout=30)


@pytest.fixture(autouse=True)
def quick(tune: Tune) -> None:
    tune(grace_seconds=0.001)


THREE = {"Post": 3, "Comment": 3, "Order": 3}


class TestDeletes:
    def test_an_instance(self) -> None:
        gone, _ = people("gone", "kept")
        gone.delete()
        drained()
        assert left_of("kept") == THREE

    def test_a_queryset(self) -> None:
        people("gone 1", "gone 2", "kept")
        User.objects.filter(username__startswith="gone").delete()
        drained()
        assert left_of("kept") == THREE

    def test_the_admin(self) -> None:
        gone, _ = people("gone", "kept")
        root = User.objects.create_superuser("root")
        client = Client()
        client.force_login(root)
        page = reverse("admin:auth_user_delete", args=[gone.pk])
        answer = client.post(page, {"post": "yes"})
        assert answer.status_code == 302, answer.content[:500]
        drained()
        assert left_of("kept") == THREE

    def test_one_that_is_rolled_back(self) -> None:
        [kept] = people("kept")
        with transaction.atomic():
            kept.delete()
            transaction.set_rollback(True)
        assert not Deletion.objects.exists()
        drained()
        assert left_of("kept") == THREE


class TestPolicies:
    def test_those_that_put_a_value_in_place(self) -> None:
        for pk in (left.DEFAULT, left.VALUE, left.CALLED, left.INSTANCE, left.CUSTOM):
            Giver.objects.create(pk=pk)
        gone, kept = Giver.objects.create(), Giver.objects.create()
        models: dict[type[Any], int | None] = {
            left.Nulled: None,
            left.Defaulted: left.DEFAULT,
            left.Valued: left.VALUE,
            left.Called: left.CALLED,
            left.Instanced: left.INSTANCE,
            left.Customised: left.CUSTOM,
        }
        for model in models:
            for giver in (gone, kept):
                model.objects.create(giver_id=giver.pk)
        gone.delete()
        drained()
        for model, value in models.items():
            assert {*model.objects.values_list("giver_id", flat=True)} == {value, kept.pk}

    def test_those_that_refuse(self) -> None:
        guarded = [Guarded.objects.create() for _ in range(3)]
        left.Protecting.objects.create(guarded_id=guarded[0].pk)
        right.Restricting.objects.create(guarded_id=guarded[1].pk)
        with pytest.raises(ProtectedError):
            guarded[0].delete()
        with pytest.raises(RestrictedError):
            guarded[1].delete()
        guarded[2].delete()
        assert Guarded.objects.count() == 2


class TestEvidence:
    def test_a_late_insert_is_found_by_verification(self) -> None:
        gone, _ = people("gone", "kept")
        key = gone.pk
        gone.delete()
        _, due = dispatch.sweep_all()
        for database in sorted(due):
            cascade.drain(database)
        Post.objects.create(title="late", content="c", author_id=key)
        verification.verify("blog_db")
        assert "verified" not in Cascade.objects.filter(database="blog_db").values_list(
            "state", flat=True
        )
        drained()
        assert left_of("kept") == THREE

    def test_an_insert_that_is_open_through_the_pooler_holds_verification(
        self, poolers: dict[str, PgBouncer]
    ) -> None:
        """The barrier sees the server's session, which the open transaction keeps."""
        gone, _ = people("gone", "kept")
        key = gone.pk
        gone.delete()
        url = connections["blog_db"].settings_dict
        with psycopg.connect(
            host=url["HOST"],
            port=url["PORT"],
            dbname=url["NAME"],
            user=url["USER"],
            password=url["PASSWORD"],
            prepare_threshold=None,
        ) as writer:
            writer.execute(
                "INSERT INTO blog_post (title, content, author_id, created_at)"
                " VALUES ('open', 'c', %s, now())",
                [key],
            )
            _, due = dispatch.sweep_all()
            for database in sorted(due):
                cascade.drain(database)
            assert verification.verify("blog_db").verified == 0
        drained()
        assert left_of("kept") == THREE

    def test_scan_repair_and_receipt(self, capsys: pytest.CaptureFixture[str]) -> None:
        gone, _ = people("gone", "kept")
        key = gone.pk
        User.objects.filter(pk=key)._raw_delete("default")
        command = manage(capsys)
        code, document = command("scan", "--full")
        assert code == ExitCode.FINDINGS
        assert sum(row["orphans"] for row in document["relations"]) == 9
        code, document = command("repair", "--apply")
        assert code in {ExitCode.CLEAN, ExitCode.INCOMPLETE, ExitCode.FINDINGS}
        drained()
        assert left_of("kept") == THREE
        code, document = command("receipt", "auth.User", str(key))
        assert code == ExitCode.CLEAN
        assert document["deletion"]["state"] == "verified"


def manage(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    from django.core.management import CommandError, call_command

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = 0
        try:
            call_command("integrity", *words, "--json")
        except CommandError as error:
            code = error.returncode
        except SystemExit as error:
            code = int(error.code or 0)
        return code, json.loads(capsys.readouterr().out)

    return run


class TestSessions:
    """With one session of the server for all clients, whatever one leaves behind, others meet."""

    @pytest.fixture
    def alone(self, sandbox: Sandbox, pooled: None) -> Iterator[PgBouncer]:
        """blog_db through a pooler that has one session for it."""
        pooler = PgBouncer(sandbox.postgres["blog_db"], default_pool_size="1")
        pooler.start().await_first_start()
        try:
            with through(dict.fromkeys(("blog_db", "test_left"), pooler)):
                yield pooler
        finally:
            pooler.stop()

    #: What a session would keep: settings, locks, prepared statements, channels, tables.
    KEPT = """
        SELECT (SELECT count(*) FROM pg_settings WHERE source = 'session'
                  AND name NOT IN ('client_encoding', 'DateStyle', 'TimeZone', 'application_name',
                                   'standard_conforming_strings', 'extra_float_digits')),
               (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
               (SELECT count(*) FROM pg_prepared_statements),
               (SELECT count(*) FROM pg_listening_channels()),
               (SELECT count(*) FROM pg_class WHERE relpersistence = 't')
        """

    def test_a_cascade_leaves_nothing_in_the_session(self, alone: PgBouncer) -> None:
        gone, _ = people("gone", "kept", rows=50)
        gone.delete()
        drained()
        with connections["blog_db"].cursor() as cursor:
            cursor.execute(self.KEPT)
            assert cursor.fetchone() == (0, 0, 0, 0, 0)
        assert left_of("kept") == {"Post": 50, "Comment": 50, "Order": 50}

    def test_what_another_client_left_in_it_changes_nothing(self, alone: PgBouncer) -> None:
        """Row security off, another planner, a lock of the session, prepared statements."""
        gone, _ = people("gone", "kept", rows=50)
        gone.delete()
        with connections["blog_db"].cursor() as cursor:
            cursor.execute("SET row_security = off; SET enable_indexscan = off")
            cursor.execute("SET lock_timeout = '1ms'")
            cursor.execute("PREPARE _pg3_0 AS SELECT 1; PREPARE integrity AS SELECT 2")
            cursor.execute("SELECT pg_advisory_lock(1)")
        connections["blog_db"].close()
        drained()
        assert left_of("kept") == {"Post": 50, "Comment": 50, "Order": 50}
        assert not FailedAttempt.objects.exists()

    def test_each_statement_may_run_in_another_session(
        self, alone: PgBouncer, at_once: Callable[..., list[Any]]
    ) -> None:
        """Six threads share one session: no step counts on what the last one set."""
        people(*(f"gone {number}" for number in range(12)), "kept")
        User.objects.filter(username__startswith="gone").delete()
        dispatch.sweep_all()
        at_once(*[lambda: cascade.drain("blog_db")] * 6)
        drained()
        assert left_of("kept") == THREE
        assert {*Cascade.objects.values_list("attempts", flat=True)} <= {1}


class TestProcesses:
    @contextmanager
    def working(
        self, poolers: dict[str, PgBouncer], tmp_path: Any, number: int
    ) -> Iterator[list[Any]]:
        urls = {
            VARIABLES[alias]: poolers[alias].url_of(
                "integrity_owner", str(connections[alias].settings_dict["NAME"])
            )
            for alias in PROJECT
        }
        env = {**os.environ, **project.environment(tmp_path), **urls}
        words = ("manage", "integrity", "drain", "--forever")
        started = [
            project.process(tmp_path, f"drain-{each}", *words, env=env) for each in range(number)
        ]
        try:
            for process in started:
                process.start()
            assert eventually(
                lambda: all("at work" in process.tail() for process in started), timeout=60
            ), [process.tail() for process in started]
            yield started
        finally:
            stop_all(started)

    def test_two_workers_at_once(self, poolers: dict[str, PgBouncer], tmp_path: Any) -> None:
        """Real processes with the sample project's options, which PgBouncer has to ignore."""
        people(*(f"gone {number}" for number in range(40)), "kept", rows=5)
        with self.working(poolers, tmp_path, 2) as workers:
            for user in User.objects.filter(username__startswith="gone"):
                user.delete()
            assert eventually(
                lambda: Post.objects.count() + Order.objects.count() == 10, timeout=60
            )
            assert all(worker.running for worker in workers)
        assert left_of("kept") == {"Post": 5, "Comment": 5, "Order": 5}
        assert {*Cascade.objects.values_list("attempts", flat=True)} == {1}
        assert not FailedAttempt.objects.exists()

    def test_a_pooler_that_restarts_costs_no_attempt(
        self, poolers: dict[str, PgBouncer], tmp_path: Any
    ) -> None:
        people(*(f"gone {number}" for number in range(20)), "kept", rows=200)
        with self.working(poolers, tmp_path, 1):
            with poolers["blog_db"].stopped():
                User.objects.filter(username__startswith="gone").delete()
                assert eventually(lambda: Order.objects.count() == 200, timeout=60)
            connections["blog_db"].close()
            assert eventually(lambda: Post.objects.count() == 200, timeout=60)
        assert left_of("kept") == {"Post": 200, "Comment": 200, "Order": 200}
        assert not FailedAttempt.objects.exists()


def test_a_server_that_is_down_behind_the_pooler_delays_only_itself(
    sandbox: Sandbox, poolers: dict[str, PgBouncer]
) -> None:
    """PgBouncer accepts the connection: `query_wait_timeout` ends the wait for the server."""
    gone, _ = people("gone", "kept")
    gone.delete()
    dispatch.sweep_all()
    connections["blog_db"].close()
    with sandbox.postgres["blog_db"].stopped():
        assert "blog_db" not in {row.database for row in _done()}
        assert cascade.drain("blog_db").unreachable
        assert cascade.drain("shop_db").finished == 1
    connections.close_all()
    assert eventually(lambda: cascade.drain("blog_db").finished == 1, timeout=30, pause=0.5)
    drained()
    assert left_of("kept") == THREE
    assert not FailedAttempt.objects.exists()


def _done() -> list[Cascade]:
    return [*Cascade.objects.filter(state__in=("done", "verified"))]
