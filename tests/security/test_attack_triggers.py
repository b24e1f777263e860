# ruff: noqa: S608 (names come from Model._meta)
"""Attacks on the triggers that record deletions, by roles that have next to nothing."""

from __future__ import annotations

import io
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from apps.integrity.backends.postgresql.triggers.functions import CAPTURE, REFUSE
from apps.integrity.capture import triggers
from apps.integrity.exceptions import TriggersRefused
from apps.integrity.models import Deletion
from tests import superuser
from tests.kinds.parents.models import Owner, Person, Token, Word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

E001, E021, W022 = "integrity.E001", "integrity.E021", "integrity.W022"
PARENTS = [Owner, Token, Word, Person]
#: The role that has nothing but the right to make temporary tables, and one that it may act as.
NOBODY = "integrity_nobody"


@pytest.fixture(autouse=True)
def _installed_by_a_superuser(committed: None) -> Iterator[None]:
    """The worst case: what a superuser installs must not be a superuser's. It makes roles, too."""
    with superuser.logged_in("default"):
        yield


@pytest.fixture
def both(tune: Tune, committed: None) -> Iterator[None]:
    """Triggers on the parents above; whatever a test does to them is gone after it."""
    tune(capture=dict.fromkeys((model._meta.label for model in PARENTS), "both"))
    triggers.install("default")
    yield
    for name in functions():
        sql(f'DROP FUNCTION "{name}"() CASCADE')
    tune(capture="signal")
    assert not triggers.install("default").held


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


def functions() -> list[str]:
    found = sql(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        r" AND proname LIKE 'integrity\_%' ORDER BY 1"
    )
    return [name for (name,) in found]


def of(model: Any, prefix: str = CAPTURE) -> str:
    """The quoted name of the function of a parent."""
    return f'"{prefix}_{model._meta.label.replace(".", "$").lower()}"'


def table(model: Any) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def owner_of(model: Any, prefix: str = CAPTURE) -> tuple[str, bool]:
    ((name, superuser),) = sql(
        "SELECT rolname, rolsuper FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner"
        " WHERE pg_proc.oid = %s::regprocedure",
        f"{of(model, prefix)}()",
    )
    return name, superuser


@contextmanager
def role(name: str = NOBODY, options: str = "") -> Iterator[None]:
    """A role of that name exists in the block; what it owns is gone after it."""
    sql(f"CREATE ROLE {name} {options}")
    try:
        yield
    finally:
        sql("RESET ROLE")
        sql(f"DROP OWNED BY {name} CASCADE")
        sql(f"DROP ROLE {name}")


@contextmanager
def acting_as(name: str = NOBODY) -> Iterator[None]:
    sql(f"SET ROLE {name}")
    try:
        yield
    finally:
        sql("RESET ROLE")


def said(of_id: str) -> list[str]:
    return [each.msg for each in run_checks(databases=["default"]) if each.id == of_id]


