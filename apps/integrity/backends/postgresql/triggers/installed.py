"""Installed triggers and functions in the server's catalogue, and how they differ from the wanted.

Reading returns values; judging them is pure. A trigger is judged by its body, owner, privileges and
state. A stored note of what was installed would not tell what is there now.
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

#: The grantee of a function that all roles may execute.
EVERYBODY = "PUBLIC"
#: `pg_trigger.tgenabled`: fires for changes of clients, and not for those of replication.
FIRES = "O"
#: States in which a trigger does not fire for changes of clients.
SILENT = {"D": "disabled", "R": "enabled for replication alone"}

#: Our triggers, and the functions with our names; each trigger beside its function.
_INSTALLED = r"""
WITH hook AS (
 SELECT hook.tgfoid, home.oid AS home, space.nspname AS space, owner.relname AS owner, hook.tgname,
  home.nspname, function.proname, hook.tgenabled::text, hook.tgtype::int,
  coalesce(hook.tgoldtable::text, '') AS rows,
  hook.tgqual IS NOT NULL OR hook.tgnewtable IS NOT NULL OR hook.tgnargs > 0 AS special,
  hook.tgconstraint <> 0 AS is_constraint
 FROM pg_catalog.pg_trigger AS hook
 JOIN pg_catalog.pg_class AS owner ON owner.oid = hook.tgrelid
 JOIN pg_catalog.pg_namespace AS space ON space.oid = owner.relnamespace
 JOIN pg_catalog.pg_proc AS function ON function.oid = hook.tgfoid
 JOIN pg_catalog.pg_namespace AS home ON home.oid = function.pronamespace
 WHERE hook.tgname = ANY(%s::name[]) AND NOT hook.tgisinternal
 AND pg_catalog.pg_table_is_visible(owner.oid)),
ours AS (
 SELECT function.oid, space.nspname, function.proname, owner.rolname, owner.rolsuper,
  function.prosrc, function.prosecdef, language.lanname,
  coalesce(function.proconfig, '{}'::text[]) AS configuration,
  ARRAY(SELECT coalesce(grantee.rolname::text, '') FROM pg_catalog.aclexplode(
    coalesce(function.proacl, pg_catalog.acldefault('f', function.proowner))) AS granted
    LEFT JOIN pg_catalog.pg_roles AS grantee ON grantee.oid = granted.grantee
    WHERE granted.grantee <> function.proowner) AS executors
 FROM pg_catalog.pg_proc AS function
 JOIN pg_catalog.pg_namespace AS space ON space.oid = function.pronamespace
 JOIN pg_catalog.pg_roles AS owner ON owner.oid = function.proowner
 JOIN pg_catalog.pg_language AS language ON language.oid = function.prolang
 WHERE (space.oid IN (SELECT home FROM hook) OR space.oid = (SELECT log.relnamespace
   FROM pg_catalog.pg_class AS log WHERE log.oid = pg_catalog.to_regclass(%s)))
 AND function.pronargs = 0 AND function.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype
 AND (function.proname LIKE 'integrity\_capture\_%%'
  OR function.proname LIKE 'integrity\_refuse\_truncate%%'))
SELECT hook.*, ours.*
FROM hook FULL JOIN ours ON ours.oid = hook.tgfoid
ORDER BY ours.nspname, ours.proname, hook.space, hook.owner, hook.tgname
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
class InstalledFunction:
    """An installed trigger function; `executors` are roles other than its owner, or `EVERYBODY`."""

    place: Place
    owner: str
    superuser: bool
    body: str
    as_owner: bool
    language: str
    configuration: tuple[str, ...]
    executors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledTrigger:
    """An installed trigger; `special` if it has a condition, arguments or a table of new rows."""

    table: Place
    name: str
    function: Place
    state: str
    bits: int
    transition_table: str
    special: bool
    constraint: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What is installed in one database."""

    functions: tuple[InstalledFunction, ...] = ()
    triggers: tuple[InstalledTrigger, ...] = ()

    def function(self, place: Place) -> InstalledFunction | None:
        """Return the function of that name."""
        return next((function for function in self.functions if function.place == place), None)

    def trigger(self, table: Place, name: str) -> InstalledTrigger | None:
        """Return the trigger of that name on that table."""
        triggers = (trigger for trigger in self.triggers if trigger.table == table)
        return next((trigger for trigger in triggers if trigger.name == name), None)


class Harm(enum.Enum):
    """What a fault means."""

    UNRECORDED = "deletions pass unrecorded"
    EXPOSED = "it gives other roles privileges that they do not have"
    ALTERED = "it is not what would be installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a function or a trigger; `subject` is a parent's label, or a function."""

    subject: str
    harm: Harm
    text: str


