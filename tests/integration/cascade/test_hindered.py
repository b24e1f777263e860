"""G6: a database that answers and cannot be worked on waits alone, uncounted, and heals."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connections
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import cascade, scan
from apps.integrity.backends import connections as reached
from apps.integrity.backends.connections import reach
from apps.integrity.cascade import verification
from apps.integrity.checks import doctor
from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.log import claims
from apps.integrity.models import Cascade, ChildDatabase, Scan
from apps.integrity.queues import dispatch, in_process, maintenance
from apps.integrity.queues.in_process import Worker
from apps.integrity.report import status
from apps.shop.models import Order
from sandbox.processes import Process, eventually
from tests import superuser
from tests.acceptance.workers import ROOT, environment
from tests.kinds.lite.models import Reading
from tests.kinds.parents.models import Station

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]
    Hinder = Callable[[str], AbstractContextManager[None]]

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]


def run(alias: str, *statements: str) -> None:
    """Execute on a connection of its own, which no setting of the database keeps from writing."""
    other = connections[alias].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            for each in statements:
                cursor.execute(each)
    finally:
        other.close()


@contextmanager
def read_only(alias: str) -> Iterator[None]:
    """As a standby, or a server after its failover."""
    name = connections[alias].settings_dict["NAME"]
    run(alias, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    connections[alias].close()
    try:
        yield
    finally:
        run(alias, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        connections[alias].close()


@contextmanager
def raising(alias: str, code: str) -> Iterator[None]:
    """Let each DELETE of posts fail with that code, as where the disk is full."""
    run(
        alias,
        "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN RAISE 'row of ann@example.com' USING ERRCODE = '{code}'; END$$",
        "CREATE TRIGGER fail BEFORE DELETE ON blog_post FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    try:
        yield
    finally:
        run(alias, "DROP TRIGGER fail ON blog_post")


def full(alias: str) -> AbstractContextManager[None]:
    return raising(alias, "53100")


@contextmanager
def terminating(alias: str) -> Iterator[None]:
    """As a server that shuts down, or an operator who ends sessions."""

    def end(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.lstrip().startswith(("DELETE", "WITH")) and "blog_post" in sql:
            pid = connections[alias].connection.info.backend_pid
            run(alias, f"SELECT pg_terminate_backend({pid}, 5000)")
        return execute(sql, *rest)

    with connections[alias].execute_wrapper(end):
        yield


@contextmanager
def configured(alias: str, **settings: str) -> Iterator[None]:
    """Connect otherwise for the length of the block."""
    connections[alias].close()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setitem(connections[alias].settings_dict, key, value)
        yield
    connections[alias].close()


def dropped(alias: str) -> AbstractContextManager[None]:
    return configured(alias, NAME="not_there")


def locked_out(alias: str) -> AbstractContextManager[None]:
    return configured(alias, USER="not_there")


@contextmanager
def crowded(alias: str) -> Iterator[None]:
    superuser.run(alias, "CREATE ROLE late LOGIN CONNECTION LIMIT 0 PASSWORD 'late'")
    try:
        with configured(alias, USER="late", PASSWORD="late"):
            yield
    finally:
        superuser.run(alias, "DROP ROLE late")


HINDERS = [
    (read_only, "cannot be worked on: it is read-only (25006)"),
    (full, "cannot be worked on: its disk is full (53100)"),
    (terminating, "cannot be worked on: it is shutting down, or ended the connection (57P01)"),
    (dropped, "cannot be reached: "),
    (locked_out, "cannot be reached: "),
    (crowded, "takes no more connections: "),
]


@pytest.fixture
def users(tune: Tune) -> list[User]:
    tune(probe_seconds=60, grace_seconds=0.001, attempts=3)
    users = User.objects.bulk_create(User(username=f"{n}") for n in range(5))
    Post.objects.bulk_create(Post(title="t", content="c", author=each) for each in users)
    Order.objects.bulk_create(
        Order(order_number=f"{each.pk}", customer=each, total=1) for each in users
    )
    return users


def blog() -> dict[str, Any]:
    (row,) = [
        each for each in status.collect_status()["databases"] if each["database"] == "blog_db"
    ]
    return dict(row)


def attempts() -> set[int]:
    return set(Cascade.objects.filter(database="blog_db").values_list("attempts", flat=True))


def probe_due() -> None:
    ChildDatabase.objects.update(probe_at=timezone.now())


@pytest.mark.parametrize("met", ["", "met before"])
@pytest.mark.parametrize(("hinder", "sentence"), HINDERS)
def test_it_waits_alone_uncounted_with_its_reason_and_heals_by_itself(
    users: list[User], converge: Converge, hinder: Hinder, sentence: str, met: str
) -> None:
    if met:
        users.pop().delete()
        converge()
    User.objects.all().delete()
    dispatch.sweep_all()
    with hinder("blog_db"):
        done = cascade.drain("blog_db")
        assert done.unreachable.startswith(sentence)
        assert "ann@" not in done.unreachable
        assert (done.finished, done.failed) == (0, 0)
        assert cascade.drain("shop_db").rows == {"shop.Order.customer": len(users)}
        assert (blog()["reason"], blog()["unreachable"]) == (done.unreachable, True)
        since = ChildDatabase.objects.get().unreachable_since
        for _ in range(4):  # more than there are attempts
            probe_due()
            assert cascade.drain("blog_db").unreachable == done.unreachable
        assert ChildDatabase.objects.get().unreachable_since == since
    waiting = Cascade.objects.filter(database="blog_db", state="pending")
    assert set(waiting.values_list("attempts", flat=True)) == {0}
    probe_due()
    assert converge() == {"blog.Post.author": len(users)}
    assert attempts() == {1}
    assert (blog()["reason"], blog()["state"]) == ("", "idle")


@pytest.mark.parametrize("hinder", [read_only, full])
def test_what_only_reads_does_not_declare_it_healed(
    users: list[User], converge: Converge, hinder: Hinder
) -> None:
    users.pop().delete()
    converge()
    users.pop().delete()
    dispatch.sweep_all()
    with hinder("blog_db"):
        reason = cascade.drain("blog_db").unreachable
        since = ChildDatabase.objects.get().unreachable_since
        for _ in range(3):
            probe_due()
            assert verification.verify("blog_db").unreachable == reason
            assert scan.scan("blog_db", seconds=5)[1] == reason
        assert ChildDatabase.objects.get().unreachable_since == since


def test_one_that_stays_read_only_with_nothing_to_remove_does_not_look_healed(
    users: list[User], converge: Converge
) -> None:
    users.pop().delete()
    converge()
    with read_only("blog_db"):
        ChildDatabase.objects.create(
            alias="blog_db", unreachable_since=timezone.now(), probe_at=timezone.now(), reason="x"
        )
        expected = "cannot be worked on: it is read-only (25006)"
        assert verification.verify("blog_db").unreachable == expected
        assert blog()["reason"] == expected
    probe_due()
    assert verification.verify("blog_db").unreachable == ""
    assert blog()["reason"] == ""


@pytest.mark.parametrize(("hinder", "sentence"), HINDERS)
def test_a_drain_reaches_the_other_databases_and_says_so_at_the_end(
    users: list[User], capsys: pytest.CaptureFixture[str], hinder: Hinder, sentence: str
) -> None:
    User.objects.all().delete()
    with hinder("blog_db"), pytest.raises(SystemExit) as ended:
        call_command("integrity", "drain", "--json")
    told = capsys.readouterr()
    assert ended.value.code == 5
    assert json.loads(told.out)["rows"] == {"shop.Order.customer": 5}
    assert f"blog_db {sentence}" in told.err
    assert attempts() == {0}


def test_sqlite_that_may_only_be_read_waits_too(tune: Tune, converge: Converge) -> None:
    tune(probe_seconds=60)
    station = Station.objects.create()
    Reading.objects.create(station_key=station.pk)
    station.delete()
    dispatch.sweep_all()
    with connections["test_lite"].cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")  # until the connection is closed
    done = cascade.drain("test_lite")
    assert done.unreachable == "cannot be worked on: it is read-only (SQLITE_READONLY)"
    cascades = Cascade.objects.filter(database="test_lite")
    assert set(cascades.values_list("attempts", flat=True)) == {0}
    probe_due()
    converge()
    assert not Reading.objects.exists()


def test_an_identity_that_cannot_be_told_is_no_end_of_the_drain(
    users: list[User], converge: Converge
) -> None:
    """At first contact, by an error that says nothing of the server: the right is missing."""
    User.objects.all().delete()
    run(
        "blog_db",
        "CREATE OR REPLACE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'no' USING ERRCODE = '42501'; END$$",
        "CREATE TRIGGER forbid BEFORE INSERT ON integrity_identity FOR EACH ROW"
        " EXECUTE FUNCTION forbid()",
    )
    try:
        dispatch.sweep_all()
        done = cascade.drain("blog_db")
    finally:
        run("blog_db", "DROP TRIGGER forbid ON integrity_identity")
    reason = "cannot be worked on: its identity cannot be told, a privilege is missing (42501)"
    assert done.unreachable == reason
    assert attempts() == {0}
    probe_due()
    assert converge() == {"blog.Post.author": 5, "shop.Order.customer": 5}


@pytest.mark.parametrize("alias", ["blog_db", "default"])
def test_the_doctor_says_what_takes_no_writes(
    users: list[User], converge: Converge, alias: str
) -> None:
    users.pop().delete()
    converge()
    with read_only(alias):
        checks = {each.name: each for each in doctor.examine(None)}
    [wrong] = [each for each in checks.values() if each.kind == "database" and not each.ok]
    assert wrong.name == f"database {alias}"
    assert "cannot be worked on: it is read-only (25006)" in wrong.detail


class TestTheLog:
    """It may be read-only while the child's database is well."""

    def test_a_log_that_is_read_only_is_named_and_its_child_is_not_blamed(
        self, users: list[User], converge: Converge
    ) -> None:
        User.objects.all().delete()
        dispatch.sweep_all()
        with read_only("default"):
            done = cascade.drain("blog_db")
        expected = "waits for default, which cannot be worked on: it is read-only (25006)"
        assert done.unreachable == expected
        assert not ChildDatabase.objects.exists()
        assert attempts() == {0}
        assert converge() == {"blog.Post.author": 5, "shop.Order.customer": 5}

    def test_a_hindrance_that_cannot_be_noted_is_told_all_the_same(
        self, users: list[User], converge: Converge
    ) -> None:
        User.objects.all().delete()
        dispatch.sweep_all()
        with read_only("default"), dropped("blog_db"):
            assert cascade.drain("blog_db").unreachable.startswith("cannot be reached: ")
        assert attempts() == {0}
        assert converge() == {"blog.Post.author": 5, "shop.Order.customer": 5}


