"""Troubles of a child database that answers all the same: how each begins, ends, and is told.

Each acts with sessions of its own, as a superuser, and can be ended twice. Single statements wait
for no lock longer than a second; whoever calls tries again.
"""

# ruff: noqa: S608 - the tables' names are our own

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.servers import PostgreSQL

    from .plan import Fault

#: Child database → a table whose rows refer to a user, and the column that does.
TABLES = {"blog_db": ("blog_post", "author_id"), "shop_db": ("shop_order", "customer_id")}
PARENTS = "auth_user"
#: The role of those that delete and insert.
WRITERS = "integrity_web"
#: What the trigger of a narrow database lets one statement delete.
NARROW_ROWS = 20

#: What the status has to say of each; a narrow one needs no saying, as work goes on in it.
WORDS = {
    "read-only": "it is read-only",
    "full": "its disk is full",
    "locked": "rows are locked by another transaction",
    "idle": "waits for transaction",
    "hidden": "row level security hides rows",
}
#: Nobody can write there for their time.
HINDERING = frozenset({"read-only", "full"})

FULL = """
CREATE OR REPLACE FUNCTION storm_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END $$"""
NARROW = f"""
CREATE OR REPLACE FUNCTION storm_narrow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF (SELECT count(*) FROM taken) > {NARROW_ROWS} THEN
    RAISE EXCEPTION 'too many rows for one statement' USING ERRCODE = '54000';
  END IF;
  RETURN NULL;
END $$"""


@dataclass
class Trouble:
    """One of them, at one time; `keys` are users whose rows are held where it is about rows."""

    fault: Fault
    servers: Mapping[str, PostgreSQL]
    keys: tuple[int, ...] = ()
    #: Of the session that is left open: its transaction and its process.
    transaction: int = 0
    #: Whether the parents can be seen again, before the trouble is over.
    parents_seen: bool = False
    _session: psycopg.Connection | None = field(default=None, repr=False)

    @property
    def alias(self) -> str:
        """The child database that has it."""
        return self.fault.target

    @property
    def name(self) -> str:
        """What it is, and where."""
        more = {"full": " (identity too)", "hidden": " (parents too)"}.get(self.fault.kind, "")
        return f"{self.alias} {self.fault.kind}{more if self.everywhere else ''}"

    @property
    def everywhere(self) -> bool:
        """Whether the identity is full, or the parents are hidden, as well."""
        return self.fault.pick < 0.5

    @property
    def hides_parents(self) -> bool:
        """Whether work into every child database waits for it."""
        return self.fault.kind == "hidden" and self.everywhere and not self.parents_seen

    def begin(self) -> None:
        """Let it happen. Raises `psycopg.Error` when something was in the way."""
        table, column = TABLES.get(self.alias, ("", ""))
        match self.fault.kind:
            case "read-only":
                self._run(f"ALTER DATABASE {self._database} SET default_transaction_read_only = on")
                self._end_sessions()
            case "full":
                self._run(FULL)
                for each in self._filled:
                    self._run(
                        f"CREATE OR REPLACE TRIGGER storm_full BEFORE INSERT OR UPDATE OR DELETE"
                        f" ON {each} FOR EACH ROW EXECUTE FUNCTION storm_full()"
                    )
            case "narrow":
                self._run(
                    NARROW,
                    f"CREATE OR REPLACE TRIGGER storm_narrow AFTER DELETE ON {table} REFERENCING"
                    " OLD TABLE AS taken FOR EACH STATEMENT EXECUTE FUNCTION storm_narrow()",
                )
            case "hidden":
                for alias, each in self._hidden:
                    self._run(f"ALTER TABLE {each} ENABLE ROW LEVEL SECURITY", alias=alias)
            case "locked":
                self._leave_open(f"SELECT 1 FROM {table} WHERE {column} = ANY(%s) FOR UPDATE")
            case "idle":
                # The key stays, so nobody waits for the row.
                self._leave_open(
                    f"UPDATE {table} SET created_at = created_at WHERE {column} = ANY(%s)"
                )

    def show_parents(self) -> None:
        """Let work into other databases go on. Raises `psycopg.Error`, as the others do."""
        self._run(f"ALTER TABLE {PARENTS} DISABLE ROW LEVEL SECURITY", alias="default")
        self.parents_seen = True

    def end(self) -> None:
        """Heal it. Raises `psycopg.Error` when something was in the way."""
        table, _ = TABLES.get(self.alias, ("", ""))
        match self.fault.kind:
            case "read-only":
                self._run(f"ALTER DATABASE {self._database} RESET default_transaction_read_only")
            case "full":
                for each in self._filled:
                    self._run(f"DROP TRIGGER IF EXISTS storm_full ON {each}")
            case "narrow":
                self._run(f"DROP TRIGGER IF EXISTS storm_narrow ON {table}")
            case "hidden":
                for alias, each in self._hidden:
                    self._run(f"ALTER TABLE {each} DISABLE ROW LEVEL SECURITY", alias=alias)
            case _:
                if self._session is not None:
                    self._session.close()

    @property
    def _database(self) -> str:
        return self.servers[self.alias].database

    @property
    def _filled(self) -> list[str]:
        table, _ = TABLES[self.alias]
        return [table, "integrity_identity"] if self.everywhere else [table]

    @property
    def _hidden(self) -> list[tuple[str, str]]:
        table, _ = TABLES[self.alias]
        parents = [("default", PARENTS)] if self.hides_parents else []
        return [(self.alias, table), *parents]

    def _connect(self, alias: str, *, autocommit: bool) -> psycopg.Connection:
        return psycopg.connect(
            self.servers[alias].url,
            autocommit=autocommit,
            connect_timeout=3,
            application_name=f"storm {self.fault.kind}",
            options="-c lock_timeout=1s -c default_transaction_read_only=off",
        )

    def _run(self, *statements: str, alias: str = "") -> None:
        with self._connect(alias or self.alias, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _end_sessions(self) -> None:
        """A server that fails over ends every session; ours that is open is over by then."""
        self._run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database() AND backend_type = 'client backend'"
        )

    def _leave_open(self, statement: str) -> None:
        session = self._connect(self.alias, autocommit=False)
        try:
            session.execute(statement.encode(), [list(self.keys)])
            row = session.execute(b"SELECT pg_current_xact_id()::text::bigint").fetchone()
        except psycopg.Error:
            session.close()
            raise
        self._session, self.transaction = session, row[0] if row else 0


def show_all_to_writers(server: PostgreSQL) -> None:
    """Row security is to hide rows from the workers: a site would have policies for itself."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {WRITERS} BYPASSRLS".encode())