def ask(*arguments: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    call_command("integrity", *arguments, stdout=out, stderr=err)
    return out.getvalue() + err.getvalue()


CAST = """
CREATE TYPE pg_temp.key AS (n int);
CREATE TABLE pg_temp.loot (who text);
GRANT INSERT ON pg_temp.loot TO PUBLIC;
CREATE FUNCTION pg_temp.thief(pg_temp.key) RETURNS text LANGUAGE plpgsql AS
 $$BEGIN INSERT INTO pg_temp.loot VALUES (current_user); RETURN '1'; END$$;
CREATE CAST (pg_temp.key AS text) WITH FUNCTION pg_temp.thief(pg_temp.key);
CREATE TABLE pg_temp.bait (id pg_temp.key);
INSERT INTO pg_temp.bait VALUES (ROW(1));
"""
HANG_CAPTURE = (
    "CREATE TRIGGER mine AFTER DELETE ON {} REFERENCING OLD TABLE AS gone"
    " FOR EACH STATEMENT EXECUTE FUNCTION {}()"
)
HANG_REFUSE = "CREATE TRIGGER mine BEFORE TRUNCATE ON {} EXECUTE FUNCTION {}()"


@pytest.mark.postgresql  # functions and triggers of PostgreSQL
@pytest.mark.usefixtures("both")
class TestARoleWithNothing:
    """TEMP on the database is what each role has by default."""

    @pytest.fixture(autouse=True)
    def nobody(self, both: None) -> Iterator[None]:
        with role():
            yield

    @pytest.mark.parametrize("model", PARENTS)
    @pytest.mark.parametrize(("hang", "prefix"), [(HANG_CAPTURE, CAPTURE), (HANG_REFUSE, REFUSE)])
    def test_cannot_execute_a_function_of_ours(self, model: Any, hang: str, prefix: str) -> None:
        with acting_as():
            sql("CREATE TABLE pg_temp.bait (id int)")
            with pytest.raises(DatabaseError, match="permission denied for function"):
                sql(hang.format("pg_temp.bait", of(model, prefix)))
        assert Deletion.objects.count() == 0

    def test_runs_no_code_by_a_cast_even_where_it_may_execute_it(self) -> None:
        sql(f"GRANT EXECUTE ON FUNCTION {of(Owner)}() TO PUBLIC")
        with acting_as():
            sql(CAST)
            sql(HANG_CAPTURE.format("pg_temp.bait", of(Owner)))
            with pytest.raises(
                DatabaseError, match=r'for DELETE of "public"."parents_owner" alone'
            ):
                sql("DELETE FROM pg_temp.bait")
            assert sql("SELECT who FROM pg_temp.loot") == []

    def test_the_same_by_truncate(self) -> None:
        sql(f"GRANT EXECUTE ON FUNCTION {of(Owner, REFUSE)}() TO PUBLIC")
        with acting_as():
            sql("CREATE TABLE pg_temp.bait (id int)")
            sql(HANG_REFUSE.format("pg_temp.bait", of(Owner, REFUSE)))
            with pytest.raises(DatabaseError, match=r'TRUNCATE of "public"."parents_owner" alone'):
                sql("TRUNCATE pg_temp.bait")

    @pytest.mark.parametrize("name", ["bait", "parents_owner", "parents_word"])
    def test_forges_no_row_of_the_log_from_a_table_of_its_own(self, name: str) -> None:
        sql(f"GRANT EXECUTE ON FUNCTION {of(Owner)}() TO PUBLIC")
        with acting_as():
            sql(f"CREATE TABLE pg_temp.{name} (id int)")
            sql(f"INSERT INTO pg_temp.{name} VALUES (1)")
            sql(HANG_CAPTURE.format(f"pg_temp.{name}", of(Owner)))
            with pytest.raises(DatabaseError, match="alone"):
                sql(f"DELETE FROM pg_temp.{name}")
        assert Deletion.objects.count() == 0

    @pytest.mark.parametrize(
        "event",
        [
            "AFTER INSERT ON {} REFERENCING NEW TABLE AS gone FOR EACH STATEMENT",
            "AFTER UPDATE ON {} REFERENCING OLD TABLE AS gone FOR EACH STATEMENT",
            "AFTER DELETE ON {} REFERENCING OLD TABLE AS gone FOR EACH ROW",
        ],
    )
    def test_forges_none_by_another_event_of_the_parents_table(self, event: str) -> None:
        sql(f"GRANT EXECUTE ON FUNCTION {of(Word)}() TO PUBLIC")
        sql(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON {table(Word)} TO {NOBODY}")
        Word.objects.create(text="a")
        with acting_as():
            sql(f"CREATE TRIGGER mine {event.format(table(Word))} EXECUTE FUNCTION {of(Word)}()")
        try:
            for statement in (
                "VALUES ('b')",
                "SET text = 'c' WHERE text = 'a'",
                "WHERE text = 'a'",
            ):
                verb = {"V": "INSERT INTO", "S": "UPDATE", "W": "DELETE FROM"}[statement[0]]
                with acting_as(), suppress(DatabaseError):
                    sql(f"{verb} {table(Word)} {statement}")
        finally:
            sql(f"DROP TRIGGER mine ON {table(Word)}")
        living = set(Word.objects.values_list("text", flat=True))
        logged = list(Deletion.objects.values_list("key", flat=True))
        assert not living & set(logged)
        assert len(logged) == len(set(logged))

    def test_nothing_of_its_own_is_searched(self) -> None:
        """Tables, functions and operators in its temporary schema, first in its search path."""
        sql(f"GRANT SELECT, DELETE ON {table(Owner)} TO {NOBODY}")
        owner = Owner.objects.create()
        columns = "parent text, key text, targets jsonb, source text"
        with acting_as():
            sql(f"CREATE TEMPORARY TABLE integrity_deletion ({columns})")
            sql("CREATE TEMPORARY TABLE gone (id int)")
            sql("INSERT INTO pg_temp.gone VALUES (666)")
            sql(
                "CREATE FUNCTION pg_temp.lies(name, text) RETURNS bool LANGUAGE sql"
                " AS 'SELECT false'"
            )
            sides = "LEFTARG = name, RIGHTARG = text"
            sql(f"CREATE OPERATOR pg_temp.<> (FUNCTION = pg_temp.lies, {sides})")
            sql("SET search_path = pg_temp, public, pg_catalog")
            try:
                sql(f"DELETE FROM public.{table(Owner)}")
            finally:
                sql("RESET search_path")
            assert sql("SELECT count(*) FROM pg_temp.integrity_deletion") == [(0,)]
            sql("DISCARD TEMP")
        assert list(Deletion.objects.values_list("key", flat=True)) == [f"{owner.pk}"]

    def test_has_no_more_rights_to_the_log_than_before(self) -> None:
        with acting_as():
            for statement in (
                "SELECT 1 FROM integrity_deletion",
                "INSERT INTO integrity_deletion (parent, source) VALUES ('a', 'b')",
            ):
                with pytest.raises(DatabaseError, match="permission denied"):
                    sql(statement)
            assert sql("SELECT pg_has_role('integrity_log', 'MEMBER')") == [(False,)]


@pytest.mark.postgresql  # functions and triggers of PostgreSQL
@pytest.mark.usefixtures("both")
class TestTheDefiner:
    def test_is_a_role_that_may_only_insert_into_the_log(self) -> None:
        assert owner_of(Owner) == owner_of(Owner, REFUSE) == ("integrity_log", False)
        (attributes,) = sql(
            "SELECT rolcanlogin, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles"
            " WHERE rolname = 'integrity_log'"
        )
        assert not any(attributes)
        with acting_as("integrity_log"):
            for statement in (
                "SELECT 1 FROM integrity_deletion",
                "UPDATE integrity_deletion SET cancelled_at = now()",
                "DELETE FROM integrity_deletion",
                (
                    "INSERT INTO integrity_deletion (parent, source, reason)"
                    " VALUES ('a', 'trigger', 'a column too many')"
                ),
                f"SELECT 1 FROM {table(Owner)}",
                "CREATE TABLE public.mine (id int)",
            ):
                with pytest.raises(DatabaseError, match="permission denied"):
                    sql(statement)

    def test_a_log_with_row_security_lets_its_rows_in(self, tune: Tune) -> None:
        sql("ALTER TABLE integrity_deletion ENABLE ROW LEVEL SECURITY")
        try:
            assert any("may not insert" in text for text in said(W022))
            triggers.install("default")
            assert said(W022) == []
            Owner.objects.create()
            sql(f"DELETE FROM {table(Owner)}")
            assert Deletion.objects.count() == 1
        finally:
            sql("DROP POLICY IF EXISTS integrity_log_inserts ON integrity_deletion")
            sql("ALTER TABLE integrity_deletion DISABLE ROW LEVEL SECURITY")

    def test_is_never_a_superuser(self, tune: Tune) -> None:
        with role("integrity_god", "SUPERUSER"):
            tune(
                capture={"parents.Owner": "both"},
                log_role="integrity_god",
            )
            with pytest.raises(TriggersRefused, match="'integrity_god', which is a superuser"):
                triggers.install("default")

    def test_one_that_may_more_is_named(self) -> None:
        sql("ALTER ROLE integrity_log LOGIN")
        try:
            assert any("may do more than it needs" in text for text in said(W022))
        finally:
            sql("ALTER ROLE integrity_log NOLOGIN")
        assert said(W022) == []


def _create(function: str, body: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql"
        f" SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $${body}$$"
    )


#: What somebody did to an installation, and which check says what of it.
TAMPERED = {
    "a body that records nothing": (_create(of(Owner), "BEGIN RETURN NULL; END"), W022, "body"),
    "a body without its guard": (
        (
            f"UPDATE pg_proc SET prosrc = replace(prosrc, 'TG_OP', 'TG_NAME') WHERE"
            f" oid = '{of(Owner)}()'::regprocedure"
        ),
        W022,
        "body",
    ),
    "enabled for replication": (
        f"ALTER TABLE {Owner._meta.db_table} ENABLE REPLICA TRIGGER {CAPTURE}",
        E001,
        "enabled for replication alone",
    ),
    "enabled for replication as well": (
        f"ALTER TABLE {Owner._meta.db_table} ENABLE ALWAYS TRIGGER {CAPTURE}",
        W022,
        "enabled for replication as well",
    ),
    "disabled": (
        f"ALTER TABLE {Owner._meta.db_table} DISABLE TRIGGER {CAPTURE}",
        E001,
        "its trigger is disabled",
    ),
    "TRUNCATE let through": (
        f"ALTER TABLE {Owner._meta.db_table} DISABLE TRIGGER {REFUSE}",
        W022,
        "its trigger is disabled",
    ),
    "dropped": (f"DROP TRIGGER {CAPTURE} ON {Owner._meta.db_table}", E001, "is not there"),
    "another function": (
        (
            f"DROP TRIGGER {CAPTURE} ON {Owner._meta.db_table};"
            f"CREATE TRIGGER {CAPTURE} AFTER DELETE ON {Owner._meta.db_table} REFERENCING OLD TABLE"
            f" AS gone EXECUTE FUNCTION {of(Word)}()"
        ),
        E001,
        "its trigger calls",
    ),
    "on a condition": (
        (
            f"DROP TRIGGER {CAPTURE} ON {Owner._meta.db_table};"
            f"CREATE TRIGGER {CAPTURE} AFTER DELETE ON {Owner._meta.db_table} REFERENCING OLD TABLE"
            f" AS gone WHEN (current_user <> 'root') EXECUTE FUNCTION {of(Owner)}()"
        ),
        W022,
        "on a condition",
    ),
    "for each row": (
        (
            f"DROP TRIGGER {CAPTURE} ON {Owner._meta.db_table};"
            f"CREATE CONSTRAINT TRIGGER {CAPTURE} AFTER DELETE ON {Owner._meta.db_table}"
            f" FOR EACH ROW EXECUTE FUNCTION {of(Owner)}()"
        ),
        W022,
        "for another event",
    ),
    "a search path of the caller's": (
        f"ALTER FUNCTION {of(Owner)}() RESET search_path",
        W022,
        "search_path",
    ),
    "another search path": (
        f"ALTER FUNCTION {of(Owner)}() SET search_path = public, pg_catalog",
        W022,
        "search_path",
    ),
    "one setting more": (
        f"ALTER FUNCTION {of(Owner)}() SET session_replication_role = replica",
        W022,
        "search_path",
    ),
    "the caller's rights": (f"ALTER FUNCTION {of(Owner)}() SECURITY INVOKER", W022, "SECURITY"),
    "the owner's rights": (
        f"ALTER FUNCTION {of(Owner, REFUSE)}() SECURITY DEFINER",
        W022,
        "SECURITY",
    ),
    "open to everybody": (
        f"GRANT EXECUTE ON FUNCTION {of(Owner)}() TO PUBLIC",
        E021,
        "PUBLIC may execute",
    ),
    "TRUNCATE's open to everybody": (
        f"GRANT EXECUTE ON FUNCTION {of(Owner, REFUSE)}() TO PUBLIC",
        E021,
        "PUBLIC may execute",
    ),
    "open to a role": (
        f"GRANT EXECUTE ON FUNCTION {of(Owner)}() TO {NOBODY} WITH GRANT OPTION",
        W022,
        f"may be executed by {NOBODY}",
    ),
    "a superuser's": (
        f"ALTER FUNCTION {of(Owner)}() OWNER TO CURRENT_USER",
        E021,
        "belongs to the superuser",
    ),
    "left over from before": (
        _create("integrity_refuse_truncate", "BEGIN RETURN NULL; END"),
        E021,
        "PUBLIC may execute the function integrity_refuse_truncate",
    ),
}


@pytest.mark.postgresql  # functions and triggers of PostgreSQL
@pytest.mark.usefixtures("both")
class TestWhatWasTamperedWith:
    @pytest.mark.parametrize("name", TAMPERED)
    def test_is_named_by_the_check_and_the_doctor_and_healed(self, name: str) -> None:
        statement, check, words = TAMPERED[name]
        with role():
            sql(statement)
            assert any(words in text for text in said(check)), run_checks(databases=["default"])
            with pytest.raises(SystemExit):
                call_command("integrity", "doctor", stdout=(out := io.StringIO()))
            printed = " ".join(out.getvalue().split())
            assert words in printed
            assert "install-triggers --database default" in printed
            ask("install-triggers", "--database", "default")
            assert [said(each) for each in (E001, E021, W022)] == [[], [], []]
            assert triggers.change("default").sql == ()
            Owner.objects.create()
            sql(f"DELETE FROM {table(Owner)}")
            assert Deletion.objects.count() == 1

    @pytest.mark.parametrize("prefix", [CAPTURE, REFUSE])
    def test_a_function_of_somebody_else_is_refused(self, prefix: str) -> None:
        with role():
            sql(f"ALTER FUNCTION {of(Owner, prefix)}() OWNER TO {NOBODY}")
            assert any(f"belongs to {NOBODY}" in text for text in said(W022))
            with pytest.raises(CommandError, match=rf"belongs to '{NOBODY}'.*DROP FUNCTION"):
                ask("install-triggers", "--database", "default")
            assert owner_of(Owner, prefix) == (NOBODY, False)

    def test_one_made_beforehand_is_refused(self, tune: Tune) -> None:
        tune(capture="signal")
        triggers.install("default")
        assert functions() == []
        with role():
            sql(f"GRANT CREATE ON SCHEMA public TO {NOBODY}")
            with acting_as():
                sql(_create(of(Token), "BEGIN RETURN NULL; END"))
            tune(capture={"parents.Token": "trigger"})
            with pytest.raises(TriggersRefused, match=rf"DROP FUNCTION .*{CAPTURE}_parents\$token"):
                triggers.install("default")
            assert sql(f"SELECT 1 FROM pg_trigger WHERE tgname = '{CAPTURE}'") == []
            with pytest.raises(TriggersRefused), transaction.atomic():
                triggers.after_migrate("default")
