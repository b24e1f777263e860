"""G9, G2: a row that is not committed yet is never taken for no row, on MySQL and MariaDB."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, models, transaction
from django.utils import timezone

from apps.integrity import backends, cascade, relations, scan
from apps.integrity.backends.mysql import barriers
from apps.integrity.cascade import first_look, verification
from apps.integrity.models import Cascade, ChildDatabase, Deletion, Suspect
from apps.integrity.report import status
from apps.integrity.scan import repair
from tests.kinds.parents.models import Owner, Person, Word
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune
    from tests.engines.servers.mariadb import MariaDB

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

RIGHT = "test_right"
LEAF = "right.Leaf.owner"


def vendor(alias: str) -> str:
    return connections[alias].vendor


@pytest.fixture
def children_here() -> None:
    if vendor(RIGHT) != "mysql":
        pytest.skip("the children are on another engine")


@pytest.fixture
def parents_here() -> None:
    if vendor("default") != "mysql":
        pytest.skip("the parents are on another engine")


@contextmanager
def session(alias: str) -> Iterator[Any]:
    """A connection of its own, in a transaction that is rolled back unless it is committed."""
    other = connections[alias].copy()
    with closing(other), other.cursor() as cursor:
        cursor.execute("BEGIN")
        yield lambda sql, *params: cursor.execute(sql, params)


def all_due() -> None:
    Cascade.objects.update(due_at=timezone.now())


@pytest.fixture
def dead(converge: Converge) -> int:
    """Return the key of a parent that was deleted, and whose cascades are done."""
    owner = Owner.objects.create()
    Leaf.objects.create(owner=owner)
    dead = owner.pk
    owner.delete()
    converge()
    all_due()
    return dead


def insert(run: Any, key: int) -> None:
    run("INSERT INTO right_leaf (owner_id) VALUES (%s)", key)


def move(run: Any, key: int) -> None:
    run("UPDATE right_leaf SET owner_id = %s WHERE owner_id = 7000000", key)


def upsert(run: Any, key: int) -> None:
    run(
        "INSERT INTO right_leaf (id, owner_id) VALUES (7, %s)"
        " ON DUPLICATE KEY UPDATE owner_id = VALUES (owner_id)",
        key,
    )


def copy(run: Any, key: int) -> None:
    run("INSERT INTO right_leaf (owner_id) SELECT %s FROM right_leaf LIMIT 1", key)


@pytest.mark.usefixtures("children_here")
class TestTheChildsSide:
    """An insert or a move that has been open since before the delete."""

    @pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
    @pytest.mark.parametrize("write", [insert, move, upsert, copy])
    def test_it_is_waited_for(
        self, dead: int, converge: Converge, write: Any, isolation: str
    ) -> None:
        Owner.objects.create(pk=7_000_000)
        Leaf.objects.create(pk=7, owner_id=7_000_000)
        with session(RIGHT) as run:
            run("ROLLBACK")
            run(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
            run("BEGIN")
            write(run, dead)
            for _ in range(2):
                seen = verification.verify(RIGHT)
                assert (seen.verified, seen.reopened) == (0, 0)
                assert "GRANT PROCESS" in seen.held
                all_due()
            assert Deletion.objects.get().verified_at is None
            run("COMMIT")
        all_due()
        seen = verification.verify(RIGHT)
        assert (seen.verified, seen.reopened, seen.held) == (0, 1, "")
        assert converge() == {LEAF: 1}
        all_due()
        assert verification.verify(RIGHT).verified == 1
        assert not Leaf.objects.filter(owner_id=dead).exists()

    def test_a_row_that_a_rollback_brings_back(self, dead: int, converge: Converge) -> None:
        Leaf.objects.create(pk=7, owner_id=dead)
        with session(RIGHT) as run:
            run("DELETE FROM right_leaf WHERE id = 7")
            assert verification.verify(RIGHT).verified == 0
            run("ROLLBACK")
        all_due()
        converge()
        all_due()
        assert verification.verify(RIGHT).verified == 1

    def test_one_that_is_rolled_back(self, dead: int) -> None:
        with session(RIGHT) as run:
            insert(run, dead)
            assert verification.verify(RIGHT).verified == 0
        all_due()
        seen = verification.verify(RIGHT)
        assert (seen.verified, seen.held) == (1, "")
        assert ChildDatabase.objects.get(alias=RIGHT).held_reason == ""

    def test_a_transaction_that_was_prepared_and_forgotten(self, dead: int) -> None:
        with session(RIGHT) as run:
            run("ROLLBACK")
            run("XA START 'order 7'")
            insert(run, dead)
            run("XA END 'order 7'")
            run("XA PREPARE 'order 7'")
        try:
            assert verification.verify(RIGHT).verified == 0
        finally:
            with connections[RIGHT].cursor() as cursor:
                cursor.execute("XA ROLLBACK 'order 7'")
        all_due()
        assert verification.verify(RIGHT).verified == 1

    def test_only_its_own_deletion_waits(self, dead: int, converge: Converge) -> None:
        owners = [Owner.objects.create() for _ in range(40)]
        Owner.objects.filter(pk__in=[owner.pk for owner in owners]).delete()
        converge()
        all_due()
        with session(RIGHT) as run:
            insert(run, dead)
            insert(run, 10**6)  # another key of the same small table
            assert verification.verify(RIGHT).verified == 40
        assert [
            cascade.deletions for cascade in Cascade.objects.filter(database=RIGHT, state="done")
        ] == [
            [Deletion.objects.order_by("pk").first().pk]  # type: ignore[union-attr]
        ]

    def test_what_holds_it_is_named_to_a_role_that_may_see_it(
        self, dead: int, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tests.engines.servers.mariadb import ADMIN, OWNER

        assert barriers.MySQLBarriers().describe_holder(using=RIGHT).endswith("to see it")
        settings = connections[RIGHT].settings_dict
        with session(RIGHT) as run:
            insert(run, dead)
            monkeypatch.setitem(settings, "USER", ADMIN)
            monkeypatch.setitem(settings, "PASSWORD", mariadb.passwords[ADMIN])
            connections[RIGHT].close()
            try:
                seen = verification.verify(RIGHT)
            finally:
                connections[RIGHT].close()
        number = timezone.now().strftime("since %Y-%m-%d %H:")
        assert f"of {OWNER} in database" in seen.held
        assert number in seen.held
        assert "UTC: end it there, or with KILL" in seen.held
        [shown] = [row for row in status.collect_status()["databases"] if row["database"] == RIGHT]
        assert shown["unproven"] == 1
        assert ChildDatabase.objects.get(alias=RIGHT).held_reason == seen.held

    def test_a_first_look_at_many_databases_meets_it(
        self, dead: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(first_look, "DATABASES_MIN", 1)
        Cascade.objects.update(rows=None)
        with session(RIGHT) as run:
            insert(run, dead)
            assert RIGHT in first_look.verify_empty({RIGHT}, using="default")
            assert Cascade.objects.get(database=RIGHT).state == "done"
        assert RIGHT not in first_look.verify_empty({RIGHT}, using="default")

    def test_the_probe_holds_up_nobody(self, dead: int) -> None:
        barrier = backends.barrier_backend(RIGHT)
        field = relations.catalogue().relation(LEAF).field
        Leaf.objects.create(owner_id=dead)
        assert barrier.uncommitted_keys(field, [dead, dead + 1], using=RIGHT) == {dead}
        with session(RIGHT) as run:
            run("SET innodb_lock_wait_timeout = 0")
            run("DELETE FROM right_leaf WHERE owner_id = %s", dead)
            run("INSERT INTO right_leaf (owner_id) VALUES (%s)", dead + 1)
            began = time.monotonic()
            assert barrier.uncommitted_keys(field, [dead, dead + 1], using=RIGHT) == {
                dead,
                dead + 1,
            }
            assert time.monotonic() - began < 10  # a row's lock is waited for 50 s

    def test_the_number_of_probes_is_bounded(
        self, dead: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(barriers, "PROBES_MAX", 5)
        keys = [*range(dead, dead + 400)]
        field = relations.catalogue().relation(LEAF).field
        with session(RIGHT) as run:
            for key in keys[::2]:
                insert(run, key)
            held = backends.barrier_backend(RIGHT).uncommitted_keys(field, keys, using=RIGHT)
        assert held >= {*keys[::2]}

    def test_the_session_keeps_its_isolation(self, dead: int) -> None:
        """A session of another level is under it again after the probe."""
        connection = connections[RIGHT]
        connection.ensure_connection()
        field: models.Field[Any, Any] = Leaf._meta.get_field("owner")
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.isolation_level = "repeatable read"
            try:
                backends.barrier_backend(RIGHT).uncommitted_keys(field, [dead], using=RIGHT)  # type: ignore[arg-type]
                cursor.execute("SELECT @@tx_isolation")
                assert cursor.fetchone() == ("REPEATABLE-READ",)
            finally:
                connection.close()


@pytest.mark.usefixtures("parents_here")
class TestTheParentsSide:
    """A parent whose insert is open is no missing parent."""

    def test_a_suspect_waits_for_it(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001)
        Owner.objects.create()  # an empty table would trip the brake
        Leaf.objects.create(owner_id=10**6)
        cascade.drain(RIGHT)
        scan.scan(RIGHT, labels=[LEAF], seconds=60)
        relation = relations.catalogue().relation(LEAF)
        with session("default") as run:
            run("INSERT INTO parents_owner (id, name) VALUES (%s, '')", 10**6)
            time.sleep(0.01)
            for _ in range(2):
                [seen] = repair.repair([relation])
                assert (seen.confirmed, seen.cancelled, seen.waiting) == ([], 0, 1)
                assert "GRANT PROCESS" in seen.held
            scan.scan(RIGHT, labels=[LEAF], seconds=60)
            assert Suspect.objects.count() == 1
            run("COMMIT")
        [seen] = repair.repair([relation])
        assert (seen.confirmed, seen.cancelled, seen.held) == ([], 1, "")
        assert converge() == {}
        assert Leaf.objects.count() == 1

    def test_one_that_is_rolled_back_is_missing(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001)
        Owner.objects.create()
        Leaf.objects.create(owner_id=10**6)
        cascade.drain(RIGHT)
        scan.scan(RIGHT, labels=[LEAF], seconds=60)
        time.sleep(0.01)
        [seen] = repair.repair([relations.catalogue().relation(LEAF)])
        assert len(seen.confirmed) == 1
        assert converge() == {LEAF: 1}

    @pytest.mark.parametrize(
        ("model", "name", "sql", "key"),
        [
            (Word, "text", "INSERT INTO parents_word VALUES ('ada')", "ada"),
            (Word, "text", "INSERT INTO parents_word VALUES ('ADA')", "ada"),
            (Person, "code", "INSERT INTO parents_person (code) VALUES ('ada')", "ada"),
            (Person, "number", "INSERT INTO parents_person (number) VALUES (4.5)", "4.50"),
        ],
    )
    def test_keys_of_each_kind(
        self, model: type[models.Model], name: str, sql: str, key: Any
    ) -> None:
        field: Any = model._meta.get_field(name)
        with session("default") as run:
            run(sql)
            backend = backends.barrier_backend("default")
            assert backend.uncommitted_keys(field, [key], using="default") == {key}
        with transaction.atomic():
            assert backend.uncommitted_keys(field, [key], using="default") == set()
