"""PostgreSQL's standbys: as a read alias that lags, in place of a child, and promoted."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections, router
from django.db.models import ProtectedError

from apps.blog.models import Post
from apps.integrity import cascade, scan
from apps.integrity.cascade import verification
from apps.integrity.checks import doctor
from apps.integrity.models import Cascade, FailedAttempt, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.report import status
from sandbox.processes import eventually
from tests.engines.servers.standby import paused, promote, standby
from tests.kinds.left.models import Protecting
from tests.kinds.parents.models import Guarded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.servers import PostgreSQL, Sandbox
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

#: Primary → the alias that reads from its standby.
REPLICAS = {"default": "default_read", "blog_db": "blog_read", "test_left": "left_read"}


class ReadsFromReplicas:
    """As a project's router sends its reads to standbys: also those of this app's models."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return REPLICAS.get(router.db_for_write(model))


@pytest.fixture(scope="module")
def replicas(sandbox: Sandbox, django_db_setup: None) -> Iterator[dict[str, PostgreSQL]]:
    primaries = sandbox.postgres
    with (
        standby(primaries["default"], "parents-read") as parents,
        standby(primaries["blog_db"], "blog-read") as blog,
    ):
        yield {"default": parents, "blog_db": blog, "test_left": blog}


@pytest.fixture
def lagging(committed: None, replicas: dict[str, PostgreSQL]) -> Iterator[None]:
    """All reads that a router sends away see what was there before the test."""
    with pytest.MonkeyPatch.context() as patch:
        for primary, replica in REPLICAS.items():
            settings = connections[primary].settings_dict
            port = str(replicas[primary].port)
            patch.setitem(connections.settings, replica, {**settings, "PORT": port})
        patch.setattr(router, "routers", [ReadsFromReplicas(), *router.routers])
        servers = {id(server): server for server in replicas.values()}
        first, second = servers.values()
        with paused(first), paused(second):
            yield
        for replica in REPLICAS.values():
            connections[replica].close()
            delattr(connections._connections, replica)


@pytest.fixture(autouse=True)
def quick(tune: Tune) -> None:
    tune(grace_seconds=0.001, probe_seconds=0.05)


def author(name: str, posts: int = 3) -> User:
    user = User.objects.create(username=name)
    Post.objects.bulk_create(Post(title="t", content="c", author=user) for _ in range(posts))
    return user


def in_blog(**conditions: Any) -> int:
    """Return the number of posts on the primary."""
    return Post.objects.using("blog_db").filter(**conditions).count()


def verified() -> bool:
    _, due = dispatch.sweep_all()
    for database in sorted(due):
        cascade.drain(database)
    for database in sorted({*rows().values_list("database", flat=True)}):
        verification.verify(database)
    return {*rows().values_list("state", flat=True)} <= {"verified"}


def rows() -> Any:
    return Cascade.objects.using("default")


@pytest.mark.usefixtures("lagging")
class TestReadsFromALaggingReplica:
    def test_the_replica_shows_none_of_it(self) -> None:
        kept = author("kept")
        assert not User.objects.filter(pk=kept.pk).exists()
        assert User.objects.using("default").filter(pk=kept.pk).exists()

    def test_a_scan_takes_no_new_row_for_an_orphan(self) -> None:
        """On the replica of the parents, none of them is there."""
        author("kept")
        for database in ("blog_db", "shop_db"):
            scan.scan(database, mode=scan.Mode(full=True))
        assert not Suspect.objects.using("default").exists()
        assert in_blog() == 3

    def test_a_cascade_looks_its_parents_up_on_the_primary(self) -> None:
        """One is deleted and comes back under its key: on the replica, there never was one."""
        gone, back = author("gone"), author("back")
        key = back.pk
        User.objects.using("default").filter(pk__in=[gone.pk, key]).delete()
        User.objects.using("default").create(pk=key, username="back again")
        dispatch.sweep_all()
        cascade.drain("blog_db")
        assert in_blog() == in_blog(author_id=key) == 3

    def test_verification_counts_on_the_primary(self) -> None:
        """A late row is on the primary of the children only."""
        gone = author("gone")
        key = gone.pk
        User.objects.using("default").filter(pk=key).delete()
        dispatch.sweep_all()
        cascade.drain("blog_db")
        assert in_blog() == 0
        Post.objects.using("blog_db").create(title="late", content="c", author_id=key)
        verification.verify("blog_db")
        states = rows().filter(database="blog_db").values_list("state", flat=True)
        assert "verified" not in states
        assert eventually(verified, timeout=30)
        assert in_blog() == 0

    def test_protect_asks_the_primary(self) -> None:
        guarded, free = Guarded.objects.create(), Guarded.objects.create()
        Protecting.objects.using("test_left").create(guarded_id=guarded.pk)
        with pytest.raises(ProtectedError):
            Guarded.objects.using("default").filter(pk=guarded.pk).delete()
        Guarded.objects.using("default").filter(pk=free.pk).delete()
        assert [*Guarded.objects.using("default").values_list("pk", flat=True)] == [guarded.pk]


