"""Capture by database triggers, which also record deletes that send no signal (PostgreSQL).

For each parent that `INTEGRITY["capture"]` sets to a trigger, its table gets a statement-level
AFTER DELETE trigger in every database where it lives. It records raw SQL, `_raw_delete`, historical
models of migrations and the database's own cascades in their transaction, with `source=trigger`.

`migrate` (`post_migrate`) and `integrity install-triggers` install, update and remove them.
In backends/postgresql/triggers, `functions` defines the triggers, `definers` chooses their owner,
and `installed` compares them with the installed ones.

Note [Our own triggers]: django-pgtrigger declares triggers on the model and installs them in one
database, that of `db_for_write` (its documentation, "Multiple databases"). Here the models stay
unmodified, may belong to another app (`auth.User`), and may live in several databases.

Note [TRUNCATE]: TRUNCATE fires no DELETE trigger, so it is refused. It is allowed in one statement
with the log (Django's `flush`), because then no rows are left to record.
"""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import connections
from django.db.backends.utils import truncate_name

from .. import conf, relations
from ..backends.postgresql.triggers import attempts, changes, definers, installed
from ..backends.postgresql.triggers.changes import Change
from ..backends.postgresql.triggers.functions import (
    CAPTURE,
    REFUSE,
    Columns,
    Place,
    Wanted,
    recording,
    refusing,
)
from ..backends.postgresql.triggers.installed import Harm
from ..exceptions import InvalidSetting, TablesHeld
from ..exceptions.loggers import logger_of
from ..models import KEY_CHARS, Deletion
from ..relations import columns, discovery, homes, relation
from ..relations.keys import may_exceed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ..backends.postgresql.triggers.attempts import Held
    from ..backends.postgresql.triggers.definers import Definer, Roles
    from ..backends.postgresql.triggers.installed import Fault, Installed
    from ..relations import Catalogue, Model

logger = logger_of("integrity.triggers")

#: PostgreSQL truncates longer names, so two could collide.
NAME_BYTES = 63
#: Kinds of keys whose text is the same in PostgreSQL and in Python.
KEYS = frozenset(
    {
        *("AutoField", "BigAutoField", "SmallAutoField", "UUIDField", "DateField", "DecimalField"),
        *("IntegerField", "BigIntegerField", "SmallIntegerField", "PositiveIntegerField"),
        *("PositiveBigIntegerField", "PositiveSmallIntegerField"),
        *("CharField", "TextField", "SlugField", "EmailField", "URLField"),
    }
)


def require(catalogue: Catalogue) -> None:
    """Check that triggers can serve the setting. No queries.

    Raises:
        InvalidSetting: the catalogue does not know a parent, its database has no such triggers, or
            a trigger would write its keys in another form than Python.
    """
    chosen = conf.current().capture
    for name in () if isinstance(chosen, str) else chosen:
        if name not in catalogue.parents:
            known = ", ".join(catalogue.parents) or "none"
            raise InvalidSetting(f"INTEGRITY['capture'] names {name!r}; parents: {known}")
    for label, model in catalogue.parents.items():
        if conf.current().by_trigger(label) and (reason := hindrance(label, model)):
            asked = "INTEGRITY['capture'] asks for a trigger on"
            raise InvalidSetting(f"{asked} {reason}. Use 'signal' for it")


def hindrance(label: str, parent: Model) -> str:
    """Return why no trigger can record deletions of a parent, beginning with its label; or ""."""
    for using in homes.databases_for(parent):
        if (vendor := connections[using].vendor) != "postgresql":
            return f"{label}, which lives in {using!r} ({vendor}): only PostgreSQL has them"
    for field in (relation.primary_key(parent), *discovery.targets(parent)):
        if columns.underlying_field(field).get_internal_type() not in KEYS:
            return f"{label}: PostgreSQL and Python write {relation.label(field)} differently"
    return ""


def databases() -> tuple[str, ...]:
    """Return the aliases that may have triggers: the PostgreSQL databases with a log."""
    logs = relations.catalogue().log_databases
    return tuple(using for using in logs if connections[using].vendor == "postgresql")


def faults(using: str) -> list[Fault]:
    """Return the faults of the installed triggers. No special role is needed."""
    roles = _roles(using)
    if roles is None:
        return []
    return changes.faults(_wanted(using, roles.log), _installed(using), roles.trusted, roles)


def missing(using: str) -> tuple[str, ...]:
    """Return the parents whose trigger is missing or does not record."""
    harms = changes.harms(_wanted(using), _installed(using))
    return tuple(dict.fromkeys(it.subject for it in harms if it.harm is Harm.UNRECORDED))


def recorded(using: str) -> frozenset[str]:
    """Return the parents whose trigger is there and records."""
    if not (wanted := _wanted(using)):
        return frozenset()
    harms = changes.harms(wanted, _installed(using))
    unrecorded = {fault.subject for fault in harms if fault.harm is Harm.UNRECORDED}
    return frozenset(triggers.parent for triggers in wanted) - unrecorded


