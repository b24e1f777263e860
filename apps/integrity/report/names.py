"""Open work under names that the catalogue does not know. No worker does it, so it is reported.

The commands, the pages, the metrics, the doctor and the alarms all read it here. While every name
is known, it costs two statements on the log and two on its small tables, or none where these and
the work of the log have been read already.

Note [Names age]: the log keeps the aliases and labels that were valid when it was written. After a
rename in the settings, the models or a router, no worker does the work that is open under the old
name. It stays in the log until `integrity rename` moves it to the new name or closes it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypedDict

from .. import relations
from ..log.names import open_databases, open_names, work_under
from ..log.renaming import Kind
from ..models import Cascade
from . import fields, limits
from .guesses import guess
from .small_tables import SmallTables
from .totals import sum_of
from .work import OpenNames

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..models import ChildDatabase
    from ..relations import Catalogue
    from .fields import Lack
    from .work import Work


class Unknown(TypedDict):
    """A name that only the log knows. `work` counts its open deletions."""

    kind: str
    name: str
    log: str
    work: int
    guess: str
    reason: str


#: Parent and relation of a deletion.
Name = tuple[str, str]


def unknown(logs: Iterable[str]) -> list[Unknown]:
    """Return the unknown names in open work of those logs, which have to answer."""
    return [entry for using in logs for entry in unknown_in(using, SmallTables(using))]


def unknown_in(using: str, small: SmallTables) -> list[Unknown]:
    """Return the unknown names of one log, whose small tables have been read already."""
    names, databases = open_names(using=using), open_databases(using=using)
    places = {(row.relation, row.database) for row in small.scans if row.is_open}
    return unknown_among(using, small.children, OpenNames(names, databases, places))


def unknown_among(using: str, children: Iterable[ChildDatabase], seen: OpenNames) -> list[Unknown]:
    """Return those of the names in open work, and of the paused databases, that are unknown."""
    catalogue, (names, databases, places) = relations.catalogue(), seen
    paused = {row.alias for row in children if row.paused_at is not None}
    aliases = {*databases, *paused, *(alias for _, alias in places)} - {*catalogue.places}
    stranded = strandings(catalogue, names, databases)
    scanned = [("", label) for label, _ in sorted(places)]
    entries = [_entry(Kind.ALIAS, name, using, _cascades(name, using)) for name in sorted(aliases)]
    entries += [_stranded(name, using) for name in stranded]
    for kind, name, pairs in labels(catalogue, [*names, *scanned]):
        if name not in catalogue.reasons:
            entries.append(_entry(kind, name, using, _deletions(pairs, using)))
        elif work := _deletions(pairs, using, suspected=False):
            entries.append(_ignored(name, using, work))
    return entries + [_lacked(lack, using) for lack in fields.lacks(catalogue, names, using)]


def labels(catalogue: Catalogue, names: Sequence[Name]) -> list[tuple[Kind, str, list[Name]]]:
    """Return the unknown models and relations in those names, each with the names it is in. Pure.

    If the child model of a relation is unknown, the model is returned, not the relation. The names
    of scans have no parent.
    """
    unknown_labels: dict[tuple[Kind, str], list[Name]] = {}
    for pair in names:
        if unknown_label := _unknown_in(catalogue, *pair):
            unknown_labels.setdefault(unknown_label, []).append(pair)
    return [(kind, label, pairs) for (kind, label), pairs in unknown_labels.items()]


def _unknown_in(catalogue: Catalogue, parent: str, relation: str) -> tuple[Kind, str] | None:
    if parent and not catalogue.knows(parent):
        return Kind.MODEL, parent
    if parent and catalogue.knows(parent, None, relation):
        return None
    if not parent and relation in catalogue.by_label:
        return None
    if relation in catalogue.reasons:
        return Kind.RELATION, relation
    if child_of(relation) in {known.child._meta.label for known in catalogue.relations}:
        return Kind.RELATION, relation
    return Kind.MODEL, child_of(relation)


def under(kind: Kind, name: str, *, using: str) -> list[Name]:
    """Return the names of open deletions that an unknown model or relation is in."""
    for unknown_kind, label, pairs in labels(relations.catalogue(), open_names(using=using)):
        if (unknown_kind, label) == (kind, name):
            return pairs
    return []


def child_of(relation: str) -> str:
    """Return the label of the child model in a relation's label. Pure."""
    return relation.partition("@")[0].rpartition(".")[0]


def strandings(catalogue: Catalogue, names: Sequence[Name], databases: Sequence[str]) -> list[str]:
    """Return known databases with open cascades that none of those names cascades into. Pure.

    If a parent of other open work cascades into one, the claim detects it (log/claims.py).
    """
    return [
        alias
        for alias in databases
        if alias in catalogue.places
        and all(catalogue.knows(parent) for parent, _ in names)
        and not any(catalogue.knows(parent, alias, relation) for parent, relation in names)
    ]


def waiting(works: Iterable[Work], states: Sequence[str]) -> Counter[str]:
    """Return database → deletions in those states under unknown names. They wait for an operator.

    Pure.
    """
    catalogue, counts = relations.catalogue(), Counter[str]()
    for work in works:
        for group in work.of(*states):
            if not catalogue.knows(group.parent, None, group.relation):
                counts[group.database] += group.number
    return counts


def _cascades(alias: str, using: str) -> int:
    rows = Cascade.objects.using(using).filter(database=alias, ended_at__isnull=True)
    return min(sum_of("size", rows), limits.COUNT_MAX + 1)


def _deletions(names: Sequence[Name], using: str, *, suspected: bool = True) -> int:
    most = limits.COUNT_MAX + 1
    numbers = (work_under(*name, most=most, using=using, suspected=suspected) for name in names)
    return min(sum(numbers), most)


def _entry(kind: Kind, name: str, using: str, work: int) -> Unknown:
    new = guess(kind, name, using)
    what = {
        Kind.ALIAS: "no child database has this alias",
        Kind.MODEL: "no relation has a model of this name",
        Kind.RELATION: "no relation has this name",
    }[kind]
    return _of(kind, name, using, work, new, f"{what}: {_work(work)}")


def _ignored(name: str, using: str, work: int) -> Unknown:
    why = f"the settings ignore this relation: {_work(work)}"
    return _of(Kind.RELATION, name, using, work, "", why)


def _stranded(alias: str, using: str) -> Unknown:
    work = _cascades(alias, using)
    why = f"no relation of their parents leads there any more: {_work(work)}"
    return _of(Kind.ALIAS, alias, using, work, "", why)


def _lacked(lack: Lack, using: str) -> Unknown:
    """Return the entry of a field: its old name if that is known, and today's as the guess."""
    return {
        "kind": str(Kind.FIELD),
        "name": lack.old or lack.name,
        "log": using,
        "work": lack.deletions,
        "guess": lack.name if lack.old else "",
        "reason": fields.reason_of(lack),
    }


def _work(number: int) -> str:
    if not number:
        return "a scan or a pause is left"
    count = f"{limits.COUNT_MAX:,}+" if number > limits.COUNT_MAX else f"{number:,}"
    return f"{count} open deletions wait for an operator"


def _of(kind: Kind, name: str, using: str, work: int, new: str, why: str) -> Unknown:
    remedy = f"`manage.py integrity rename {name} {new or 'NEW'} --{kind}`"
    return {
        "kind": str(kind),
        "name": name,
        "log": using,
        "work": work,
        "guess": new,
        "reason": f"{why}. {remedy} moves it to the new name; `--close REASON` closes it",
    }
