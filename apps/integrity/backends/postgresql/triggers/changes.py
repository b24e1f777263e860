"""The difference between the triggers that are wanted and those installed, and its SQL. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ....exceptions import TriggersRefused
from . import installed
from .functions import Place, quoted
from .installed import EVERYBODY, Fault, Harm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .attempts import Held
    from .definers import Definer, Roles
    from .functions import Function, Trigger, Wanted
    from .installed import Installed, InstalledFunction

FUNCTIONS = "the functions of the triggers"
LEFTOVERS = "functions that no trigger needs any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class DdlStep:
    """SQL of one transaction: for functions, or for the triggers of one table."""

    subject: str
    table: Place | None = None
    sql: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The changes of triggers in one database: `steps`, in this order.

    `installed` and `unchanged` are parents, `removed` are tables. `held` are the tables whose lock
    could not be taken: they are unchanged.
    """

    database: str
    installed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    steps: tuple[DdlStep, ...] = ()
    held: tuple[Held, ...] = ()

    @property
    def sql(self) -> tuple[str, ...]:
        """All statements."""
        return tuple(statement for step in self.steps for statement in step.sql)

    @property
    def document(self) -> dict[str, Any]:
        """The fields for JSON output."""
        fields = ("database", "installed", "removed", "unchanged", "sql")
        held = [{"table": table.table, "reason": str(table)} for table in self.held]
        return {**{name: getattr(self, name) for name in fields}, "held": held}


def faults(
    wanted: Sequence[Wanted], current: Installed, owners: Collection[str], roles: Roles
) -> list[Fault]:
    """Return all faults; `owners` are the roles that the functions may belong to."""
    return [
        *of_parents(wanted, current, owners),
        *_of_leftovers(wanted, current),
        *_of_role(current, roles),
    ]


def harms(wanted: Sequence[Wanted], current: Installed) -> list[Fault]:
    """Return the faults that lose deletions or give rights to other roles."""
    found = [*of_parents(wanted, current, ()), *_of_leftovers(wanted, current)]
    return [fault for fault in found if fault.harm is not Harm.ALTERED]


def of_parents(
    wanted: Sequence[Wanted], current: Installed, owners: Collection[str]
) -> Iterator[Fault]:
    """Yield the faults of each parent's triggers."""
    for parent in wanted:
        for trigger in parent.triggers:
            yield from installed.faults(parent.parent, trigger, current, owners)


def _of_leftovers(wanted: Sequence[Wanted], current: Installed) -> Iterator[Fault]:
    for function in _unwanted(wanted, current):
        if function.as_owner:
            yield from installed.exposed(function.place.name, function)


def _of_role(current: Installed, roles: Roles) -> Iterator[Fault]:
    """Yield the faults of the role that owns the functions."""
    if not any(function.owner == roles.role for function in current.functions):
        return
    if roles.role == roles.owner:
        return
    if not (roles.uses_schema and roles.inserts) or roles.shut_out:
        text = f"the role {roles.role} may not insert into {roles.log}, so deletes fail"
        yield Fault(subject=roles.role, harm=Harm.ALTERED, text=text)
    if roles.may_more:
        text = (
            f"the role {roles.role} may do more than it needs: see pg_roles, and"
            f" ALTER ROLE {quoted(roles.role)} NOLOGIN NOCREATEROLE NOREPLICATION NOBYPASSRLS;"
            " it is to be a member of no other role"
        )
        yield Fault(subject=roles.role, harm=Harm.ALTERED, text=text)


def refuse_foreign(wanted: Sequence[Wanted], current: Installed, ours: Collection[str]) -> None:
    """Raise `TriggersRefused` where a function of one of our names belongs to somebody else.

    CREATE OR REPLACE would keep its owner, who may change what it does at any time.
    """
    for function in _functions(wanted):
        existing = current.function(function.place)
        if existing is not None and existing.owner not in ours:
            raise TriggersRefused(
                f"the function {function.place}() belongs to {existing.owner!r}, who may change"
                " what it does, so no trigger is to call it. See what it is for; then, as a"
                f" superuser: DROP FUNCTION {function.place}() CASCADE; and run"
                " `manage.py integrity install-triggers` again"
            )


def steps(
    wanted: Sequence[Wanted], current: Installed, definer: Definer | None, ours: Collection[str]
) -> Iterator[DdlStep]:
    """Yield the changes that install what is wanted, in their order."""
    if definer and (sql := [*_function_sql(wanted, current, definer)]):
        yield DdlStep(subject=FUNCTIONS, sql=tuple(sql))
    for parent in wanted:
        if sql := [s for trigger in parent.triggers for s in _trigger_sql(trigger, current)]:
            yield DdlStep(subject=parent.table.name, table=parent.table, sql=tuple(sql))
    for table in stale(wanted, current):
        triggers = (trigger for trigger in current.triggers if trigger.table == table)
        sql = [f"DROP TRIGGER IF EXISTS {trigger.name} ON {table}" for trigger in triggers]
        yield DdlStep(subject=table.name, table=table, sql=tuple(sql))
    # CASCADE: a role that could execute one may have put it on a table of its own.
    unwanted = [function for function in _unwanted(wanted, current) if function.owner in ours]
    if sql := [f"DROP FUNCTION IF EXISTS {function.place}() CASCADE" for function in unwanted]:
        yield DdlStep(subject=LEFTOVERS, sql=tuple(sql))


def stale(wanted: Sequence[Wanted], current: Installed) -> list[Place]:
    """Return tables that have triggers of ours and should not."""
    tables = {parent.table for parent in wanted}
    triggered = dict.fromkeys(trigger.table for trigger in current.triggers)
    return [table for table in triggered if table not in tables]


def _function_sql(wanted: Sequence[Wanted], current: Installed, definer: Definer) -> Iterator[str]:
    sql = [
        statement
        for function in _functions(wanted)
        for statement in _one_function(function, current.function(function.place), definer.name)
    ]
    yield from definer.needs
    if sql:
        yield from (*definer.lend, *sql, *definer.take)


def _one_function(wanted: Function, current: InstalledFunction | None, owner: str) -> Iterator[str]:
    if current and not [*installed.of_function("", wanted, current, {owner})]:
        return
    yield wanted.create
    executors = current.executors if current else ()
    others = [quoted(role) for role in executors if role != EVERYBODY]
    yield f"REVOKE ALL ON FUNCTION {wanted.place}() FROM {', '.join(['PUBLIC', *others])} CASCADE"
    if current is None or current.owner != owner:
        yield f"ALTER FUNCTION {wanted.place}() OWNER TO {quoted(owner)}"


def _trigger_sql(wanted: Trigger, current: Installed) -> Iterator[str]:
    existing = current.trigger(wanted.table, wanted.name)
    if not [*installed.of_trigger(wanted, existing)]:
        return
    if existing and existing.constraint:
        yield wanted.drop  # CREATE OR REPLACE cannot replace a constraint trigger
    yield wanted.create


def _functions(wanted: Sequence[Wanted]) -> list[Function]:
    return [trigger.function for parent in wanted for trigger in parent.triggers]


def _unwanted(wanted: Sequence[Wanted], current: Installed) -> list[InstalledFunction]:
    places = {function.place for function in _functions(wanted)}
    return [function for function in current.functions if function.place not in places]