@contextmanager
def leading_to(server: PostgreSQL, alias: str) -> Iterator[None]:
    """Let an alias lead to another server during the block."""
    with pytest.MonkeyPatch.context() as patch:
        connections[alias].close()
        patch.setitem(connections[alias].settings_dict, "PORT", str(server.port))
        yield
        connections[alias].close()


def test_a_child_that_leads_to_a_standby_is_named_and_costs_no_attempt(
    replicas: dict[str, PostgreSQL],
) -> None:
    gone, _ = author("gone"), author("kept")
    gone.delete()
    dispatch.sweep_all()
    with leading_to(replicas["blog_db"], "blog_db"):
        drained = cascade.drain("blog_db")
        assert drained.unreachable == "cannot be worked on: it is read-only (25006)"
        found = {each.name: each for each in doctor.examine(None)}
        assert not found["database blog_db"].ok
        assert "read-only" in found["database blog_db"].detail
        [row] = [
            row for row in status.collect_status()["databases"] if row["database"] == "blog_db"
        ]
        assert "read-only" in row["reason"]
        assert {*rows().values_list("attempts", flat=True)} == {0}
    assert eventually(verified, timeout=30)
    assert in_blog() == 3
    assert not FailedAttempt.objects.exists()


def test_a_standby_that_is_promoted_during_a_cascade(sandbox: Sandbox, tune: Tune) -> None:
    """The primary ends as for a switchover; the work goes on, and each row is counted once."""
    tune(grace_seconds=0.001, probe_seconds=0.05, statement_rows=50, statement_rows_max=50)
    users = [author(f"gone {number}", 400) for number in range(10)]
    author("kept", 400)
    keys = [user.pk for user in users]
    over = threading.Event()

    def work() -> None:
        try:
            while not over.is_set():
                cascade.drain("blog_db", seconds=1)
                over.wait(0.02)
        finally:
            connections.close_all()

    with standby(sandbox.postgres["blog_db"], "successor") as successor:
        User.objects.filter(pk__in=keys).delete()
        dispatch.sweep_all()
        worker = threading.Thread(target=work)
        with pytest.MonkeyPatch.context() as patch:
            worker.start()
            try:
                assert eventually(lambda: 400 < in_blog() < 4_000, timeout=60, pause=0.001)
                connections["blog_db"].close()
                with sandbox.postgres["blog_db"].stopped():
                    promote(successor)
                    settings = connections["blog_db"].settings_dict
                    patch.setitem(settings, "PORT", str(successor.port))
                    assert eventually(
                        lambda: in_blog() == 400 or bool(paused_reason()), timeout=60
                    ), status.collect_status()["databases"]
                    assert paused_reason() == ""
                    assert eventually(verified, timeout=60)
                    assert counted() == 4_000
                    assert not FailedAttempt.objects.exists()
                    over.set()
                    worker.join(30)
                    connections["blog_db"].close()
            finally:
                over.set()
                worker.join(30)
                connections["blog_db"].close()


def blog() -> dict[str, Any]:
    """Return what `status` says of blog_db."""
    rows_by_name = {row["database"]: row for row in status.collect_status()["databases"]}
    return {**rows_by_name["blog_db"]}


def paused_reason() -> str:
    """Return why blog_db is paused, or ""."""
    return str(blog()["reason"]) if blog()["paused"] else ""


def counted() -> int:
    """Return how many rows the cascades into blog_db changed, by their receipts."""
    cascades = rows().filter(database="blog_db")
    return sum(sum(each.values()) for row in cascades for each in (row.rows or {}).values())