@contextmanager
def slow(alias: str, is_slow: Callable[[str, Any], bool]) -> Iterator[None]:
    """Let the server's own statement_timeout end those statements."""

    def dawdle(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if not is_slow(sql, params):
            return execute(sql, params, *rest)
        execute("SET statement_timeout = 20", None, *rest)
        try:
            return execute("SELECT pg_sleep(5)", None, *rest)
        finally:
            if not connections[alias].in_atomic_block:
                execute("RESET statement_timeout", None, *rest)

    with connections[alias].execute_wrapper(dawdle):
        yield
    connections[alias].close()


def done_cascades(converge: Converge) -> None:
    User.objects.all().delete()
    converge()
    Cascade.objects.update(due_at=timezone.now())


def test_a_probe_that_takes_too_long_is_made_again_for_fewer(
    users: list[User], converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    done_cascades(converge)
    sizes, plain, reopened = list[int](), verification._probe, 0

    def probe(claim: Any, *rest: Any, **options: Any) -> Any:
        sizes.append(len(claim.deletions))
        return plain(claim, *rest, **options)

    monkeypatch.setattr(verification, "_probe", probe)
    cascades = Cascade.objects.filter(database="blog_db")

    def verified() -> bool:
        nonlocal reopened
        reopened += verification.verify("blog_db").reopened
        return not cascades.exclude(state="verified").exists()

    with slow("blog_db", lambda sql, _: "blog_post" in sql and sizes[-1] > 1):
        assert eventually(verified, timeout=30)
    assert (sizes[0], sizes[-5:], reopened) == (5, [1, 1, 1, 1, 1], 0)


@contextmanager
def locked_table(alias: str, table: str) -> Iterator[None]:
    """As by a migration that does not end, where the project's own connections wait for good."""
    other = connections[alias].copy()
    connections[alias].close()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor, connections[alias].cursor() as mine:
            mine.execute("SET lock_timeout = 0")
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        other.close()
        connections[alias].close()


def test_a_probe_that_meets_a_lock_is_made_again(
    users: list[User], converge: Converge, tune: Tune
) -> None:
    done_cascades(converge)
    tune(lock_seconds=0.1, grace_seconds=0.001)
    began = time.monotonic()
    with locked_table("blog_db", "blog_post"):
        done = verification.verify("blog_db")
    assert time.monotonic() - began < 5
    assert (done.verified, done.reopened, done.unreachable) == (0, 0, "")
    assert set(Cascade.objects.values_list("state", flat=True)) == {"done"}
    Cascade.objects.update(due_at=timezone.now())
    assert eventually(lambda: verification.verify("blog_db").verified == 5, timeout=30)


def test_a_step_that_takes_too_long_is_halved_down_to_one_and_remembered(
    tune: Tune, users: list[User]
) -> None:
    tune(scan_step_keys_max=8)
    label, seen = "blog.Post.author", list[int]()
    User.objects.filter(pk=users[0].pk)._raw_delete("default")
    with slow("blog_db", lambda sql, _: "blog_post" in sql and "array_agg" in sql):
        for _ in range(5):
            [found], unreachable = scan.scan("blog_db", labels=[label], seconds=5)
            assert (found.complete, unreachable) == (False, "")
            seen.append(Scan.objects.get(relation=label).step_keys)
    assert seen == [4, 2, 1, 1, 1]
    [found], _ = scan.scan("blog_db", labels=[label], seconds=20)
    assert (found.complete, found.orphans) == (True, 1)


def test_a_scan_waits_for_a_locked_table_no_longer_than_it_may(
    tune: Tune, users: list[User]
) -> None:
    tune(lock_seconds=0.1)
    began = time.monotonic()
    with locked_table("blog_db", "blog_post"):
        [found], unreachable = scan.scan("blog_db", labels=["blog.Post.author"], seconds=5)
    assert time.monotonic() - began < 5
    assert (found.complete, unreachable) == (False, "")
    assert found.reason == "OperationalError 55P03: a row is locked by another transaction"
    assert Scan.objects.get(relation="blog.Post.author").step_keys >= 50  # not its size


def test_an_odd_error_of_one_database_keeps_a_drain_from_no_other(
    users: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    User.objects.all().delete()
    plain = claims.claim

    def claim(database: str, **options: Any) -> Any:
        if database == "blog_db":
            raise ProgrammingError("of the log")
        return plain(database, **options)

    monkeypatch.setattr(claims, "claim", claim)
    with pytest.raises(CommandError, match="ProgrammingError") as ended:
        call_command("integrity", "drain")
    assert ended.value.returncode == 1
    assert (Order.objects.count(), Post.objects.count()) == (0, 5)


class TestForever:
    """`drain --forever`: nothing but a signal ends it."""

    def test_nothing_but_a_signal_ends_it(
        self, users: list[User], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        User.objects.all().delete()
        plain, struck = claims.claim, list[str]()

        def claim(database: str, **options: Any) -> Any:
            if database == "blog_db":
                struck.append(database)
                if len(struck) == 3:
                    run.stopping.set()
                raise ValueError(f"a mistake in code {len(struck)}")
            return plain(database, **options)

        def maintain(using: str) -> Any:
            raise RuntimeError("another one")

        def tell(line: str) -> None:
            raise BrokenPipeError(line)

        monkeypatch.setattr(claims, "claim", claim)
        monkeypatch.setattr(maintenance, "maintain", maintain)
        monkeypatch.setattr(in_process, "IDLE_SECONDS", 0.05)
        run = Worker(["blog_db", "shop_db"], progress=tell)
        patience = threading.Timer(30, run.stopping.set)
        patience.start()
        run.run()
        patience.cancel()
        assert len(struck) == 3
        assert (Order.objects.count(), Post.objects.count()) == (0, 5)

    def test_a_process_goes_on_with_the_others_and_finishes_when_it_is_healed(
        self, users: list[User], tmp_path: Path
    ) -> None:
        User.objects.all().delete()
        words = [sys.executable, "manage.py", "integrity", "drain", "--forever"]
        process = Process(words, log=tmp_path / "log", env=environment(), cwd=ROOT)
        with read_only("blog_db"):
            process.start()
            try:
                assert eventually(lambda: not Order.objects.exists(), timeout=60)
                assert eventually(lambda: "read-only" in blog()["reason"], timeout=20)
                with read_only("default"):  # and its log, for a moment
                    for alias in ("default", "blog_db"):
                        end_sessions(alias)
                    assert eventually(
                        lambda: "default cannot be worked on" in (tmp_path / "log").read_text(),
                        timeout=30,
                    )
            except BaseException:
                process.stop()
                raise
        try:
            assert eventually(lambda: not Post.objects.exists(), timeout=60), process.tail(60)
            assert eventually(lambda: not blog()["reason"], timeout=20)
            assert attempts() == {1}
        finally:
            process.ask_to_stop()
            assert eventually(lambda: not process.running, timeout=20)
        assert process.poll() == 0


def end_sessions(alias: str) -> None:
    """End those of other processes, so that they come back with what the database now says."""
    connections[alias].close()
    run(
        alias,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_a_server_that_accepts_and_never_answers_is_not_waited_for_without_end() -> None:
    """Although DATABASES names no timeout; one that it names is the project's own affair."""
    connection = connections["test_right"]
    connection.close()
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as silent:
        patch.setattr(reached, "CONNECT_SECONDS", 2)
        where = {"HOST": "127.0.0.1", "PORT": str(silent.getsockname()[1]), "OPTIONS": {}}
        given = connection.settings_dict | where
        patch.setattr(connection, "settings_dict", given)
        began = time.monotonic()
        with pytest.raises(DatabaseUnreachable, match="timeout"):
            reach("test_right")
        assert time.monotonic() - began < 30  # twice 2 s, on a busy machine as well
        assert connection.settings_dict is given
        given["OPTIONS"] = {"connect_timeout": 9}
        seen = list[object]()
        patch.setattr(
            connection, "ensure_connection", lambda: seen.append(connection.settings_dict)
        )
        reached.connect(connection)
        assert seen[0] is given
    connection.close()