def places(using: str, names: Sequence[str]) -> list[Place | None]:
    """Return the schema and name of each of those quoted tables; None for one that is missing."""
    with connections[using].cursor() as cursor:
        cursor.execute(_PLACES, [list(names)])
        return [None if name is None else Place(schema, name) for schema, name in cursor.fetchall()]


def read(using: str, log: str) -> Installed:
    """Return our triggers on visible tables, and the functions with our names.

    These are in the schemas of the triggers' functions, and in that of the table `log` (a quoted
    name), if it exists.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_INSTALLED, [[CAPTURE, REFUSE], log])
        rows = cursor.fetchall()
    triggers = tuple(_trigger(row[2:12]) for row in rows if row[0] is not None)
    functions = {row[12]: _function(row[13:]) for row in rows if row[12] is not None}
    return Installed(functions=tuple(functions.values()), triggers=triggers)


def _function(row: Sequence[Any]) -> InstalledFunction:
    schema, name, owner, superuser, body, as_owner, language, configuration, executors = row
    return InstalledFunction(
        place=Place(schema, name),
        owner=owner,
        superuser=superuser,
        body=body,
        as_owner=as_owner,
        language=language,
        configuration=tuple(configuration),
        executors=tuple(sorted({role or EVERYBODY for role in executors})),
    )


def _trigger(row: Sequence[Any]) -> InstalledTrigger:
    schema, table, name, home, function, state, bits, rows, special, constraint = row
    return InstalledTrigger(
        table=Place(schema, table),
        name=name,
        function=Place(home, function),
        state=state,
        bits=bits,
        transition_table=rows,
        special=special,
        constraint=constraint,
    )


def faults(
    parent: str, wanted: Trigger, current: Installed, owners: Collection[str]
) -> Iterator[Fault]:
    """Yield the faults of a trigger of `parent` and of its function. Pure.

    `owners` are the roles that the function may belong to.
    """
    trigger = current.trigger(wanted.table, wanted.name)
    for text in of_trigger(wanted, trigger):
        calls_ours = trigger is not None and trigger.function == wanted.function.place
        fires = calls_ours and trigger is not None and trigger.state not in SILENT
        harm = Harm.UNRECORDED if wanted.name == CAPTURE and not fires else Harm.ALTERED
        yield Fault(subject=parent, harm=harm, text=f"{wanted.name}: {text}")
    if (function := current.function(wanted.function.place)) is not None:
        yield from of_function(parent, wanted.function, function, owners)


def of_trigger(wanted: Trigger, current: InstalledTrigger | None) -> Iterator[str]:
    """Yield how a trigger differs from the wanted one. Pure."""
    if current is None:
        yield "its trigger is not there"
        return
    if current.state != FIRES:
        yield f"its trigger is {SILENT.get(current.state, 'enabled for replication as well')}"
    if current.function != wanted.function.place:
        yield f"its trigger calls {current.function}, not {wanted.function.place}"
    if (
        (current.bits, current.transition_table) != (wanted.bits, wanted.transition_table)
        or current.special
        or current.constraint
    ):
        yield "its trigger fires for another event, or on a condition"


def of_function(
    subject: str, wanted: Function, current: InstalledFunction, owners: Collection[str]
) -> Iterator[Fault]:
    """Yield how a function differs from the wanted one. Pure."""
    name = current.place.name
    altered = [
        (current.body, current.language) != (wanted.body, LANGUAGE),
        current.as_owner != wanted.as_owner,
        current.configuration != CONFIGURATION,
    ]
    if any(altered):
        words = ("body", "SECURITY", "search_path")
        parts = ", ".join(word for word, is_so in zip(words, altered, strict=True) if is_so)
        text = f"the function {name} was changed, or is of another release: {parts}"
        yield Fault(subject=subject, harm=Harm.ALTERED, text=text)
    yield from exposed(subject, current)
    if current.owner not in owners and not current.superuser:
        text = f"the function {name} belongs to {current.owner}"
        yield Fault(subject=subject, harm=Harm.ALTERED, text=text)


def exposed(subject: str, current: InstalledFunction) -> Iterator[Fault]:
    """Yield what a function lets others do. Pure."""
    name = current.place.name
    if EVERYBODY in current.executors:
        text = f"PUBLIC may execute the function {name}"
        yield Fault(subject=subject, harm=Harm.EXPOSED, text=text)
    if others := [role for role in current.executors if role != EVERYBODY]:
        text = f"the function {name} may be executed by {', '.join(others)}"
        yield Fault(subject=subject, harm=Harm.ALTERED, text=text)
    if current.superuser:
        text = f"the function {name} belongs to the superuser {current.owner}"
        harm = Harm.EXPOSED if current.as_owner else Harm.ALTERED
        yield Fault(subject=subject, harm=harm, text=text)
