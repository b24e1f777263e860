"""G9, G11: a barrier counts on its own server alone, and what holds it is named."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connections, transaction
from django.utils import timezone

from apps.integrity import backends, cascade, relations, scan
from apps.integrity.backends.barriers import Barrier, barriers_from_json, describe_blocker
from apps.integrity.cascade import verification
from apps.integrity.log import proofs
from apps.integrity.models import Cascade, ChildDatabase, Deletion, Suspect
from apps.integrity.report import backlog, receipts, status
from apps.integrity.scan import repair
from sandbox import processes, servers
from sandbox.processes import eventually
from tests import superuser
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

RIGHT = "test_right"
LEAF = "right.Leaf.owner"


def all_due() -> None:
    Cascade.objects.update(due_at=timezone.now())


def right() -> Cascade:
    return Cascade.objects.get(database=RIGHT)


def reason() -> str:
    return ChildDatabase.objects.get(alias=RIGHT).held_reason


def row() -> backlog.DatabaseRow:
    [found] = [each for each in status.collect_status()["databases"] if each["database"] == RIGHT]
    return found


def session(alias: str, **options: Any) -> Any:
    """A session of its own on the server of `alias`."""
    settings = connections[alias].settings_dict
    return psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        dbname=settings["NAME"],
        **options,
    )


@pytest.fixture
def done(converge: Converge) -> Callable[[], None]:
    """Delete a parent with a row in test_right, to the end of its cascade."""

    def run() -> None:
        owner = Owner.objects.create()
        Leaf.objects.create(owner=owner)
        owner.delete()
        converge()
        all_due()

    return run


@contextmanager
def idle(alias: str) -> Iterator[list[str]]:
    """A transaction that has written in the database of `alias`, and does nothing more."""
    with session(alias, application_name="night report") as other:
        other.execute("SELECT pg_current_xact_id()")
        pid, name = other.info.backend_pid, connections[alias].settings_dict["NAME"]
        yield [f"pid {pid} (night report) in database {name}, idle in transaction since 20", " UTC"]


@contextmanager
def prepared(alias: str) -> Iterator[list[str]]:
    """A transaction that was prepared, and forgotten."""
    with session(alias, autocommit=True) as other:
        other.execute("BEGIN")
        other.execute("SELECT pg_current_xact_id()")
        other.execute("PREPARE TRANSACTION 'order 7'")
        try:
            name = connections[alias].settings_dict["NAME"]
            owner = connections[alias].settings_dict["USER"]
            yield [f"'order 7' of {owner} in database {name}, prepared since 20", "ROLLBACK PREPAR"]
        finally:
            other.execute("ROLLBACK PREPARED 'order 7'")


@contextmanager
def elsewhere(alias: str, **settings: Any) -> Iterator[None]:
    """Let an alias point to another server for the length of a block."""
    with pytest.MonkeyPatch.context() as patch:
        connections[alias].close()
        for name, value in settings.items():
            patch.setitem(connections[alias].settings_dict, name, value)
        try:
            yield
        finally:
            connections[alias].close()


class TestWhatHolds:
    """Named until it ends; then all is verified, and it is named no more."""

    @pytest.mark.parametrize(
        "holder",
        [
            pytest.param(lambda: idle(RIGHT), id="an idle writer"),
            pytest.param(lambda: idle("shop_db"), id="in another database of the server"),
            pytest.param(lambda: prepared(RIGHT), id="a prepared transaction"),
            pytest.param(lambda: prepared("shop_db"), id="prepared in another database"),
        ],
    )
    def test_it_is_named(self, done: Callable[[], None], holder: Callable[[], Any]) -> None:
        with holder() as told:
            done()
            seen = verification.verify(RIGHT)
            assert (seen.verified, seen.reopened) == (0, 0)
            assert seen.held == reason()
            assert all(each in seen.held for each in told), seen.held
            assert right().state == "done"
            assert Deletion.objects.get().verified_at is None
        assert eventually(lambda: verification.verify(RIGHT).verified == 1, timeout=30)
        assert reason() == ""

    def test_one_that_only_reads_holds_nothing(self, done: Callable[[], None]) -> None:
        with session(RIGHT) as reader:
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM right_leaf")
            done()
            assert eventually(lambda: verification.verify(RIGHT).verified == 1, timeout=30)

    def test_a_role_that_may_not_see_it_says_so(self) -> None:
        with (
            superuser.session(RIGHT) as owner,
            _role(owner, "plain") as password,
            idle("shop_db") as _,
            elsewhere(RIGHT, USER="plain", PASSWORD=password),
        ):
            blocker = backends.barrier_backend(RIGHT).blocker(using=RIGHT)
        assert blocker is not None
        assert (blocker.application, blocker.state, blocker.since) == ("night report", "", "")
        assert describe_blocker(blocker).endswith("grant pg_read_all_stats to see it")

    def test_no_query_is_ever_asked_for(self, captured: Captured) -> None:
        with captured:
            backends.barrier_backend(RIGHT).blocker(using=RIGHT)
        [sql] = captured[RIGHT]
        assert "query" not in sql

    def test_nobody_is_named_where_nothing_waits(self, done: Callable[[], None]) -> None:
        done()
        assert eventually(lambda: verification.verify(RIGHT).verified == 1, timeout=30)
        with idle(RIGHT):
            assert verification.verify(RIGHT).held == ""
        assert not ChildDatabase.objects.filter(alias=RIGHT).exists()


@contextmanager
def _role(owner: Any, name: str) -> Iterator[str]:
    owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'plain'")
    try:
        yield "plain"
    finally:
        owner.execute(f"DROP ROLE {name}")


def _of_another_server() -> None:
    there = backends.barrier_backend("default").new_barrier(using="default")
    assert there is not None
    Cascade.objects.update(barrier=1, barrier_server=there.server)


class TestAnotherServer:
    """A foreign barrier is taken anew: neither believed nor waited for."""

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(_of_another_server, id="of another server"),
            pytest.param(lambda: Cascade.objects.update(barrier=10**15), id="above all numbers"),
            pytest.param(
                lambda: Cascade.objects.update(barrier=None, barrier_server=""), id="no barrier"
            ),
        ],
    )
    def test_the_barrier_is_taken_anew_and_the_grace_period_begins_again(
        self, done: Callable[[], None], change: Callable[[], Any]
    ) -> None:
        done()
        change()
        before = backends.barrier_backend(RIGHT).new_barrier(using=RIGHT)
        assert verification.verify(RIGHT).verified == 0
        seen = right()
        assert before is not None
        assert seen.state == "done"
        assert seen.barrier > before.number
        assert seen.barrier_server == before.server
        assert 50 < (seen.due_at - timezone.now()).total_seconds() <= 60
        assert (
            receipts.receipts_of("parents.Owner", Deletion.objects.get().key)[0]["deletion"][
                "verified_at"
            ]
            is None
        )
        all_due()
        assert eventually(lambda: verification.verify(RIGHT).verified == 1, timeout=30)

    def test_one_that_another_worker_has_just_taken_is_not_foreign(
        self, done: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done()
        backend = backends.barrier_backend(RIGHT)
        first, taken = backend.horizon(using=RIGHT), list[Barrier]()

        def late(*, using: str) -> Any:
            """Return what the server said before another worker finished the cascade."""
            if taken:
                return type(backend).horizon(backend, using=using)
            for _ in range(3):
                barrier = backend.new_barrier(using=RIGHT)
                assert barrier is not None
            Cascade.objects.filter(database=RIGHT).update(barrier=barrier.number)
            taken.append(barrier)
            return first

        monkeypatch.setattr(backend, "horizon", late)
        verification.verify(RIGHT)
        assert right().barrier == taken[0].number

    def test_no_claim_takes_one_before_its_barrier_is_taken_anew(
        self, done: Callable[[], None]
    ) -> None:
        done()
        _of_another_server()
        now = backends.barrier_backend(RIGHT).horizon(using=RIGHT)
        claim = proofs.due_done(RIGHT, now=now, using="default", limit=9)
        assert claim is None

    def test_one_taken_anew_waits_for_the_transactions_of_the_new_server(
        self, done: Callable[[], None]
    ) -> None:
        done()
        _of_another_server()
        with idle(RIGHT):
            assert verification.verify(RIGHT).verified == 0
            all_due()
            assert "night report" in verification.verify(RIGHT).held
        assert eventually(lambda: verification.verify(RIGHT).verified == 1, timeout=30)

    def test_a_claim_names_the_server_and_stays_on_its_index(
        self, done: Callable[[], None], captured: Captured
    ) -> None:
        done()
        with captured:
            verification.verify(RIGHT)
        claims = [sql for sql in captured["default"] if '"barrier_server" =' in sql]
        assert any("ANY(" not in claim for claim in claims)
        with connections["default"].cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            for claim in claims:
                cursor.execute(f"EXPLAIN {claim}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                # Those that name their rows may as well find them by their ids.
                by_id = "ANY(" in claim and "integrity_cascade_pkey" in plan
                assert by_id or "integrity_cascade_unverified" in plan
            cursor.execute("RESET enable_seqscan")

    def test_suspects_are_fenced_anew(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001)
        Owner.objects.create()
        Leaf.objects.create(owner_id=10**6)
        cascade.drain(RIGHT)
        scan.scan(RIGHT, labels=[LEAF], seconds=60)
        there = backends.barrier_backend("blog_db").new_barrier(using="blog_db")
        assert there is not None
        for wrong in (
            {"default": {"number": 1, "server": there.server}},
            {"default": 1},
            {},
        ):
            Suspect.objects.update(fence=wrong)
            with idle("default"):
                for _ in range(2):
                    [seen] = repair.repair([relations.catalogue().relation(LEAF)])
                    assert (seen.confirmed, seen.waiting) == ([], 1)
                assert "night report" in seen.held
            fence = barriers_from_json(Suspect.objects.get().fence)
            assert fence["default"].server != there.server
            assert fence["default"].number > 1
        assert eventually(
            lambda: repair.repair([relations.catalogue().relation(LEAF)])[0].confirmed != [],
            timeout=30,
        )
        assert converge() == {LEAF: 1}


def test_a_dump_that_is_restored_into_another_server(
    done: Callable[[], None], sandbox: servers.Sandbox
) -> None:
    done()
    server = sandbox.postgres["blog_db"]
    programs = server.installation.program.parent
    there, here = connections["blog_db"].settings_dict, connections[RIGHT].settings_dict
    environment = {**os.environ, "PGPASSWORD": here["PASSWORD"]}

    def call(program: str, of: dict[str, Any], *rest: str, **options: Any) -> bytes:
        address = ["-h", of["HOST"], "-p", str(of["PORT"]), "-U", of["USER"]]
        done = subprocess.run(
            [programs / program, *address, *rest],
            env=environment,
            capture_output=True,
            check=True,
            **options,
        )
        return done.stdout

    dump = call("pg_dump", here, here["NAME"])
    call("createdb", there, "--maintenance-db=postgres", "restored")
    try:
        call("psql", there, "-q", "-d", "restored", input=dump)
        with elsewhere(RIGHT, HOST=there["HOST"], PORT=there["PORT"], NAME="restored"):
            old = right()
            assert verification.verify(RIGHT).verified == 0
            assert right().barrier_server != old.barrier_server
            all_due()
            assert eventually(lambda: verification.verify(RIGHT).verified == 1, timeout=30)
    finally:
        call("dropdb", there, "--force", "restored")


def test_a_standby_that_is_promoted(done: Callable[[], None], sandbox: servers.Sandbox) -> None:
    done()
    primary = sandbox.postgres["shop_db"]
    shared = primary.installation
    standby = servers.PostgreSQL(shared, alias="shop_db")
    standby.data = shared.place / "standby"
    standby.log = shared.logs / "postgresql-standby.log"
    standby.listen_on(processes.free_port())
    backup = shared.process(
        "basebackup",
        shared.program.with_name("pg_basebackup"),
        *("-h", servers.LOOPBACK, "-p", str(primary.port), "-U", servers.USER),
        *("-D", standby.data, "-R", "--checkpoint=fast", "--no-sync"),
    )
    backup.env = shared.passwords.environment()
    processes.finish_all([backup])
    before = backends.barrier_backend(RIGHT).horizon(using=RIGHT)
    assert before is not None
    try:
        standby.start().await_first_start()
        user, password = superuser.credentials(RIGHT)
        with elsewhere(RIGHT, PORT=str(standby.port), USER=user, PASSWORD=password):
            with connections[RIGHT].cursor() as cursor:
                cursor.execute("SELECT pg_promote()")
                cursor.execute("CHECKPOINT")
            now = backends.barrier_backend(RIGHT).horizon(using=RIGHT)
            assert now is not None
            assert now.server != before.server
            (system, timeline, _), (same, before_it, _) = (
                each.server.split("/") for each in (now, before)
            )
            assert (system, int(timeline)) == (same, int(before_it) + 1)
            assert verification.verify(RIGHT).verified == 0
            assert right().barrier_server == now.server
            all_due()
            assert eventually(lambda: verification.verify(RIGHT).verified == 1, timeout=30)
    finally:
        processes.stop_all([standby])


class TestIdentity:
    """Who the server is, in the statement that asks for a number."""

    def test_one_statement_each(self, captured: Captured) -> None:
        form = backends.barrier_backend(RIGHT)
        with captured:
            now = form.horizon(using=RIGHT)
            taken = form.new_barrier(using=RIGHT)
        assert len(captured[RIGHT]) == 2
        assert now is not None
        assert taken is not None
        assert now.server == taken.server
        assert taken.number >= now.following - 1

    def test_each_server_has_its_own(self) -> None:
        aliases = ("default", "blog_db", "shop_db", "test_left", RIGHT)
        found = [backends.barrier_backend(each).new_barrier(using=each) for each in aliases]
        names = [each.server for each in found if each]
        assert len(set(names)) == 3
        assert names[1:3] == names[3:]

    def test_where_the_control_file_is_hidden_the_start_of_the_server_stands_for_it(self) -> None:
        revoked = "EXECUTE ON FUNCTION pg_control_system()"
        form = backends.barrier_backend(RIGHT)
        with superuser.session(RIGHT) as owner, _role(owner, "plain") as password:
            owner.execute(f"REVOKE {revoked} FROM PUBLIC")
            try:
                with elsewhere(RIGHT, USER="plain", PASSWORD=password):
                    first = form.new_barrier(using=RIGHT)
                    with transaction.atomic(using=RIGHT):
                        second = form.new_barrier(using=RIGHT)
                        now = form.horizon(using=RIGHT)
            finally:
                owner.execute(f"GRANT {revoked} TO PUBLIC")
        assert first is not None
        assert second is not None
        assert now is not None
        assert first.server.startswith("started ")
        assert first.server == second.server == now.server
        assert second.number <= now.following

    def test_other_databases_have_none(self) -> None:
        form = backends.barrier_backend("test_lite")
        assert form.horizon(using="test_lite") is None
        assert form.new_barrier(using="test_lite") is None
        assert form.blocker(using="test_lite") is None
