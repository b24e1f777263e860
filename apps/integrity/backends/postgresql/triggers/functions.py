"""Trigger functions and triggers as they should be: values, and the SQL that makes them. Pure.

Note [A function of its own for each table]: a role that may execute a trigger function can put it
on a table of its own. A SECURITY DEFINER function then runs code of that table (a cast of a type of
that role) with the rights of the function's owner. No `search_path` prevents that: casts have no
schema. So PUBLIC may not execute the functions, and each first refuses every other table and every
other event. It compares the table by name: no other role's table can have that name, a restored
dump keeps it, and the comparison needs no look-up.

Note [Whose rights]: the function that records runs as its owner, so that a role that may delete a
parent needs no privilege on the log. Every name in it is qualified, and no schema of the caller is
searched. The function that refuses TRUNCATE needs no privileges, and runs as the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....exceptions import KeyTooLong

if TYPE_CHECKING:
    from collections.abc import Collection

CAPTURE = "integrity_capture"
REFUSE = "integrity_refuse_truncate"

#: Bits of `pg_trigger.tgtype`.
ROW, BEFORE, DELETE, TRUNCATE = 1, 2, 8, 32
#: As `pg_proc.proconfig` has it.
CONFIGURATION = ("search_path=pg_catalog, pg_temp",)
LANGUAGE = "plpgsql"
TRANSITION_TABLE = "gone"
#: The columns of the log that the function writes, and the only ones that its owner may.
WRITTEN = ("parent", "key", "targets", "source", "actor", "reference", "because", "deadline")
#: What is stated of a deletion → the setting of the transaction that has it (telling.py).
SETTINGS = {name: f"integrity.{name}" for name in WRITTEN[4:]}


@dataclass(frozen=True, slots=True)
class Place:
    """A table: its schema and its name, unquoted."""

    schema: str
    name: str

    def __str__(self) -> str:
        """Return the quoted name for SQL."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A trigger function: its place, what it does, and whether it runs as its owner."""

    place: Place
    body: str
    as_owner: bool

    @property
    def create(self) -> str:
        """Return SQL that creates it, or replaces it and keeps its owner and its privileges."""
        security = "DEFINER" if self.as_owner else "INVOKER"
        return (
            f"CREATE OR REPLACE FUNCTION {self.place}() RETURNS trigger LANGUAGE {LANGUAGE}"
            f" SECURITY {security} SET search_path = pg_catalog, pg_temp AS {literal(self.body)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger of one statement: its table, its event, and the function that it calls."""

    name: str
    table: Place
    function: Function
    bits: int
    transition_table: str = ""

    @property
    def create(self) -> str:
        """Return SQL that creates it, or replaces one of that name."""
        event = "AFTER DELETE" if self.bits == DELETE else "BEFORE TRUNCATE"
        rows = f" REFERENCING OLD TABLE AS {TRANSITION_TABLE}" if self.transition_table else ""
        return (
            f"CREATE OR REPLACE TRIGGER {self.name} {event} ON {self.table}{rows}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {self.function.place}()"
        )

    @property
    def drop(self) -> str:
        """Return SQL that drops it."""
        return f"DROP TRIGGER IF EXISTS {self.name} ON {self.table}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The triggers of a parent (its label) in one database."""

    parent: str
    triggers: tuple[Trigger, ...]

    @property
    def table(self) -> Place:
        """Return the parent's table."""
        return self.triggers[0].table


def recording(parent: str, table: Place, function: Place, log: Place, columns: Columns) -> Trigger:
    """Return the trigger that records deletions of `parent`, a label, in the log."""
    body = (
        f"BEGIN {_refusal(table, 'DELETE', 'AFTER')}{_short(parent, columns)}"
        f" INSERT INTO {log} ({', '.join(WRITTEN)})"
        f" SELECT {literal(parent)}, {columns.key}, {columns.targets}, 'trigger', {_stated()}"
        f" FROM {TRANSITION_TABLE}; RETURN NULL; END"
    )
    return Trigger(
        name=CAPTURE,
        table=table,
        function=Function(place=function, body=body, as_owner=True),
        bits=DELETE,
        transition_table=TRANSITION_TABLE,
    )


def refusing(table: Place, function: Place, log: Place) -> Trigger:
    """Return the trigger that refuses TRUNCATE, unless the log is emptied by the same statement."""
    body = (
        f"BEGIN {_refusal(table, 'TRUNCATE', 'BEFORE')}"
        " IF EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid()"
        " AND locktype = 'relation' AND mode = 'AccessExclusiveLock'"
        f" AND relation = {literal(str(log))}::regclass)"
        " THEN RETURN NULL; END IF;"
        " RAISE EXCEPTION 'TRUNCATE of % is refused: its rows are referenced from other databases',"
        " TG_TABLE_NAME USING ERRCODE = 'restrict_violation',"
        " HINT = 'Use DELETE: it is recorded, and its cascades follow.'; END"
    )
    return Trigger(
        name=REFUSE,
        table=table,
        function=Function(place=function, body=body, as_owner=False),
        bits=BEFORE | TRUNCATE,
    )


def _refusal(table: Place, event: str, moment: str) -> str:
    """Return the first statement of a function: Note [A function of its own for each table]."""
    return (
        f"IF TG_TABLE_SCHEMA <> {literal(table.schema)} OR TG_TABLE_NAME <> {literal(table.name)}"
        f" OR TG_OP <> '{event}' OR TG_WHEN <> '{moment}' OR TG_LEVEL <> 'STATEMENT'"
        " THEN RAISE EXCEPTION 'this function is for % of % alone',"
        f" '{event}', {literal(str(table))} USING ERRCODE = 'insufficient_privilege',"
        " HINT = 'If the table was renamed, run manage.py integrity install-triggers.'; END IF;"
    )


def _stated() -> str:
    """Return the columns of what is stated, each read once in a statement.

    Any role may set the settings: a text that is too long for the log is cut, and refuses no
    delete.
    """
    from ....models import STATED_CHARS

    texts = [
        f"(SELECT left(coalesce(current_setting('{SETTINGS[name]}', true), ''), {most}))"
        for name, most in STATED_CHARS.items()
    ]
    return ", ".join([*texts, f"(SELECT {_deadline()})"])


def _deadline() -> str:
    """Return the deadline that is stated: see `models.Stated`. A text that is none is ignored."""
    text = f"current_setting('{SETTINGS['deadline']}', true)"
    return (
        f"CASE WHEN {text} ~ '^[0-9]{{1,10}}$' THEN statement_timestamp() +"
        f" {text}::bigint * interval '1 second' WHEN {text} ~ '^@[0-9]{{1,11}}$'"
        f" THEN to_timestamp(substr({text}, 2)::bigint) END"
    )


def _short(parent: str, columns: Columns) -> str:
    """Return the statement that refuses texts which the log cannot hold; "" if none can be so."""
    if not columns.long:
        return ""
    too_long = " OR ".join(f"length({text}) > {columns.most}" for text in columns.long)
    return (
        f" IF EXISTS (SELECT FROM {TRANSITION_TABLE} WHERE {too_long}) THEN RAISE EXCEPTION USING"
        f" MESSAGE = {literal(str(KeyTooLong(parent, columns.most)))},"
        " ERRCODE = 'string_data_right_truncation'; END IF;"
    )


@dataclass(frozen=True, slots=True)
class Columns:
    """SQL for what is recorded of a row: its key, and the other values that foreign keys hold."""

    key: str
    targets: str
    #: Those of them that may have more than `most` characters.
    long: tuple[str, ...]
    most: int

    @classmethod
    def of(cls, key: str, targets: dict[str, str], long: Collection[str], most: int) -> Columns:
        """Return the SQL for the column of the key, and for field → column of the other values.

        `long` are the columns that may hold more than `most` characters.
        """
        held = ", ".join(f"{literal(field)}, {_text(column)}" for field, column in targets.items())
        document = f"jsonb_build_object({held})" if held else "NULL::jsonb"
        return cls(_text(key), document, tuple(map(_text, long)), most)


def _text(column: str) -> str:
    return f"{TRANSITION_TABLE}.{quoted(column)}::text"


def quoted(name: str) -> str:
    """Return a name, quoted for SQL."""
    return '"{}"'.format(name.replace('"', '""'))


def literal(text: str) -> str:
    """Return a text as a literal of SQL, for any `standard_conforming_strings`."""
    doubled = text.replace("'", "''")
    return f"E'{doubled}'".replace("\\", "\\\\") if "\\" in text else f"'{doubled}'"
