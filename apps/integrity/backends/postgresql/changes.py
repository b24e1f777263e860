"""What is wanted and what is there → what is wrong, and what mends it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...exceptions import TriggersRefused
from . import installed
from .functions import Place, quoted
from .installed import EVERYBODY, Fault, Harm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .definers import Definer, Roles
    from .functions import Function, Trigger, Wanted
    from .installed import Found, FoundFunction

FUNCTIONS = "the functions of the triggers"
LEFTOVERS = "functions that no trigger needs any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is done in one transaction: to functions, or to the triggers of one table."""

    subject: str
    table: Place | None = None
    sql: tuple[str, ...]


def faults(
    wanted: Sequence[Wanted], found: Found, owners: Collection[str], roles: Roles
) -> list[Fault]:
    """Return all that is wrong; `owners` are the roles that the functions may belong to."""
    return [
        *of_parents(wanted, found, owners),
        *_of_leftovers(wanted, found),
        *_of_role(found, roles),
    ]


def of_parents(wanted: Sequence[Wanted], found: Found, owners: Collection[str]) -> Iterator[Fault]:
    """Yield what is wrong with the triggers of each parent."""
    for each in wanted:
        for trigger in each.triggers:
            yield from installed.faults(each.parent, trigger, found, owners)


def _of_leftovers(wanted: Sequence[Wanted], found: Found) -> Iterator[Fault]:
    for each in _unwanted(wanted, found):
        if each.as_owner:
            yield from installed.exposed(each.place.name, each)


def _of_role(found: Found, roles: Roles) -> Iterator[Fault]:
    """Yield what is wrong with the role that owns the functions."""
    if not any(each.owner == roles.role for each in found.functions):
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


def refuse_foreign(wanted: Sequence[Wanted], found: Found, ours: Collection[str]) -> None:
    """Raise `TriggersRefused` where a function of one of our names belongs to somebody else.

    CREATE OR REPLACE would keep its owner, who may change what it does at any time.
    """
    for function in _functions(wanted):
        there = found.function(function.place)
        if there is not None and there.owner not in ours:
            raise TriggersRefused(
                f"the function {function.place}() belongs to {there.owner!r}, who may change what"
                " it does, so no trigger is to call it. See what it is for; then, as a superuser:"
                f" DROP FUNCTION {function.place}() CASCADE; and run"
                " `manage.py integrity install-triggers` again"
            )


def steps(
    wanted: Sequence[Wanted], found: Found, definer: Definer | None, ours: Collection[str]
) -> Iterator[Step]:
    """Yield what brings the database into line, in this order."""
    if definer and (sql := [*_function_sql(wanted, found, definer)]):
        yield Step(subject=FUNCTIONS, sql=tuple(sql))
    for each in wanted:
        if sql := [s for trigger in each.triggers for s in _trigger_sql(trigger, found)]:
            yield Step(subject=each.table.name, table=each.table, sql=tuple(sql))
    for table in stale(wanted, found):
        drops = (each for each in found.triggers if each.table == table)
        sql = [f"DROP TRIGGER IF EXISTS {each.name} ON {table}" for each in drops]
        yield Step(subject=table.name, table=table, sql=tuple(sql))
    # CASCADE: whoever could execute one may have put it on a table of their own.
    unwanted = [each for each in _unwanted(wanted, found) if each.owner in ours]
    if sql := [f"DROP FUNCTION IF EXISTS {each.place}() CASCADE" for each in unwanted]:
        yield Step(subject=LEFTOVERS, sql=tuple(sql))


def stale(wanted: Sequence[Wanted], found: Found) -> list[Place]:
    """Return tables that have triggers of ours, and should have none."""
    tables = {each.table for each in wanted}
    return [each for each in dict.fromkeys(t.table for t in found.triggers) if each not in tables]


def _function_sql(wanted: Sequence[Wanted], found: Found, definer: Definer) -> Iterator[str]:
    sql = [
        statement
        for function in _functions(wanted)
        for statement in _one_function(function, found.function(function.place), definer.name)
    ]
    yield from definer.needs
    if sql:
        yield from (*definer.lend, *sql, *definer.take)


def _one_function(wanted: Function, found: FoundFunction | None, owner: str) -> Iterator[str]:
    if found and not [*installed.of_function("", wanted, found, {owner})]:
        return
    yield wanted.create
    others = [quoted(each) for each in (found.executors if found else ()) if each != EVERYBODY]
    yield f"REVOKE ALL ON FUNCTION {wanted.place}() FROM {', '.join(['PUBLIC', *others])} CASCADE"
    if found is None or found.owner != owner:
        yield f"ALTER FUNCTION {wanted.place}() OWNER TO {quoted(owner)}"


def _trigger_sql(wanted: Trigger, found: Found) -> Iterator[str]:
    there = found.trigger(wanted.table, wanted.name)
    if not [*installed.of_trigger(wanted, there)]:
        return
    if there and there.constraint:
        yield wanted.drop  # nothing else takes its place
    yield wanted.create


def _functions(wanted: Sequence[Wanted]) -> list[Function]:
    return [trigger.function for each in wanted for trigger in each.triggers]


def _unwanted(wanted: Sequence[Wanted], found: Found) -> list[FoundFunction]:
    places = {each.place for each in _functions(wanted)}
    return [each for each in found.functions if each.place not in places]
