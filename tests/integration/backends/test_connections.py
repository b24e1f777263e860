"""Connections of a worker's process are bounded, and a server that has none left is named."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

from apps.integrity import cascade
from apps.integrity.backends.connections import make_room, reach, silence
from apps.integrity.backends.server_limits import max_connections
from apps.integrity.checks.doctor import verdicts
from apps.integrity.exceptions.crowded import TooManyConnections
from apps.integrity.models import Cascade, ChildDatabase
from apps.integrity.queues import dispatch
from sandbox import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("committed")

CHILDREN = ("blog_db", "shop_db", "test_left", "test_right")


def opened() -> list[str]:
    known = connections.all(initialized_only=True)
    return [each.alias for each in known if each.connection is not None]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.PostgreSQL]:
    """A server that takes six connections, three of them for superusers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"max_connections": "6", "max_wal_senders": "0"}.items():
            patch.setitem(servers.POSTGRESQL_SETTINGS, name, value)
        installation = servers.Installation.under(tmp_path_factory.mktemp("small"))
        servers._initialise(installation)
        server = servers.PostgreSQL(installation, alias="shop_db")
        server.start()
        try:
            server.await_first_start()
            yield server
        finally:
            server.stop()


@contextmanager
def pointed_at(alias: str, server: servers.PostgreSQL) -> Iterator[None]:
    connections[alias].close()
    place = {"HOST": servers.LOOPBACK, "PORT": str(server.port), "NAME": "postgres"}
    login = {"USER": servers.USER, "PASSWORD": server.installation.passwords.superuser}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (place | login).items():
            patch.setitem(connections[alias].settings_dict, name, value)
        try:
            yield
        finally:
            connections[alias].close()


class TestMakeRoom:
    @pytest.fixture(autouse=True)
    def _all_open(self, committed: None) -> Iterator[None]:
        for alias in CHILDREN:
            make_room(alias, CHILDREN, len(CHILDREN))
            connections[alias].ensure_connection()
        yield
        connections.close_all()

    def test_the_one_that_was_not_used_for_longest_is_closed(self) -> None:
        make_room("blog_db", CHILDREN, 4)
        assert {*opened()} >= {*CHILDREN}
        make_room("test_lite", CHILDREN, 3)
        assert {*CHILDREN}.intersection(opened()) == {"test_right", "blog_db"}

    def test_one_in_a_transaction_stays(self) -> None:
        with transaction.atomic(using="blog_db"), transaction.atomic(using="shop_db"):
            make_room("test_right", CHILDREN, 1)
            assert {*CHILDREN}.intersection(opened()) == {"blog_db", "shop_db", "test_right"}

    def test_others_stay(self) -> None:
        connections["default"].ensure_connection()
        make_room("test_right", ["blog_db"], 1)
        assert {*opened()} >= {*CHILDREN, "default"} - {"blog_db"}
        assert "blog_db" not in opened()


def test_a_session_that_was_closed_below_django_is_replaced() -> None:
    """It had just answered, so it is not asked again; but it has no socket any more."""
    reach("test_left")
    connections["test_left"].connection.close()
    reach("test_left", fresh=False)
    assert connections["test_left"].is_usable()


class TestASessionInUse:
    """A worker's process keeps its sessions, and Django would check each of them in each task."""

    @pytest.fixture(autouse=True)
    def _checked(self, committed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        connections["test_left"].close()
        monkeypatch.setitem(
            connections["test_left"].settings_dict, "CONN_HEALTH_CHECKS", value=True
        )
        reach("test_left")
        connections["test_left"].close_if_unusable_or_obsolete()  # before each task
        yield
        connections["test_left"].close()

    def pid(self) -> int:
        with connections["test_left"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    def test_it_is_asked_by_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connection, asked = connections["test_left"], list[str]()
        usable = type(connection).is_usable
        monkeypatch.setattr(
            type(connection), "is_usable", lambda self: asked.append(self.alias) or usable(self)
        )
        reach("test_left", fresh=False)
        self.pid()
        assert asked == []
        reach("test_left")
        self.pid()
        assert asked == ["test_left"]

    def test_one_that_the_server_has_ended_is_replaced(self) -> None:
        ended = self.pid()
        other = connections["test_left"].copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [ended])
        other.close()
        connections["test_left"].close_if_unusable_or_obsolete()
        reach("test_left", fresh=False)
        assert self.pid() != ended


class TestAServerWithoutFreeConnections:
    @pytest.fixture
    def crowded(self, small: servers.PostgreSQL) -> Iterator[list[Any]]:
        """All connections of the server that `shop_db` is at."""
        with pointed_at("shop_db", small):
            others = list[Any]()
            try:
                for _ in range(6):
                    others.append(connections["shop_db"].copy())
                    others[-1].ensure_connection()
                yield others
            finally:
                for other in others:
                    other.close()

    def test_it_is_told_apart_from_one_that_is_away(
        self, crowded: list[Any], small: servers.PostgreSQL
    ) -> None:
        with pytest.raises(TooManyConnections):
            reach("shop_db")
        reason = silence("shop_db")
        assert reason.startswith("takes no more connections: max_connections of localhost:")
        assert str(small.port) in reason
        assert "child_connections_max" in reason

    def test_its_work_waits_uncounted_and_heals(
        self, crowded: list[Any], converge: Callable[[], Any]
    ) -> None:
        User.objects.create(pk=9, username="ann").delete()
        list(dispatch.fan_out("default"))
        assert cascade.drain("shop_db").unreachable.startswith("takes no more connections")
        row = Cascade.objects.get(database="shop_db")
        assert (row.state, row.attempts) == ("pending", 0)
        assert ChildDatabase.objects.get(alias="shop_db").reason.startswith("takes no more")

    def test_the_doctor_knows_the_limit(self, small: servers.PostgreSQL) -> None:
        with pointed_at("shop_db", small):
            assert max_connections("shop_db") == 6
        assert max_connections("test_lite") is None


@pytest.mark.parametrize(("wanted", "advice"), [(6, False), (7, True)])
def test_the_doctor_advises(wanted: int, advice: bool) -> None:  # noqa: FBT001
    check = verdicts.connections("localhost:5432", wanted, 3, 6)
    assert check.ok
    assert ("child_connections_max" in check.detail) is advice
