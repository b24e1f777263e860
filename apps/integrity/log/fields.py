"""Renames fields in the `targets` of deletions, and ends cascades that lack a field's value.

Both are needed if a parent's field is renamed, or a relation with a new `to_field` is added, while
deletions are open. See Note [Keys that come back] in cascade/live_check.py. The functions work in
batches, as in renames.py, and change nothing unless `apply`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Q

from .. import relations
from ..backends.transactions import atomic, retried
from ..exceptions import InvalidKey, InvalidName
from ..models import Cascade
from ..relations import discovery, keys
from . import names, parts, renames, tables
from .renaming import Kind, field_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from django.db.models import QuerySet

    from ..models import Deletion
    from ..relations import Field
    from .renaming import Renaming

#: How many open deletions of a parent are checked for missing values.
SAMPLE = 1_000


def rename_field(change: Renaming, *, using: str, apply: bool, history: bool = False) -> int:
    """Rename a field in the targets of a parent's deletions; return the number of deletions.

    It renames in open deletions, suspects included; with `history`, in those that have ended. A dry
    run comes first and raises the same error.

    Raises:
        InvalidName: a deletion has another value under the new name, or a value that the renamed
            field cannot hold.
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

    changed = walk(write if apply else check)
    return changed if history else changed + _suspects(change, using, apply=apply)


def _suspects(change: Renaming, using: str, *, apply: bool) -> int:
    """Rename the field of a parent's suspects; return their number. Raises `InvalidName`."""
    (parent, old), (_, new) = field_of(change.old), field_of(change.new)
    target = _target(change.new)
    if target is not None:
        rows = tables.suspects(using).filter(parent=parent, field=old)
        for pk, value in rows.values_list("pk", "value").iterator(chunk_size=renames.BATCH):
            if not _fits(target, value):
                raise InvalidName(
                    f"suspect {pk} has a value of {change.old} that {change.new} cannot hold,"
                    " so no suspect was renamed"
                )
    return renames.rename_field_of_suspects((parent, old), new, using=using, apply=apply)


def moved(targets: Mapping[str, Any], old: str, new: str) -> dict[str, Any] | None:
    """Return `targets` with `old` renamed to `new`; None if `new` has another value. Pure."""
    if new in targets and targets[new] != targets[old]:
        return None
    rest = {name: value for name, value in targets.items() if name not in {old, new}}
    return {**rest, new: targets[old]}


def _named(parent: str, field: str, using: str, *, history: bool) -> Iterator[QuerySet[Deletion]]:
    """Yield querysets of the parent's deletions that have a value for that field."""
    if history:
        yield names.ended_deletions(parent, using=using).filter(targets__has_key=field)
        return
    for name in names.open_names(using=using):
        if name[0] == parent:
            yield names.open_deletions(*name, using=using).filter(targets__has_key=field)


def _walk(rows: QuerySet[Any], using: str, act: Callable[[list[Any]], int]) -> int:
    """Call `act` with batches of rows, in the order of their ids; return the sum of its results.

    Each batch has its own transaction, which locks the rows.
    """
    done = last = 0
    while True:
        rest = rows.filter(pk__gt=last).order_by("pk")[: renames.BATCH]
        batch, acted = _step(rest, using, act)
        done += acted
        if len(batch) < renames.BATCH:
            return done
        last = batch[-1].pk


@retried
def _step(
    rows: QuerySet[Any], using: str, act: Callable[[list[Any]], int]
) -> tuple[list[Any], int]:
    with atomic(using):
        batch = list(tables.locked(rows, using, skip_locked=False))
        return batch, act(batch) if batch else 0


def _all_moved(batch: Collection[Deletion], change: Renaming) -> dict[int, dict[str, Any]]:
    """Return the id and the renamed targets of each deletion. Raises `InvalidName`."""
    (_, old), (_, new) = field_of(change.old), field_of(change.new)
    target = _target(change.new)
    renamed = {}
    for deletion in batch:
        targets = moved(deletion.targets or {}, old, new)
        if targets is None:
            raise InvalidName(
                f"deletion {deletion.pk} has one value of {change.old} and another one of"
                f" {change.new}, so one is not the old name of the other; nothing was renamed"
                " from there on"
            )
        if target is not None and not _fits(target, targets[new]):
            raise InvalidName(
                f"deletion {deletion.pk} has a value of {change.old} that {change.new} cannot"
                " hold; nothing was renamed from there on"
            )
        renamed[deletion.pk] = targets
    return renamed


def _target(name: str) -> Field | None:
    """Return the field that the catalogue knows by that name; None if it knows none."""
    parent, wanted = field_of(name)
    model = relations.catalogue().parents.get(parent)
    known = discovery.targets(model) if model else ()
    return next((field for field in known if field.name == wanted), None)


def _fits(target: Field, text: str | None) -> bool:
    try:
        return text is None or keys.parse_key(target, text) is not None
    except InvalidKey:
        return False


def _write(renamed: Mapping[int, Mapping[str, Any]], using: str) -> int:
    for pk, targets in renamed.items():
        tables.deletions(using).filter(pk=pk).update(targets=dict(targets))
    renames.make_due(tables.of_deletions(renamed, using))
    return len(renamed)


def lacking(parent: str, relation: str, *, using: str) -> list[tuple[int, dict[str, Any]]]:
    """Return id and targets of up to `SAMPLE` open deletions of those names."""
    rows = names.open_deletions(parent, relation, using=using).order_by()
    return [(pk, targets or {}) for pk, targets in rows.values_list("pk", "targets")[:SAMPLE]]


def over_in(pks: Collection[int], databases: Collection[str], *, using: str) -> set[int]:
    """Return the deletions with cascades into those databases, all of which have ended."""
    rows = tables.of_deletions(pks, using).filter(database__in=databases)
    ended, others = set[int](), set[int]()
    for deletions, state in rows.values_list("deletions", "state"):
        (ended if state in Cascade.ENDED else others).update(deletions)
    return (ended - others) & {*pks}


def close_field(
    name: str,
    labels: Collection[str],
    databases: Collection[str],
    reason: str,
    *,
    using: str,
    apply: bool,
) -> int:
    """Cancel cascades that wait only for a value of that field, which the log lacks.

    `failing` shows that their rows along all other relations are removed. A scan finds the rows
    along `labels`. Return the number of cascades.
    """
    parent, field = field_of(name)
    rows = tables.cascades(using).filter(
        Cascade.IN_BACKLOG, state=Cascade.State.WAITING, parent=parent
    )

    def give_up(batch: list[Cascade]) -> int:
        changed = 0
        for cascade in batch:
            if cascade.failing and {*cascade.failing} <= {*labels}:
                lacks = tables.deletions(using).filter(
                    Q(targets__isnull=True) | ~Q(targets__has_key=field),
                    tables.id_in("pk", cascade.deletions, using),
                )
                ids = [*lacks.values_list("pk", flat=True)]
                changed += len(ids)
                if ids and apply:
                    mine = tables.cascades(using).filter(pk=cascade.pk)
                    whole = parts.separate(mine, ids, using=using, holder=False)
                    renames.give_up([*whole], reason, using)
        return changed

    return sum(_walk(rows.filter(database=database), using, give_up) for database in databases)