def report_missing(using: str) -> None:
    """Log an error for each fault that loses deletions or gives rights to other roles."""
    if using not in databases():
        return
    for fault in changes.harms(_wanted(using), _installed(using)):
        logger.error(
            "%s in %s: %s: %s. Run `manage.py integrity install-triggers`",
            fault.subject,
            using,
            fault.harm.value,
            fault.text,
        )


def change(using: str) -> Change:
    """Return the changes that make the triggers of one database match the settings.

    Changes nothing.

    Raises:
        TriggersRefused: they would give other roles privileges, or replace their objects.
    """
    roles = _roles(using)
    current = _installed(using)
    if roles is None:  # before the first migration, and after the last one back
        return _changed(using, [], current, None, ())
    wanted = _wanted(using, roles.log)
    definer = definers.choose(roles) if wanted else None
    ours = {roles.me, *roles.trusted, *([definer.name] if definer else [])}
    changes.refuse_foreign(wanted, current, ours)
    return _changed(using, wanted, current, definer, ours)


def _changed(
    using: str,
    wanted: Sequence[Wanted],
    current: Installed,
    definer: Definer | None,
    ours: Collection[str],
) -> Change:
    owners = {definer.name} if definer else set()
    wrong = {fault.subject for fault in changes.of_parents(wanted, current, owners)}
    parents = [triggers.parent for triggers in wanted]
    return Change(
        database=using,
        installed=tuple(parent for parent in parents if parent in wrong),
        removed=tuple(table.name for table in changes.stale(wanted, current)),
        unchanged=tuple(parent for parent in parents if parent not in wrong),
        steps=tuple(changes.steps(wanted, current, definer, ours)),
    )


def install(
    using: str,
    tell: Callable[[str], object] = logger.warning,
    pause: Callable[[float], object] = time.sleep,
) -> Change:
    """Make the triggers of one database match the settings; return the changes.

    The triggers of each table change in a separate transaction, which waits only briefly for its
    lock: see backends/postgresql/triggers/attempts.py. Triggers that match are left alone.

    Raises:
        TriggersRefused: as for `change`.
    """
    planned = change(using)
    held: list[Held] = []
    for step in planned.steps:
        if held and step.table is None:
            break  # the tables that are held still need their functions
        left = attempts.attempt(
            using,
            step.table,
            functools.partial(_carry_out, using, step.subject),
            lock_seconds=conf.current().lock_seconds,
            tell=tell,
            pause=pause,
        )
        held += [left] if left else []
        if left and step.table is None:
            break  # every table needs them
    return replace(planned, held=tuple(held))


def _carry_out(using: str, subject: str) -> None:
    """Execute the statements of that step that are still needed: another process may have done it.

    It runs twice, for privileges that ALTER DEFAULT PRIVILEGES adds to each new function.
    """
    for _ in range(2):
        steps = (step.sql for step in change(using).steps if step.subject == subject)
        with connections[using].cursor() as cursor:
            for statement in next(steps, ()):
                cursor.execute(statement)


def after_migrate(using: str, **_: object) -> None:
    """`post_migrate`: install the triggers that the settings ask for.

    Raises:
        TablesHeld: a table's lock could not be taken. `migrate` fails, because a deploy that
            continues would leave deletions unrecorded.
    """
    if using in databases() and (held := install(using).held):
        raise TablesHeld(using, held)


def _roles(using: str) -> Roles | None:
    return definers.read(using, _table(Deletion, using), conf.current().log_role)


def _installed(using: str) -> Installed:
    return installed.read(using, _table(Deletion, using))


def _table(model: Model, using: str) -> str:
    return connections[using].ops.quote_name(model._meta.db_table)


def _wanted(using: str, log: Place | None = None) -> list[Wanted]:
    """Return the triggers that the settings ask for, on tables that exist, if there is a log.

    At most one statement, which looks for the log as well.
    """
    settings, catalogue = conf.current(), relations.catalogue()
    asked = {
        label: model
        for label, model in catalogue.parents.items()
        if settings.by_trigger(label) and using in homes.databases_for(model)
    }
    if not asked:
        return []
    names = [_table(Deletion, using), *(_table(model, using) for model in asked.values())]
    found, *tables = installed.places(using, names)
    log = log or found
    return [
        _of_parent(label, model, table, log)
        for (label, model), table in zip(asked.items(), tables, strict=True)
        if table is not None and log is not None
    ]


def _of_parent(label: str, parent: Model, table: Place, log: Place) -> Wanted:
    pk, fields = relation.primary_key(parent), discovery.targets(parent)
    targets = {field.name: str(field.column) for field in fields}
    long = [str(field.column) for field in (pk, *fields) if may_exceed(field, KEY_CHARS)]
    values = Columns.of(str(pk.column), targets, long, KEY_CHARS)
    record = Place(log.schema, _function(CAPTURE, label))
    refuse = Place(log.schema, _function(REFUSE, label))
    return Wanted(
        parent=label,
        triggers=(
            recording(label, table, record, log, values),
            refusing(table, refuse, log),
        ),
    )


def _function(prefix: str, label: str) -> str:
    # No label contains "$", so "a_b.c" and "a.b_c" get different names.
    return truncate_name(f"{prefix}_{label.replace('.', '$').lower()}", NAME_BYTES)
