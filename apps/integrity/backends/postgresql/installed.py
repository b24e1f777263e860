"""What is installed, as the server's catalogue has it, and how it differs from what should be.

Reading gives values; judging them is pure. What a trigger does is told by what it is (body, owner,
privileges, state), not by a note beside it, which says what was installed and not what is there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections

from .functions import CAPTURE, CONFIGURATION, LANGUAGE, REFUSE, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .functions import Function, Trigger

#: Who may execute a function, beside its owner, where everybody may.
EVERYBODY = "PUBLIC"
#: `pg_trigger.tgenabled`: fires for what clients do, and not for what replication applies.
FIRES = "O"
#: States in which a trigger does not fire for what clients do.
SILENT = {"D": "disabled", "R": "enabled for replication alone"}

_FUNCTIONS = r"""
SELECT space.nspname, function.proname, owner.rolname, owner.rolsuper, function.prosrc,
 function.prosecdef, language.lanname, coalesce(function.proconfig, '{}'::text[]),
 ARRAY(SELECT coalesce(grantee.rolname::text, '') FROM pg_catalog.aclexplode(
   coalesce(function.proacl, pg_catalog.acldefault('f', function.proowner))) AS granted
   LEFT JOIN pg_catalog.pg_roles AS grantee ON grantee.oid = granted.grantee
   WHERE granted.grantee <> function.proowner)
FROM pg_catalog.pg_proc AS function
JOIN pg_catalog.pg_namespace AS space ON space.oid = function.pronamespace
JOIN pg_catalog.pg_roles AS owner ON owner.oid = function.proowner
JOIN pg_catalog.pg_language AS language ON language.oid = function.prolang
WHERE space.nspname = ANY(%s::name[]) AND function.pronargs = 0
AND function.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype
AND (function.proname LIKE 'integrity\_capture\_%%'
  OR function.proname LIKE 'integrity\_refuse\_truncate%%')
ORDER BY 1, 2
"""
_TRIGGERS = """
SELECT space.nspname, owner.relname, hook.tgname, home.nspname, function.proname,
 hook.tgenabled::text, hook.tgtype::int, coalesce(hook.tgoldtable::text, ''),
 hook.tgqual IS NOT NULL OR hook.tgnewtable IS NOT NULL OR hook.tgnargs > 0,
 hook.tgconstraint <> 0
FROM pg_catalog.pg_trigger AS hook
JOIN pg_catalog.pg_class AS owner ON owner.oid = hook.tgrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = owner.relnamespace
JOIN pg_catalog.pg_proc AS function ON function.oid = hook.tgfoid
JOIN pg_catalog.pg_namespace AS home ON home.oid = function.pronamespace
WHERE hook.tgname = ANY(%s::name[]) AND NOT hook.tgisinternal
AND pg_catalog.pg_table_is_visible(owner.oid)
ORDER BY 1, 2, 3
"""
_PLACES = """
SELECT space.nspname, found.relname
FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, at)
LEFT JOIN pg_catalog.pg_class AS found
 ON found.oid = pg_catalog.to_regclass(wanted.name) AND found.relkind IN ('r', 'p')
LEFT JOIN pg_catalog.pg_namespace AS space ON space.oid = found.relnamespace
ORDER BY wanted.at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFunction:
    """A trigger function that is there; `executors` are roles beside its owner, or `EVERYBODY`."""

    place: Place
    owner: str
    superuser: bool
    body: str
    as_owner: bool
    language: str
    configuration: tuple[str, ...]
    executors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTrigger:
    """A trigger that is there; `special` where it has a condition, arguments or new rows."""

    table: Place
    name: str
    function: Place
    state: str
    bits: int
    transition_table: str
    special: bool
    constraint: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is there in one database."""

    functions: tuple[FoundFunction, ...] = ()
    triggers: tuple[FoundTrigger, ...] = ()

    def function(self, place: Place) -> FoundFunction | None:
        """The function of that name."""
        return next((each for each in self.functions if each.place == place), None)

    def trigger(self, table: Place, name: str) -> FoundTrigger | None:
        """The trigger of that name on that table."""
        here = (each for each in self.triggers if (each.table, each.name) == (table, name))
        return next(here, None)


class Harm(enum.Enum):
    """What a fault means."""

    UNRECORDED = "deletions pass unrecorded"
    EXPOSED = "it gives others rights that they do not have"
    ALTERED = "it is not what would be installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a function or a trigger; `subject` is a parent's label, or a function."""

    subject: str
    harm: Harm
    text: str


