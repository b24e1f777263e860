"""The lag of a real standby: measured, kept within the limit, and unknown where it is hidden."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connections

from apps.blog.models import Post
from apps.integrity import backends, cascade
from apps.integrity.checks import pressure
from apps.integrity.control import grants, sampling
from apps.integrity.models import ChildDatabase
from apps.integrity.queues import dispatch
from apps.integrity.report import status
from sandbox.processes import eventually
from tests import standby, superuser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox import servers
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

BLOG = "blog_db"
RIGHT = "pg_read_all_stats"


@pytest.fixture(scope="module")
def replica(sandbox: servers.Sandbox) -> Iterator[servers.PostgreSQL]:
    with standby.standby(sandbox.postgres[BLOG], "lagging") as server:
        yield server


@contextmanager
def allowed() -> Iterator[None]:
    """Let the role that the tests run as see the replicas."""
    role = connections[BLOG].settings_dict["USER"]
    with closing(superuser.session(BLOG)) as session:
        session.execute(f'GRANT {RIGHT} TO "{role}"'.encode())
        try:
            yield
        finally:
            session.execute(f'REVOKE {RIGHT} FROM "{role}"'.encode())


@contextmanager
def paused(server: servers.PostgreSQL) -> Iterator[None]:
    standby.replay(server, paused=True)
    try:
        yield
    finally:
        standby.replay(server, paused=False)


@pytest.fixture
def limited(tune: Tune) -> None:
    tune(pressure={BLOG: {"max_replica_lag_seconds": 2}})


def recorded(rows: int) -> None:
    user = User.objects.create(username=f"user {time.monotonic_ns()}")
    Post.objects.bulk_create([Post(author=user, title="t", content="c") for _ in range(rows)])
    user.delete()
    dispatch.sweep("default")


def pace() -> dict[str, Any]:
    return ChildDatabase.objects.get(alias=BLOG).pace or {}


def reason() -> str:
    rows = status.collect_status()["databases"]
    return next(one["pace_reason"] for one in rows if one["database"] == BLOG)


def is_caught_up() -> bool:
    replicas = backends.load_backend(BLOG).replicas(using=BLOG) or []
    return bool(replicas) and all(one.written == one.replayed for one in replicas)


@pytest.mark.usefixtures("limited")
@pytest.mark.postgresql
class TestUnknown:
    def test_no_replica(self) -> None:
        if backends.load_backend(BLOG).replicas(using=BLOG):
            pytest.skip("another test's standby is there")
        recorded(5)
        assert cascade.drain(BLOG).finished == 1
        assert reason() == ("slowed to 25 %: no replica is connected to it, so the lag is unknown")

    def test_a_lag_that_the_role_may_not_see_is_not_zero(self, replica: servers.PostgreSQL) -> None:
        recorded(5)
        assert cascade.drain(BLOG).finished == 1
        words = "its role may not see the lag of walreceiver: GRANT pg_read_all_stats to it"
        assert reason() == f"slowed to 25 %: {words}"
        (message,) = pressure.told([BLOG])
        assert words in message.msg

    def test_the_grants_name_the_right(self) -> None:
        assert f'GRANT {RIGHT} TO "worker";' in grants.advice(BLOG, "worker")
        assert RIGHT not in grants.advice("shop_db", "worker")

    def test_a_server_that_cannot_be_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "apps.integrity.backends.postgresql.load.REPLICAS", "SELECT no_such_column"
        )
        (unknown,) = sampling.sample(BLOG).unknown
        assert unknown.startswith("the lag of its replicas cannot be read: ")


@pytest.mark.usefixtures("limited")
@pytest.mark.postgresql
class TestKnown:
    def test_a_replica_that_keeps_up_lets_the_work_become_faster(
        self, replica: servers.PostgreSQL, tune: Tune
    ) -> None:
        with allowed():
            assert eventually(is_caught_up, timeout=30)
            shares = list[float]()
            for _ in range(6):
                recorded(200)
                cascade.drain(BLOG)
                shares.append(pace()["share"])
                time.sleep(1.1)
        assert shares == sorted(shares)
        assert shares[0] <= 0.2  # where the first drain takes long, it is faster at its end
        assert shares[-1] == 1.0

    def test_a_paused_replay_slows_the_work_down_and_its_end_lets_it_go_on(
        self, replica: servers.PostgreSQL
    ) -> None:
        with allowed(), paused(replica):
            shares = list[float]()
            for _ in range(6):
                recorded(300)
                cascade.drain(BLOG, seconds=5)
                shares.append(pace()["share"])
                time.sleep(0.9)
            assert shares[-1] <= 0.05
            assert f"slowed to {round(shares[-1] * 100)} %: replica is" in reason()
            assert pace()["behind"] > 2
        with allowed():
            assert eventually(is_caught_up, timeout=30)
            until = time.monotonic() + 30
            while pace()["share"] < 1 and time.monotonic() < until:
                recorded(50)
                cascade.drain(BLOG)
                time.sleep(0.5)
            assert pace()["share"] == 1
        assert not Post.objects.exists()

    def test_a_delayed_replay_within_the_limit_does_not(self, replica: servers.PostgreSQL) -> None:
        with allowed(), psycopg.connect(replica.url, autocommit=True) as session:
            session.execute("ALTER SYSTEM SET recovery_min_apply_delay = '700ms'")
            session.execute("SELECT pg_reload_conf()")
            try:
                until = time.monotonic() + 40
                shares = list[float]()
                while not (shares and shares[-1] == 1) and time.monotonic() < until:
                    recorded(300)
                    cascade.drain(BLOG)
                    shares.append(pace()["share"])
                assert shares[-1] == 1
                assert pace()["behind"] > 0.2
            finally:
                session.execute("ALTER SYSTEM RESET recovery_min_apply_delay")
                session.execute("SELECT pg_reload_conf()")
