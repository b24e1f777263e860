"""Open work under names that today's catalogue does not know: nobody does it, so somebody is told.

The one source of it for the command line, the pages, the metrics, the doctor and the alarms. Costs
two statements on the log and two on its small tables while every name is known.

Note [Names age]: the log keeps aliases and labels of the day they were written. After a rename in
the settings, the models or a router, what was open under the old name is done by nobody. It is
neither lost nor over: `integrity rename` gives it its new name, or closes it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypedDict

from .. import relations
from ..log.names import open_databases, open_deletions, open_names, waiting_under
from ..log.renaming import Kind
from ..models import Cascade, ChildDatabase, Scan
from . import fields, limits
from .guesses import guess

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..relations import Catalogue
    from .fields import Lack


class Unknown(TypedDict):
    """A name that only the log knows. `work` counts its open deletions, or cascades of an alias."""

    kind: str
    name: str
    log: str
    work: int
    guess: str
    reason: str


#: Parent and relation of a deletion.
Name = tuple[str, str]


def unknown(logs: Iterable[str]) -> list[Unknown]:
    """What is open under unknown names in those logs, which have to answer."""
    return [each for using in logs for each in _unknown(using)]


def _unknown(using: str) -> list[Unknown]:
    return unknown_in(using, Scan.objects.using(using), ChildDatabase.objects.using(using))


def unknown_in(
    using: str, scans: Iterable[Scan], children: Iterable[ChildDatabase]
) -> list[Unknown]:
    """The same of one log, whose two small tables have been read already."""
    found, names = relations.catalogue(), open_names(using=using)
    databases = open_databases(using=using)
    places = {(row.relation, row.database) for row in scans if is_open(row)}
    paused = {row.alias for row in children if row.paused_at is not None}
    aliases = {*databases, *paused, *(alias for _, alias in places)} - {*found.child_databases}
    stranded = strandings(found, names, databases)
    told = [_told(Kind.ALIAS, name, using, _cascades(name, using)) for name in sorted(aliases)]
    told += [_stranded(name, using) for name in stranded]
    for kind, name, under in labels(found, [*names, *(("", label) for label, _ in sorted(places))]):
        told.append(_told(kind, name, using, _deletions(under, using)))
    return told + [_lacked(each, using) for each in fields.lacks(found, names, using)]


def is_open(row: Scan) -> bool:
    """Whether it is a pass that somebody has to end, or saw orphans. Pure."""
    return bool(row.began_at or row.orphans or row.last_orphans)


def labels(found: Catalogue, names: Sequence[Name]) -> list[tuple[Kind, str, list[Name]]]:
    """The unknown models and relations in those names, and the names that they are in. Pure.

    A relation is told by its child model where that is what nobody knows. One without a parent is
    of a scan.
    """
    told: dict[tuple[Kind, str], list[Name]] = {}
    for name in names:
        if what := _unknown_in(found, *name):
            told.setdefault(what, []).append(name)
    return [(kind, name, under) for (kind, name), under in told.items()]


def _unknown_in(found: Catalogue, parent: str, relation: str) -> tuple[Kind, str] | None:
    if parent and not found.knows(parent):
        return Kind.MODEL, parent
    if parent and found.knows(parent, None, relation):
        return None
    if not parent and relation in {each.label for each in found.relations}:
        return None
    if child_of(relation) in {each.child._meta.label for each in found.relations}:
        return Kind.RELATION, relation
    return Kind.MODEL, child_of(relation)


def under(kind: Kind, name: str, *, using: str) -> list[Name]:
    """The names of open deletions that an unknown model or relation stands in."""
    told = labels(relations.catalogue(), open_names(using=using))
    return [each for of, called, names in told if (of, called) == (kind, name) for each in names]


def child_of(relation: str) -> str:
    """The child model in a relation's label. Pure."""
    return relation.partition("@")[0].rpartition(".")[0]


def strandings(found: Catalogue, names: Sequence[Name], databases: Sequence[str]) -> list[str]:
    """Known databases with open cascades into which none of those names leads. Pure.

    Where a parent of other open work leads there, it is the claim that finds out (log/claims.py).
    """
    return [
        alias
        for alias in databases
        if alias in found.child_databases
        and all(found.knows(parent) for parent, _ in names)
        and not any(found.knows(parent, alias, relation) for parent, relation in names)
    ]


def waiting(
    logs: Iterable[str], told: Sequence[Unknown], states: Sequence[Cascade.State]
) -> Counter[str]:
    """Database → cascades in those states under unknown names: they wait for an operator."""
    found, counts = relations.catalogue(), Counter[str]()
    for using in logs if told else ():
        names = [
            (parent, relation)
            for parent, relation in open_names(using=using)
            if not found.knows(parent, None, relation)
        ]
        counts += waiting_under(names, states, most=limits.COUNT_MAX, using=using)
    return counts


def _cascades(alias: str, using: str) -> int:
    rows = Cascade.objects.using(using).filter(database=alias)
    most = limits.COUNT_MAX + 1
    unproven = rows.filter(state=Cascade.State.DONE).order_by()
    backlog = rows.filter(Cascade.IN_BACKLOG).order_by()
    return min(backlog[:most].count() + unproven[:most].count(), most)


def _deletions(names: Sequence[Name], using: str) -> int:
    most = limits.COUNT_MAX + 1
    found = (open_deletions(*name, using=using).order_by()[:most].count() for name in names)
    return min(sum(found), most)


def _told(kind: Kind, name: str, using: str, work: int) -> Unknown:
    new = guess(kind, name, using)
    what = {
        Kind.ALIAS: "no child database has this alias",
        Kind.MODEL: "no relation has a model of this name",
        Kind.RELATION: "no relation has this name",
    }[kind]
    return _of(kind, name, using, work, new, f"{what}: {_work(kind, work)} nobody does")


def _stranded(alias: str, using: str) -> Unknown:
    work = _cascades(alias, using)
    why = (
        f"no relation of their parents leads there any more: {_work(Kind.ALIAS, work)} nobody does"
    )
    return _of(Kind.ALIAS, alias, using, work, "", why)


def _lacked(lack: Lack, using: str) -> Unknown:
    """By its old name, if there is one; a field has that of today as its guess."""
    return {
        "kind": str(Kind.FIELD),
        "name": lack.old or lack.name,
        "log": using,
        "work": lack.deletions,
        "guess": lack.name if lack.old else "",
        "reason": fields.reason_of(lack),
    }


def _work(kind: Kind, number: int) -> str:
    if not number:
        return "a scan or a pause that"
    what = "cascades" if kind is Kind.ALIAS else "deletions"
    count = f"{limits.COUNT_MAX:,}+" if number > limits.COUNT_MAX else f"{number:,}"
    return f"{count} open {what} that"


def _of(kind: Kind, name: str, using: str, work: int, new: str, why: str) -> Unknown:
    remedy = f"`manage.py integrity rename {name} {new or 'NEW'} --{kind}`"
    return {
        "kind": str(kind),
        "name": name,
        "log": using,
        "work": work,
        "guess": new,
        "reason": f"{why}. {remedy} gives it the new name; `--close REASON` gives it up",
    }
