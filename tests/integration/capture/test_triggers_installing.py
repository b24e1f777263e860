# ruff: noqa: S608 (names come from Model._meta)
"""Installing triggers on a site in use: nobody queues, and the functions get the right owner."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError
from django.db import connection, connections, transaction

from apps.integrity.backends.postgresql.triggers.attempts import TRIES
from apps.integrity.backends.postgresql.triggers.functions import CAPTURE
from apps.integrity.capture import triggers
from apps.integrity.exceptions import TablesHeld, TriggersRefused
from apps.integrity.management.exit_codes import ExitCode
from tests import superuser
from tests.kinds.parents.models import Owner, Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

OWNER, WORD = Owner._meta.db_table, Word._meta.db_table
LABELS = ["parents.Owner", "parents.Word"]
LOCK_SECONDS = 0.5
#: The role that installs where no superuser does.
PLAIN = "integrity_plain"
#: Another role that may only add to the log.
SCRIBE = "integrity_scribe"


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


def owner_of_functions() -> set[str]:
    found = sql(
        "SELECT DISTINCT rolname FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner"
        r" WHERE proname LIKE 'integrity\_capture%' OR proname LIKE 'integrity\_refuse%'"
    )
    return {name for (name,) in found}


def remove_scribe(tune: Tune) -> None:
    tune(capture="signal", log_role=SCRIBE)
    triggers.install("default")
    assert owner_of_functions() == set()
    sql(f"DROP OWNED BY {SCRIBE} CASCADE")
    sql(f"DROP ROLE {SCRIBE}")


@pytest.fixture(autouse=True)
def _as_a_superuser(committed: None) -> Iterator[None]:
    """Who installs may make roles, unless a test is about one who may not."""
    with superuser.logged_in("default"):
        yield


@pytest.fixture
def asked(tune: Tune, _as_a_superuser: None) -> Iterator[None]:
    """The settings ask for triggers that are not there yet."""
    tune(capture=dict.fromkeys(LABELS, "both"), lock_seconds=LOCK_SECONDS)
    yield
    tune(capture="signal")
    assert not triggers.install("default").held


class Elsewhere:
    """A session of its own in another thread, which does one statement and waits."""

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self.done, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with transaction.atomic(), connections["default"].cursor() as cursor:
                cursor.execute(self.statement)
                self.done.set()
                self.over.wait(30)
        finally:
            connections.close_all()

    def end(self) -> None:
        self.over.set()
        self.thread.join()

    def __enter__(self) -> Self:
        self.thread.start()
        assert self.done.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def written(statement: str) -> float:
    """How long another session takes for a statement."""

    def run() -> None:
        with Elsewhere(statement):
            pass

    started = time.monotonic()
    run()
    return time.monotonic() - started


@pytest.mark.usefixtures("asked")
class TestABusyTable:
    HOLD = f"DELETE FROM {OWNER} WHERE id = 0"

    def test_it_tries_again_and_others_write_meanwhile(self) -> None:
        waits: list[float] = []
        told: list[str] = []

        def pause(seconds: float) -> None:
            waits.append(seconds)
            assert written(f"DELETE FROM {OWNER} WHERE id = 1") < LOCK_SECONDS
            if len(waits) == 3:
                holder.end()

        with Elsewhere(self.HOLD) as holder:
            done = triggers.install("default", tell=told.append, pause=pause)
        assert (done.held, sorted(done.installed)) == ((), LABELS)
        assert triggers.missing("default") == ()
        assert len(waits) == len(told) == 3
        assert all(0 < each <= LOCK_SECONDS for each in waits)
        assert "parents_owner" in told[0]
        assert "pid " in told[0]

    def test_a_write_waits_no_longer_than_a_try(self) -> None:
        """Writes come all the time, and each would queue behind the lock that is waited for."""
        slowest: list[float] = []
        stop = threading.Event()

        def write() -> None:
            try:
                while not stop.is_set():
                    started = time.monotonic()
                    with connections["default"].cursor() as cursor:
                        cursor.execute(f"DELETE FROM {OWNER} WHERE id = 1")
                    slowest.append(time.monotonic() - started)
            finally:
                connections.close_all()

        writer = threading.Thread(target=write)
        with Elsewhere(self.HOLD):
            writer.start()
            done = triggers.install("default", tell=lambda _: None, pause=lambda _: None)
            stop.set()
            writer.join()
        assert [each.table for each in done.held] == ['"public"."parents_owner"']
        assert max(slowest) < LOCK_SECONDS

    def test_after_the_last_try_it_names_the_table_the_holder_and_the_remedy(self) -> None:
        pauses: list[float] = []
        with Elsewhere(self.HOLD):
            (pid,) = {
                pid
                for (pid,) in sql(
                    "SELECT pid FROM pg_locks WHERE relation = %s::regclass"
                    " AND mode = 'RowExclusiveLock'",
                    OWNER,
                )
            }
            done = triggers.install("default", tell=lambda _: None, pause=pauses.append)
            assert triggers.missing("default") == ("parents.Owner",)
        (held,) = done.held
        assert f"pid {pid} (" in str(held)
        assert "idle in transaction" in str(held)
        assert "since 20" in str(held)
        assert "pg_terminate_backend" in str(held)
        assert len(pauses) == TRIES - 1

    def test_a_prepared_transaction_is_named(self) -> None:
        sql(f"BEGIN; {self.HOLD}; PREPARE TRANSACTION 'forgotten'")
        try:
            done = triggers.install("default", tell=lambda _: None, pause=lambda _: None)
        finally:
            sql("ROLLBACK PREPARED 'forgotten'")
        assert "the prepared transaction forgotten (since 20" in str(done.held[0])

    def test_the_command_says_so_by_its_exit_code(self, tune: Tune) -> None:
        tune(capture=dict.fromkeys(LABELS, "both"), lock_seconds=0.02)
        out, err = io.StringIO(), io.StringIO()
        with Elsewhere(self.HOLD), pytest.raises(SystemExit) as ended:
            call_command("integrity", "install-triggers", "--json", stdout=out, stderr=err)
        assert ended.value.code == ExitCode.INCOMPLETE
        document = json.loads(out.getvalue())
        assert document["exit_reason"] == "incomplete"
        (held,) = document["databases"][0]["held"]
        assert held["table"] == '"public"."parents_owner"'
        assert "pid " in held["reason"]
        assert f"try 1 of {TRIES}" in err.getvalue()

    def test_migrate_fails_with_the_same_words(self, tune: Tune) -> None:
        tune(capture=dict.fromkeys(LABELS, "both"), lock_seconds=0.02)
        with (
            Elsewhere(self.HOLD),
            pytest.raises(TablesHeld, match=r"parents_owner.*held by pid"),
        ):
            call_command("migrate", "integrity", verbosity=0)
        assert issubclass(TablesHeld, CommandError)  # a line and an exit code, and no traceback

    def test_inside_a_transaction_there_is_one_try_and_its_settings_stay(self) -> None:
        pauses: list[float] = []
        with Elsewhere(self.HOLD), transaction.atomic():
            sql("SET LOCAL lock_timeout = '7s'")
            done = triggers.install("default", pause=pauses.append)
            assert sql("SHOW lock_timeout") == [("7s",)]
            assert [each.table for each in done.held] == ['"public"."parents_owner"']
            transaction.set_rollback(True)
        assert pauses == []

    def test_removing_one_waits_no_longer(self, tune: Tune) -> None:
        triggers.install("default")
        tune(capture="signal", lock_seconds=0.02)
        with Elsewhere(f"SELECT 1 FROM {OWNER}"):
            done = triggers.install("default", tell=lambda _: None, pause=lambda _: None)
        assert [each.table for each in done.held] == ['"public"."parents_owner"']

    def test_a_role_that_another_installation_is_making_is_waited_for(self, tune: Tune) -> None:
        def pause(_: float) -> None:
            other.end()

        tune(capture={"parents.Owner": "both"}, lock_seconds=LOCK_SECONDS, log_role=SCRIBE)
        try:
            with Elsewhere(f"CREATE ROLE {SCRIBE} NOLOGIN") as other:
                done = triggers.install("default", tell=lambda _: None, pause=pause)
            assert done.held == ()
            assert owner_of_functions() == {SCRIBE}
        finally:
            remove_scribe(tune)

    def test_two_at_once_do_it_once(self, at_once: Callable[..., list[Any]]) -> None:
        first, second = at_once(
            lambda: triggers.install("default"), lambda: triggers.install("default")
        )
        assert (first.held, second.held) == ((), ())
        assert triggers.faults("default") == []


def test_migrate_stops_at_a_missing_trigger_and_names_the_remedy(asked: None) -> None:
    with pytest.raises(SystemCheckError, match="install-triggers --database default"):
        call_command("migrate", "integrity", verbosity=0, skip_checks=False)


@contextmanager
def plain(*statements: str, options: str = "") -> Iterator[None]:
    """Act as a role that is no superuser, after a superuser's statements; then undo everything."""
    with transaction.atomic():
        sql("DROP OWNED BY integrity_log")
        sql("ALTER ROLE integrity_log RENAME TO integrity_log_of_others")
        sql(f"CREATE ROLE {PLAIN} {options}")
        sql("ALTER TABLE integrity_deletion OWNER TO CURRENT_USER")
        for table in (OWNER, WORD):
            sql(f"ALTER TABLE {table} OWNER TO {PLAIN}")
        for statement in statements:
            sql(statement)
        sql(f"SET LOCAL ROLE {PLAIN}")
        yield
        sql("RESET ROLE")
        transaction.set_rollback(True)


