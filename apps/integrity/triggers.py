"""Capture by the database itself: what sends no signal is recorded, too (PostgreSQL).

Takes `INTEGRITY["capture"]`; gives a statement-level AFTER DELETE trigger on the table of each
parent that asks for one, in every database where it lives. Raw SQL, `_raw_delete`, models of
migrations and the database's own cascades are then recorded in their transaction, as
`source=trigger`.

`migrate` installs, renews and removes them (`post_migrate`); so does `integrity install-triggers`.

Note [Our own triggers]: django-pgtrigger declares triggers on the model and installs them in one
database, that of `db_for_write` (its documentation, "Multiple databases"). Here the models stay as
they are, may be somebody else's (`auth.User`), and may live in several databases.

Note [TRUNCATE]: it fires no DELETE trigger, so it is refused; in one statement with the log
(Django's `flush`) it goes through, for then nothing is left to record.

Note [Whose privileges]: the function runs as its owner, so that whoever may delete a parent need
not have a right to the log. Every name in it is qualified, and no schema of the caller's is
searched.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.backends.utils import truncate_name

from . import columns, conf, relations
from .exceptions import InvalidSetting
from .models import Deletion

if TYPE_CHECKING:
    from .relations import Catalogue, Model

logger = logging.getLogger("integrity.triggers")

CAPTURE = "integrity_capture"
REFUSE = "integrity_refuse_truncate"

#: Kinds of keys whose text is the same in PostgreSQL and in Python.
KEYS = frozenset(
    {
        *("AutoField", "BigAutoField", "SmallAutoField", "UUIDField", "DateField", "DecimalField"),
        *("IntegerField", "BigIntegerField", "SmallIntegerField", "PositiveIntegerField"),
        *("PositiveBigIntegerField", "PositiveSmallIntegerField"),
        *("CharField", "TextField", "SlugField", "EmailField", "URLField"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A parent's triggers in one database: what makes them, and how to know them again."""

    parent: str
    table: str
    install: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Changes with every letter of what is installed."""
        return hashlib.sha256("\n".join(self.install).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to do in one database; `sql` does it, in this order."""

    database: str
    installed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    sql: tuple[str, ...]


def require(catalogue: Catalogue) -> None:
    """Refuse a setting that cannot be carried out. No queries.

    Raises `InvalidSetting` for a parent that the catalogue does not know, one that lives where
    there are no such triggers, and one whose keys a trigger would write in another form.
    """
    chosen = conf.current().capture
    for name in () if isinstance(chosen, str) else chosen:
        if name not in catalogue.parents:
            known = ", ".join(catalogue.parents) or "none"
            raise InvalidSetting(f"INTEGRITY['capture'] names {name!r}; parents: {known}")
    for label, model in catalogue.parents.items():
        if conf.current().capture_of(label) == "signal":
            continue
        for using in relations.databases_for(model):
            if connections[using].vendor != "postgresql":
                raise InvalidSetting(
                    f"INTEGRITY['capture'] asks for a trigger on {label}, which lives in {using!r}"
                    f" ({connections[using].vendor}): only PostgreSQL has them. Give it 'signal'"
                )
        for field in (relations.primary_key(model), *relations.targets(model)):
            if columns.origin(field).get_internal_type() not in KEYS:
                raise InvalidSetting(
                    f"INTEGRITY['capture'] asks for a trigger on {label}, but the text of"
                    f" {relations.label(field)} in PostgreSQL differs from Python's."
                    " Give it 'signal'"
                )


def databases() -> tuple[str, ...]:
    """Aliases in which triggers may be wanted, or left over: the PostgreSQL ones with a log."""
    logs = relations.catalogue().log_databases
    return tuple(using for using in logs if connections[using].vendor == "postgresql")


def missing(using: str) -> tuple[str, ...]:
    """Parents whose deletions should be recorded by a trigger that is not there, or is outdated."""
    return change(using).installed


def report_missing(using: str) -> None:
    """Say so in the process's log: without the trigger, deletions pass unrecorded."""
    for parent in missing(using) if using in databases() else ():
        logger.error(
            "deletions of %s in %s are not recorded by a trigger: run `manage.py integrity"
            " install-triggers`",
            parent,
            using,
        )


def change(using: str) -> Change:
    """What brings the triggers of one database into line with the settings. Changes nothing."""
    schema = _schema_of_the_log(using)
    wanted = {each.table: each for each in _wanted(using, schema)} if schema else {}
    there = _installed(using)
    digests = {table: each.digest for table, each in wanted.items()}
    fresh = [each for table, each in wanted.items() if there.get(table) != digests[table]]
    stale = [table for table in there if table not in wanted]
    sql = [statement for each in fresh for statement in each.install]
    sql += [_comment(each, using) for each in fresh]
    sql += [
        f"DROP TRIGGER IF EXISTS {name} ON {_quote(table, using)}"
        for table in stale
        for name in (CAPTURE, REFUSE)
    ]
    return Change(
        database=using,
        installed=tuple(each.parent for each in fresh),
        removed=tuple(stale),
        unchanged=tuple(each.parent for each in wanted.values() if each not in fresh),
        sql=tuple(sql),
    )


