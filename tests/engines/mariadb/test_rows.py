"""Statements on rows of the project where they are in MariaDB: exact, bounded, and by an index."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.db import OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from apps.integrity import backends
from apps.integrity.backends import errors, visibility
from apps.integrity.backends.mysql.blocks import BLOCK, FIRST_ROWS
from apps.integrity.backends.transactions import atomic
from sandbox.processes import eventually
from tests.kinds.left.models import Nulled, TokenUse, WordUse
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("committed")

GONE, LIVING, OTHER = 1, 2, 3
LEFT, RIGHT = "test_left", "test_right"
OWNER: Any = Leaf._meta.get_field("owner")
TOKEN: Any = TokenUse._meta.get_field("token")
WORD: Any = WordUse._meta.get_field("word")
GIVER: Any = Nulled._meta.get_field("giver")


@pytest.fixture(autouse=True)
def _on_mariadb(committed: None) -> None:
    if connections[LEFT].vendor != "mysql":
        pytest.skip("the children are in PostgreSQL")
    for model, using in ((Leaf, RIGHT), (TokenUse, LEFT)):
        visibility.require_whole(using, model)  # views are listed once a minute


def leaves(**wanted: int) -> list[Leaf]:
    made = [Leaf(owner_id=int(key[1:])) for key, number in wanted.items() for _ in range(number)]
    return Leaf.objects.bulk_create(made)


def left() -> Counter[int]:
    return Counter(Leaf.objects.values_list("owner_id", flat=True))


def delete(
    keys: list[Any], limit: int = 100, *, skip_locked: bool = False, field: Any = OWNER
) -> Any:
    rows, using = (
        backends.row_backend(RIGHT if field is OWNER else LEFT),
        RIGHT if field is OWNER else LEFT,
    )
    return rows.delete_rows(field, keys, limit, using=using, skip_locked=skip_locked)


@contextmanager
def statements(using: str = RIGHT) -> Iterator[list[str]]:
    connections[using].ensure_connection()
    found = list[str]()
    with CaptureQueriesContext(connections[using]) as queries:
        yield found
    found += [query["sql"] for query in queries.captured_queries]


@contextmanager
def step(using: str = RIGHT, lock_seconds: float = 1.0) -> Iterator[Any]:
    rows = backends.row_backend(using)
    with rows.own_session(using=using), atomic(using):
        rows.begin_step(lock_seconds=lock_seconds, using=using)
        yield rows


class TestDeletes:
    def test_of_several_keys_are_counted_by_key_in_one_statement(self) -> None:
        leaves(k1=3, k2=1, k3=2)
        with statements() as sent:
            gone = delete([1, 2, 99])
        assert (gone, gone.whole) == ({1: 3, 2: 1}, True)
        assert left() == {3: 2}
        assert len(sent) == 1
        assert sent[0].endswith(" LIMIT 100 RETURNING `right_leaf`.`owner_id`")

    def test_of_one_key_return_no_rows(self) -> None:
        leaves(k1=3, k2=1)
        with statements() as sent:
            assert delete([1]) == {1: 3}
        assert len(sent) == 1
        assert "RETURNING" not in sent[0]

    def test_touch_at_most_the_limit(self) -> None:
        leaves(k1=3, k2=3)
        first = delete([1, 2], limit=4)
        assert (first.total(), first.whole) == (4, False)
        assert first + delete([1, 2]) == {1: 3, 2: 3}

    def test_take_more_keys_than_a_list_holds(self) -> None:
        """By the index: of one long list the server makes a join, and reads the table."""
        leaves(**{f"k{n}": 1 for n in range(1, 2_001)}, k5000=1)
        leaves(k6000=10_000)
        with statements() as sent:
            assert delete([*range(1, 2_001)], limit=1_950).total() == 1_950
            assert (
                backends.row_backend(RIGHT).delete_total(
                    OWNER, [*range(1, 2_001)], 1_950, using=RIGHT, skip_locked=False
                )
                == 50
            )
        assert left() == {5000: 1, 6000: 10_000}
        sent = [sql for sql in sent if "DELETE" in sql]  # views are listed once a minute
        assert len(sent) == 2
        with connections[RIGHT].cursor() as cursor:
            cursor.execute(sent[1].replace("FOR DELETE", "FOR EXPLAIN DELETE"))
            names = [column[0] for column in cursor.description]
            plan = dict(zip(names, cursor.fetchone(), strict=True))
        assert plan["type"] == "range"
        assert "owner_id" in plan["key"]

    def test_of_uuids_return_them_as_they_were_asked_for(self) -> None:
        keys = [uuid.uuid4() for _ in range(3)]
        using = connections[LEFT]
        TokenUse.objects.bulk_create(TokenUse(token_id=key) for key in keys for _ in range(2))
        asked = [TOKEN.get_db_prep_value(key, using) for key in keys[:2]]
        assert delete(asked, field=TOKEN) == dict.fromkeys(asked, 2)
        assert [*TokenUse.objects.values_list("token_id", flat=True)] == [keys[2]] * 2

    def test_of_nothing_are_refused(self) -> None:
        leaves(k1=1)
        for skip_locked in (False, True):
            with pytest.raises(ValueError, match="without keys"):
                delete([], skip_locked=skip_locked)
        assert left() == {1: 1}


class Held:
    """Another session of the same server, in a transaction."""

    def __init__(self, using: str, *sql: str) -> None:
        self.connection = connections[using].copy()
        self.connection.set_autocommit(False)
        for statement in sql:
            self.run(statement)

    def run(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.rollback()
        self.connection.close()


def hold(pk: int) -> Held:
    return Held(RIGHT, f"SELECT id FROM right_leaf WHERE id = {pk} FOR UPDATE")  # noqa: S608


class TestLockedRows:
    def test_of_other_keys_hold_up_no_delete(self) -> None:
        *_, other = leaves(k1=5, k2=1)
        with hold(other.pk), step():
            assert delete([1]) == {1: 5}
            assert delete([1, 3]) == {}

    def test_nor_where_locked_rows_are_skipped(self) -> None:
        *_, mine, other = leaves(k1=5, k2=1)
        with (
            hold(other.pk),
            hold(mine.pk),
            step(),
        ):
            assert delete([1], skip_locked=True) == {1: 4}
        assert left() == {1: 1, 2: 1}

    def test_nor_an_update(self) -> None:
        giver = [Nulled.objects.create(giver_id=key) for key in (1, 1, 1, 2)]
        update = partial(backends.row_backend(LEFT).update_rows, GIVER, [1], None, 9, using=LEFT)
        sql = f"SELECT id FROM left_nulled WHERE id = {giver[-1].pk} FOR UPDATE"  # noqa: S608
        with Held(LEFT, sql), step(LEFT):
            assert update(skip_locked=False) == {1: 3}

    def test_are_waited_for_no_longer_than_asked_and_the_session_is_as_before(self) -> None:
        (mine,) = leaves(k1=1)
        with connections[RIGHT].cursor() as cursor:
            cursor.execute(
                "SET SESSION innodb_lock_wait_timeout = 37, SESSION lock_wait_timeout = 38"
            )
        with hold(mine.pk), pytest.raises(OperationalError) as raised, step(lock_seconds=0.2):
            delete([1])
        assert errors.trouble_of(raised.value, "mysql") is errors.Trouble.CONTENTION
        assert "1205" in errors.described(raised.value, "mysql")
        assert waits() == (37, 38)
        with step():
            assert waits() == (1, 1)
        assert waits() == (37, 38)
        assert left() == {1: 1}

    def test_a_table_that_ddl_holds_is_contention_too(self) -> None:
        leaves(k1=1)
        with Held(RIGHT, "LOCK TABLES right_leaf WRITE") as held:
            with pytest.raises(OperationalError) as raised, step(lock_seconds=0.2):
                delete([1])
            held.run("UNLOCK TABLES")
        assert errors.trouble_of(raised.value, "mysql") is errors.Trouble.CONTENTION


def waits() -> tuple[int, int]:
    with connections[RIGHT].cursor() as cursor:
        cursor.execute("SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout")
        return tuple(cursor.fetchone())


def somebody_waits(using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.processlist"
            " WHERE state IN ('Updating', 'Sending data', 'Deleting from main table', 'Statistics')"
            " AND time_ms > 200 AND id <> CONNECTION_ID()"
        )
        return bool(cursor.fetchone()[0])


def by_blocks(keys: list[Any]) -> Any:
    pk = Leaf.objects.order_by("pk")[0].pk // BLOCK
    gone = backends.row_backend(RIGHT).delete_in_blocks(
        OWNER, keys[0], range(pk, pk + 9), 9, pks=False, using=RIGHT
    )
    assert gone
    return gone.numbers


def update(keys: list[Any]) -> Any:
    rows = backends.row_backend(RIGHT)
    return rows.update_rows(OWNER, keys, OTHER, 9, using=RIGHT, skip_locked=False)


def of_several(keys: list[Any]) -> Any:
    return delete([*keys, 98, 99])


class TestRowsThatMoveMeanwhile:
    @pytest.mark.parametrize("change", [delete, of_several, by_blocks, update])
    def test_to_a_living_parent_are_left_alone(self, change: Callable[..., Any]) -> None:
        moved, stays = leaves(k1=2)
        move = f"UPDATE right_leaf SET owner_id = {LIVING} WHERE id = {moved.pk}"  # noqa: S608
        found = list[Any]()

        def work() -> None:
            try:
                with step(lock_seconds=30):
                    found.append(change([GONE]))
            finally:
                connections.close_all()

        thread = threading.Thread(target=work)
        with Held(RIGHT, move) as held:
            thread.start()
            assert eventually(lambda: somebody_waits(RIGHT), timeout=30)
            held.connection.commit()
        thread.join()
        assert found == [{GONE: 1}]
        assert Leaf.objects.get(pk=moved.pk).owner_id == LIVING
        assert not Leaf.objects.filter(pk=stays.pk, owner_id=GONE).exists()


class TestRepeatableRead:
    """A project may set it; a step must see current rows all the same."""

    @pytest.fixture(autouse=True)
    def _repeatable(self, _on_mariadb: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        connections[RIGHT].close()
        monkeypatch.setitem(
            connections[RIGHT].settings_dict, "OPTIONS", {"isolation_level": "repeatable read"}
        )
        yield
        connections[RIGHT].close()

    def test_a_step_sees_what_was_committed_since_it_began(self) -> None:
        leaves(k1=1)
        other = connections[RIGHT].copy()
        with step() as rows:
            assert rows.keys_with_rows(OWNER, [1, 2], using=RIGHT) == {1}
            with other.cursor() as cursor:
                cursor.execute("INSERT INTO right_leaf (owner_id) VALUES (2)")
            assert rows.keys_with_rows(OWNER, [1, 2], using=RIGHT) == {1, 2}
        other.close()
        with connections[RIGHT].cursor() as cursor, transaction.atomic(using=RIGHT):
            cursor.execute("SELECT @@tx_isolation")
            assert cursor.fetchone()[0] == "REPEATABLE-READ"

    def test_it_locks_no_gap(self) -> None:
        leaves(k1=1, k5=1)
        other = connections[RIGHT].copy()
        with step(), other.cursor() as cursor:
            assert delete([2, 3]) == {}
            cursor.execute("SET innodb_lock_wait_timeout = 1")
            cursor.execute("INSERT INTO right_leaf (owner_id) VALUES (2)")
        other.close()
        assert left() == {1: 1, 2: 1, 5: 1}


class TestBlocks:
    def test_a_key_with_many_rows_goes_by_primary_keys(self) -> None:
        leaves(k1=1, k2=FIRST_ROWS, k3=1)
        rows = backends.row_backend(RIGHT)
        assert rows.dense_blocks(OWNER, 1, using=RIGHT) is None
        dense = rows.dense_blocks(OWNER, 2, using=RIGHT)
        assert dense
        assert dense.rows_per_block == pytest.approx(BLOCK)
        gone = rows.delete_in_blocks(OWNER, 2, dense.blocks, 2_000, pks=False, using=RIGHT)
        assert gone
        assert gone.numbers == {2: FIRST_ROWS}
        assert left() == {1: 1, 3: 1}

    def test_they_touch_at_most_the_limit_and_no_other_block(self) -> None:
        leaves(k2=FIRST_ROWS)
        rows = backends.row_backend(RIGHT)
        dense = rows.dense_blocks(OWNER, 2, using=RIGHT)
        assert dense
        first = dense.blocks[1:2]
        gone = rows.delete_in_blocks(OWNER, 2, first, 10, pks=False, using=RIGHT)
        assert gone
        assert gone.numbers == {2: 10}
        with transaction.atomic(using=RIGHT):
            locked = rows.lock_in_blocks(OWNER, 2, first, 1_000, using=RIGHT)
        assert len(locked) == BLOCK - 10
        assert {pk // BLOCK for pk in locked} == {dense.blocks.start + 1}

    def test_rows_far_from_each_other_go_by_an_index(self) -> None:
        Leaf.objects.bulk_create(
            Leaf(pk=1_000_000 * n, owner_id=2) for n in range(1, FIRST_ROWS + 2)
        )
        assert backends.row_backend(RIGHT).dense_blocks(OWNER, 2, using=RIGHT) is None


class TestTriggers:
    @contextmanager
    def trigger(self, when: str, body: str) -> Iterator[None]:
        with connections[RIGHT].cursor() as cursor:
            cursor.execute(f"CREATE TRIGGER kept BEFORE {when} ON right_leaf FOR EACH ROW {body}")
            yield
            cursor.execute("DROP TRIGGER kept")

    def test_one_that_updates_without_an_index_still_runs(self) -> None:
        leaves(k1=2)
        with self.trigger("DELETE", "UPDATE right_locker SET person_id = person_id"):
            assert delete([1]) == {1: 2}
            leaves(k1=2)
            assert delete([1], skip_locked=True) == {1: 2}
        assert left() == {}

    def test_one_that_refuses_says_so(self) -> None:
        leaves(k1=2)
        refuse = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ann@example.org stays'"
        with self.trigger("DELETE", refuse), pytest.raises(OperationalError) as raised:
            delete([1])
        reason = errors.described(raised.value, "mysql")
        assert "1644: a trigger raised an error" in reason
        assert "ann" not in reason
        assert errors.trouble_of(raised.value, "mysql") is errors.Trouble.REFUSED

    def test_a_key_that_one_keeps_does_not_count_as_changed(self) -> None:
        kept, _ = leaves(k1=2)
        with self.trigger("UPDATE", f"SET NEW.owner_id = IF(OLD.id = {kept.pk}, 1, NEW.owner_id)"):
            assert update([1]) == {1: 1}
        assert left() == {1: 1, OTHER: 1}


class TestReads:
    def test_are_one_statement_for_a_thousand_keys(self) -> None:
        leaves(k1=3, k2=1, k3=2)
        rows, keys = backends.row_backend(RIGHT), [*range(1, 1_001)]
        rows.keys_with_rows(OWNER, keys, using=RIGHT)  # the list of views is known for a minute
        with statements() as sent:
            assert rows.keys_with_rows(OWNER, keys, using=RIGHT) == {1, 2, 3}
            assert rows.count_rows(OWNER, keys, using=RIGHT) == 6
        assert len(sent) == 2

    def test_count_each_key_up_to_a_limit(self) -> None:
        leaves(k1=5, k2=1)
        rows, keys = backends.row_backend(RIGHT), [1, 2, *range(10, 60)]
        with statements() as sent:
            assert rows.count_by_key(OWNER, keys, 3, using=RIGHT) == {1: 3, 2: 1}
        assert len(sent) == 1

    def test_estimate_from_the_servers_statistics(self) -> None:
        leaves(k1=50)
        with connections[RIGHT].cursor() as cursor:
            cursor.execute("ANALYZE TABLE right_leaf")
            cursor.fetchall()
        rows = backends.row_backend(RIGHT)
        assert rows.estimate_rows(Leaf, using=RIGHT) == pytest.approx(50, abs=5)
        assert rows.number_of_rows(Leaf, 1_000, using=RIGHT) == 50
        assert rows.number_of_rows(Leaf, 1, using=RIGHT) == rows.estimate_rows(Leaf, using=RIGHT)