def places(using: str, names: Sequence[str]) -> list[Place | None]:
    """Return where the tables of those quoted names are; None for each that is not there."""
    if not names:
        return []
    with connections[using].cursor() as cursor:
        cursor.execute(_PLACES, [list(names)])
        return [None if name is None else Place(schema, name) for schema, name in cursor.fetchall()]


def read(using: str, schemas: Collection[str]) -> Found:
    """Return what is there: functions of our names in those schemas, triggers on visible tables."""
    with connections[using].cursor() as cursor:
        cursor.execute(_TRIGGERS, [[CAPTURE, REFUSE]])
        triggers = tuple(_trigger(row) for row in cursor.fetchall())
        homes = {*schemas, *(each.function.schema for each in triggers)}
        cursor.execute(_FUNCTIONS, [sorted(homes)])
        functions = tuple(_function(row) for row in cursor.fetchall())
    return Found(functions=functions, triggers=triggers)


def _function(row: Sequence[Any]) -> FoundFunction:
    schema, name, owner, superuser, body, as_owner, language, configuration, executors = row
    return FoundFunction(
        place=Place(schema, name),
        owner=owner,
        superuser=superuser,
        body=body,
        as_owner=as_owner,
        language=language,
        configuration=tuple(configuration),
        executors=tuple(sorted({each or EVERYBODY for each in executors})),
    )


def _trigger(row: Sequence[Any]) -> FoundTrigger:
    schema, table, name, home, function, state, bits, rows, special, constraint = row
    return FoundTrigger(
        table=Place(schema, table),
        name=name,
        function=Place(home, function),
        state=state,
        bits=bits,
        transition_table=rows,
        special=special,
        constraint=constraint,
    )


def faults(parent: str, wanted: Trigger, found: Found, owners: Collection[str]) -> Iterator[Fault]:
    """Yield what is wrong with a trigger of `parent` and with its function. Pure.

    `owners` are the roles that the function may belong to.
    """
    trigger = found.trigger(wanted.table, wanted.name)
    for text in of_trigger(wanted, trigger):
        deaf = (
            trigger is None or trigger.state in SILENT or trigger.function != wanted.function.place
        )
        lost = deaf and wanted.name == CAPTURE
        harm = Harm.UNRECORDED if lost else Harm.ALTERED
        yield Fault(subject=parent, harm=harm, text=f"{wanted.name}: {text}")
    if (function := found.function(wanted.function.place)) is not None:
        yield from of_function(parent, wanted.function, function, owners)


def of_trigger(wanted: Trigger, found: FoundTrigger | None) -> Iterator[str]:
    """Yield how a trigger differs from the wanted one. Pure."""
    if found is None:
        yield "its trigger is not there"
        return
    if found.state != FIRES:
        yield f"its trigger is {SILENT.get(found.state, 'enabled for replication as well')}"
    if found.function != wanted.function.place:
        yield f"its trigger calls {found.function}, not {wanted.function.place}"
    if (
        (found.bits, found.transition_table) != (wanted.bits, wanted.transition_table)
        or found.special
        or found.constraint
    ):
        yield "its trigger fires for another event, or on a condition"


def of_function(
    subject: str, wanted: Function, found: FoundFunction, owners: Collection[str]
) -> Iterator[Fault]:
    """Yield how a function differs from the wanted one. Pure."""
    name = found.place.name
    altered = [
        (found.body, found.language) != (wanted.body, LANGUAGE),
        found.as_owner != wanted.as_owner,
        found.configuration != CONFIGURATION,
    ]
    if any(altered):
        words = ("body", "SECURITY", "search_path")
        parts = ", ".join(word for word, is_so in zip(words, altered, strict=True) if is_so)
        text = f"the function {name} was changed, or is of another release: {parts}"
        yield Fault(subject=subject, harm=Harm.ALTERED, text=text)
    yield from exposed(subject, found)
    if found.owner not in owners and not found.superuser:
        text = f"the function {name} belongs to {found.owner}"
        yield Fault(subject=subject, harm=Harm.ALTERED, text=text)


def exposed(subject: str, found: FoundFunction) -> Iterator[Fault]:
    """Yield what a function lets others do. Pure."""
    name = found.place.name
    if EVERYBODY in found.executors:
        text = f"PUBLIC may execute the function {name}"
        yield Fault(subject=subject, harm=Harm.EXPOSED, text=text)
    if others := [each for each in found.executors if each != EVERYBODY]:
        text = f"the function {name} may be executed by {', '.join(others)}"
        yield Fault(subject=subject, harm=Harm.ALTERED, text=text)
    if found.superuser:
        text = f"the function {name} belongs to the superuser {found.owner}"
        harm = Harm.EXPOSED if found.as_owner else Harm.ALTERED
        yield Fault(subject=subject, harm=harm, text=text)