def install(using: str) -> Change:
    """Bring the triggers of one database into line with the settings, in one transaction.

    Gives what was done. Creating a trigger waits for, and then holds up, writes to that table; one
    that is as wanted is left alone.
    """
    with transaction.atomic(using=using):
        found = change(using)
        with connections[using].cursor() as cursor:
            for statement in found.sql:
                cursor.execute(statement)
    return found


def after_migrate(using: str, **_: object) -> None:
    """`post_migrate`: each database gets the triggers that the settings ask for."""
    if using in databases():
        install(using)


def _wanted(using: str, schema: str) -> list[Trigger]:
    """The triggers that the settings ask for, on tables that exist."""
    settings, catalogue = conf.current(), relations.catalogue()
    asked = [
        model
        for label, model in catalogue.parents.items()
        if settings.capture_of(label) != "signal" and using in relations.databases_for(model)
    ]
    tables = set(connections[using].introspection.table_names()) if asked else set()
    return [_trigger(model, schema, using) for model in asked if model._meta.db_table in tables]


def _trigger(parent: Model, schema: str, using: str) -> Trigger:
    label, table = parent._meta.label, _quote(parent._meta.db_table, using)
    log = f"{_quote(schema, using)}.{_quote(Deletion._meta.db_table, using)}"
    capture = f"{_quote(schema, using)}.{_quote(_function(label), using)}"
    refuse = f"{_quote(schema, using)}.{REFUSE}"
    return Trigger(
        parent=label,
        table=parent._meta.db_table,
        install=(
            _create_function(capture, _capture_body(parent, log, using), using),
            (
                f"CREATE OR REPLACE TRIGGER {CAPTURE} AFTER DELETE ON {table}"
                f" REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION {capture}()"
            ),
            _create_function(refuse, _refuse_body(log, using), using),
            (
                f"CREATE OR REPLACE TRIGGER {REFUSE} BEFORE TRUNCATE ON {table}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION {refuse}()"
            ),
        ),
    )


def _capture_body(parent: Model, log: str, using: str) -> str:
    key = f"gone.{_quote(relations.primary_key(parent).column, using)}::text"
    held = ", ".join(
        f"{_literal(field.name, using)}, gone.{_quote(field.column, using)}::text"
        for field in relations.targets(parent)
    )
    targets = f"jsonb_strip_nulls(jsonb_build_object({held}))" if held else "NULL::jsonb"
    return (
        f"BEGIN INSERT INTO {log} (parent, key, targets, source, state)"
        f" SELECT {_literal(parent._meta.label, using)}, {key}, {targets}, 'trigger', 'recorded'"
        " FROM gone; RETURN NULL; END"
    )


def _refuse_body(log: str, using: str) -> str:
    return (
        "BEGIN IF EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid()"
        " AND locktype = 'relation' AND mode = 'AccessExclusiveLock'"
        f" AND relation = {_literal(log, using)}::regclass)"
        " THEN RETURN NULL; END IF;"
        " RAISE EXCEPTION 'TRUNCATE of % is refused: its rows are referenced from other databases',"
        " TG_TABLE_NAME USING ERRCODE = 'restrict_violation',"
        " HINT = 'Use DELETE: it is recorded, and its cascades follow.'; END"
    )


def _create_function(name: str, body: str, using: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        f" SET search_path = pg_catalog, pg_temp AS {_literal(body, using)}"
    )


def _comment(trigger: Trigger, using: str) -> str:
    table = _quote(trigger.table, using)
    return f"COMMENT ON TRIGGER {CAPTURE} ON {table} IS {_literal(trigger.digest, using)}"


def _installed(using: str) -> dict[str, str]:
    """Table → digest, of the triggers that are there."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT pg_class.relname, obj_description(pg_trigger.oid, 'pg_trigger')"
            " FROM pg_trigger JOIN pg_class ON pg_class.oid = pg_trigger.tgrelid"
            " WHERE pg_trigger.tgname = %s AND pg_trigger.tgenabled <> 'D'"
            " AND pg_table_is_visible(pg_class.oid)",
            [CAPTURE],
        )
        return {table: digest or "" for table, digest in cursor.fetchall()}


def _schema_of_the_log(using: str) -> str:
    """Where the log's table is; "" before the first migration and after the last one back."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE pg_class.oid = to_regclass(%s)",
            [_quote(Deletion._meta.db_table, using)],
        )
        row = cursor.fetchone()
    return str(row[0]) if row else ""


def _function(label: str) -> str:
    # PostgreSQL cuts longer names, and two could become one.
    return truncate_name(f"{CAPTURE}_{label.replace('.', '_').lower()}", 63)


def _quote(name: str | None, using: str) -> str:
    return connections[using].ops.quote_name(str(name))


def _literal(text: str, using: str) -> str:
    return str(connections[using].schema_editor().quote_value(text))
