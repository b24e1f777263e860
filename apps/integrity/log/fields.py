"""Open deletions whose `targets` have another name for a field than today's models, or none.

A parent's field was renamed, or a relation with a new `to_field` came while they were open. See
Note [Keys that come back] in cascade/live_check.py. In batches, as in renames.py; nothing changes
unless `apply`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q

from .. import relations
from ..exceptions import InvalidKey, InvalidName
from ..models import Cascade, Deletion
from ..relations import discovery, keys
from . import names, renames, tables
from .renaming import Kind, field_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from django.db.models import QuerySet

    from ..relations import Field
    from .renaming import Renaming

#: So many open deletions of a parent are looked at for values that they lack.
SAMPLE = 1_000


def rename_field(change: Renaming, *, using: str, apply: bool, history: bool = False) -> int:
    """Give values in deletions of a parent today's name of their field; return their number.

    Of open deletions (suspects are), or of those that have ended. Raises `InvalidName` where one
    has another value under the new name, or one that the field of today cannot hold: a dry run
    does, too, and comes first.
    """
    if change.kind is not Kind.FIELD:
        return 0
    parent, old = field_of(change.old)

    def check(batch: list[Deletion]) -> int:
        return len(_all_moved(batch, change))

    def write(batch: list[Deletion]) -> int:
        return _write(_all_moved(batch, change), using)

    def walk(act: Callable[[list[Deletion]], int]) -> int:
        named = _named(parent, old, using, history=history)
        return sum(_walk(rows.only("targets"), using, act) for rows in named)

    return walk(write if apply else check)


def moved(targets: Mapping[str, Any], old: str, new: str) -> dict[str, Any] | None:
    """Return `targets` with the value of `old` under `new`; None where `new` has another. Pure."""
    if new in targets and targets[new] != targets[old]:
        return None
    rest = {name: value for name, value in targets.items() if name not in {old, new}}
    return {**rest, new: targets[old]}


def _named(parent: str, field: str, using: str, *, history: bool) -> Iterator[QuerySet[Deletion]]:
    """Yield the deletions of the parent that have a value under that name of a field."""
    if history:
        rows = tables.deletions(using).filter(parent=parent, state__in=Deletion.ENDED)
        yield rows.filter(targets__has_key=field)
        return
    for name in names.open_names(using=using):
        if name[0] == parent:
            yield names.open_deletions(*name, using=using).filter(targets__has_key=field)


def _walk(rows: QuerySet[Any], using: str, act: Callable[[list[Any]], int]) -> int:
    """Act on the rows in the order of their ids, on each batch in a transaction that locks it.

    Return the sum of what `act` returns.
    """
    done = last = 0
    while True:
        with transaction.atomic(using=using):
            found = tables.locked(rows.filter(pk__gt=last).order_by("pk"), using, skip_locked=False)
            if batch := list(found[: renames.BATCH]):
                done, last = done + act(batch), batch[-1].pk
        if len(batch) < renames.BATCH:
            return done


def _all_moved(batch: Collection[Deletion], change: Renaming) -> dict[int, dict[str, Any]]:
    """Return the targets of each deletion under the new name. Raises `InvalidName`."""
    (_, old), (_, new) = field_of(change.old), field_of(change.new)
    target = _target(change.new)
    found = {}
    for each in batch:
        targets = moved(each.targets or {}, old, new)
        if targets is None:
            raise InvalidName(
                f"deletion {each.pk} has one value of {change.old} and another one of"
                f" {change.new}: the one is not the other's old name, so nothing was renamed in it"
                " or after it"
            )
        if target is not None and not _fits(target, targets[new]):
            raise InvalidName(
                f"deletion {each.pk} has a value of {change.old} that {change.new} cannot hold,"
                " so nothing was renamed in it or after it"
            )
        found[each.pk] = targets
    return found


def _target(name: str) -> Field | None:
    """Return the field of that name in today's catalogue; None where it is none."""
    parent, field = field_of(name)
    model = relations.catalogue().parents.get(parent)
    known = discovery.targets(model) if model else ()
    return next((each for each in known if each.name == field), None)


def _fits(target: Field, text: str | None) -> bool:
    try:
        return text is None or keys.parse_key(target, text) is not None
    except InvalidKey:
        return False


def _write(found: Mapping[int, Mapping[str, Any]], using: str) -> int:
    for pk, targets in found.items():
        tables.deletions(using).filter(pk=pk).update(targets=dict(targets))
    renames.make_due(tables.cascades(using).filter(tables.id_in("deletion_id", [*found], using)))
    return len(found)


def lacking(parent: str, relation: str, *, using: str) -> list[tuple[int, dict[str, Any]]]:
    """Return id and targets of open deletions of those names: of `SAMPLE`, not all.

    Suspects are left out: a second look ends those of which it does not know the value.
    """
    rows = names.open_deletions(parent, relation, using=using)
    found = rows.exclude(state=Deletion.State.SUSPECT).order_by().values_list("pk", "targets")
    return [(pk, targets or {}) for pk, targets in found[:SAMPLE]]


def over_in(pks: Collection[int], databases: Collection[str], *, using: str) -> set[int]:
    """Return which of those deletions have ended in each of those child databases."""
    rows = tables.cascades(using).filter(tables.id_in("deletion_id", [*pks], using))
    found = list(rows.filter(database__in=databases).values_list("deletion_id", "state"))
    return {pk for pk, _ in found} - {pk for pk, state in found if state not in Cascade.ENDED}


def close_field(
    name: str,
    labels: Collection[str],
    databases: Collection[str],
    reason: str,
    *,
    using: str,
    apply: bool,
) -> int:
    """Give up cascades that wait for nothing but a value of that field, which the log lacks.

    Their rows along all other relations are gone: an attempt has told (`failing`). Rows along
    `labels` are left to a scan.
    """
    parent, field = field_of(name)
    lacks = Q(deletion__targets__isnull=True) | ~Q(deletion__targets__has_key=field)
    rows = tables.cascades(using).filter(
        Cascade.IN_BACKLOG, lacks, state=Cascade.State.WAITING, deletion__parent=parent
    )

    def give_up(batch: list[Cascade]) -> int:
        pks = [each.pk for each in batch if each.failing and {*each.failing} <= {*labels}]
        if pks and apply:
            renames.give_up(pks, reason, using)
        return len(pks)

    return sum(_walk(rows.filter(database=each), using, give_up) for each in databases)