OWNS_SCHEMA = f"ALTER SCHEMA public OWNER TO {PLAIN}"
OWNS_LOG = f"ALTER TABLE integrity_deletion OWNER TO {PLAIN}"
ROLE = f"CREATE ROLE integrity_log NOLOGIN; GRANT integrity_log TO {PLAIN}"


@pytest.mark.usefixtures("asked")
class TestWhoseRightsTheyHave:
    @pytest.fixture(autouse=True)
    def role_is_there(self, asked: None) -> None:
        if not sql("SELECT 1 FROM pg_roles WHERE rolname = 'integrity_log'"):
            sql("CREATE ROLE integrity_log NOLOGIN")

    @pytest.mark.parametrize(
        ("statements", "options", "owner"),
        [
            ([OWNS_SCHEMA, OWNS_LOG], "CREATEROLE", "integrity_log"),
            ([OWNS_SCHEMA, OWNS_LOG, ROLE], "", "integrity_log"),
            ([OWNS_SCHEMA, OWNS_LOG], "", PLAIN),
            # The role is there, and may not be used.
            ([OWNS_SCHEMA, OWNS_LOG, "CREATE ROLE integrity_log NOLOGIN"], "", PLAIN),
            # Nothing may be granted on the schema, so that it cannot own a function there.
            ([f"GRANT CREATE ON SCHEMA public TO {PLAIN}", OWNS_LOG, ROLE], "", PLAIN),
        ],
    )
    def test_the_narrowest_that_can_be_had(
        self, statements: list[str], options: str, owner: str
    ) -> None:
        with plain(*statements, options=options):
            done = triggers.install("default")
            assert (done.held, sorted(done.installed)) == ((), LABELS)
            assert owner_of_functions() == {owner}
            assert triggers.change("default").sql == ()
            assert triggers.faults("default") == []
            sql(f"INSERT INTO {WORD} VALUES ('w')")
            sql(f"DELETE FROM {WORD}")
            sql("RESET ROLE")
            assert sql("SELECT key, source FROM integrity_deletion") == [("w", "trigger")]
            if owner == "integrity_log":
                # What was lent to hand the functions over was taken back.
                (rights,) = sql(
                    "SELECT has_schema_privilege('integrity_log', 'public', 'CREATE'),"
                    " has_table_privilege('integrity_log', 'integrity_deletion', 'SELECT')"
                )
                assert rights == (False, False)

    def test_an_upgrade_by_a_plain_role_changes_the_function_and_keeps_its_owner(self) -> None:
        with plain(OWNS_SCHEMA, OWNS_LOG, ROLE):
            triggers.install("default")
            sql(f'ALTER FUNCTION "{CAPTURE}_parents$owner"() RESET ALL')
            done = triggers.install("default")
            assert done.installed == ("parents.Owner",)
            assert triggers.faults("default") == []

    def test_a_superuser_is_refused_as_the_owner_and_the_remedy_works(self) -> None:
        with plain():
            with pytest.raises(
                TriggersRefused, match=r"a superuser\. As a superuser, run:"
            ) as told:
                triggers.install("default")
            _, _, remedy = str(told.value).partition("run: ")
            statements, _, _ = remedy.partition(" Then run")
            sql("RESET ROLE")
            sql(statements)
            sql(f"SET LOCAL ROLE {PLAIN}")
            assert sorted(triggers.install("default").installed) == LABELS
            assert owner_of_functions() == {"integrity_log"}

    def test_the_setting_names_it(self, tune: Tune) -> None:
        tune(capture={"parents.Owner": "both"}, log_role=SCRIBE)
        try:
            triggers.install("default")
            assert owner_of_functions() == {SCRIBE}
        finally:
            remove_scribe(tune)
