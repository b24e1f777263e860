"""Renames open work to today's names, or cancels it for an operator.

It works in batches, each in one transaction. After a crash, the next run finds only the rows that
still have the old name. Each function returns the number of rows that it changes, and changes
nothing unless `apply`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from django.db.models import Q

from .. import conf
from ..backends.transactions import atomic, retried
from ..models import Cascade
from ..models.moments import ServerNow
from . import names, parts, tables
from .deletions import cancel, end
from .suspects import drop

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model, QuerySet

    from ..models import Deletion
    from .renaming import Renaming

#: Parent and relation.
Name = tuple[str, str]
#: Rows of one transaction.
BATCH = 1_000
#: Cascades of one transaction that names their deletions: each may have `deletions.BATCH`.
CASCADES = 20


def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Give open deletions, cascades and suspects their new name."""
    changed = _databases(change, using, apply=apply) + _fences(change, using, apply=apply)
    for old in names.open_names(using=using):
        if (new := change.pair(*old)) != old:
            changed += _suspects(old, new, using, apply=apply)
            changed += _recorded(old, new, using, apply=apply)
            changed += _dispatched(old, new, using, apply=apply)
    return changed


def rename_history(change: Renaming, *, using: str, apply: bool) -> int:
    """Rename the parent of finished deletions and cascades: receipts and lists find them by it.

    Return the number of deletions.
    """
    if change.model(change.old) == change.old:
        return 0
    if apply:
        ended = tables.cascades(using).filter(parent=change.old, ended_at__isnull=False)
        _each(ended, using, lambda pks: _cascades(pks, using).update(parent=change.new), apply=True)
    return _each(
        names.ended_deletions(change.old, using=using),
        using,
        lambda pks: _named(pks, using).update(parent=change.new),
        apply=apply,
    )


def close_database(alias: str, reason: str, *, using: str, apply: bool) -> int:
    """Cancel the unfinished cascades into a database; those of other databases continue."""
    rows = tables.cascades(using).filter(database=alias, ended_at__isnull=True)
    return _each(rows, using, lambda pks: give_up(pks, reason, using), apply=apply)


def close_names(pairs: list[tuple[str, str]], reason: str, *, using: str, apply: bool) -> int:
    """Cancel the open deletions of those parents and relations, and drop their suspects."""
    changed = 0
    for pair in pairs:
        suspects = names.suspects_of(*pair, using=using)
        changed += _each(suspects, using, lambda pks: drop(pks, using=using), apply=apply)
        deletions = names.open_deletions(*pair, using=using)
        rows = _each(deletions, using, lambda pks: cancel(pks, reason, using=using), apply=apply)
        # And parts of batches whose deletions were cancelled before.
        rest = names.open_cascades(*pair, using=using)
        parts_of = _each(rest, using, lambda pks: give_up(pks, reason, using), apply=apply)
        changed += rows or parts_of
    return changed


def _each(
    rows: QuerySet[Model],
    using: str,
    change: Callable[[list[int]], object],
    *,
    apply: bool,
    step: int = BATCH,
) -> int:
    """Change the rows in the order of their ids, each once, a `step` at a time; or count them."""
    if not apply:
        return rows.order_by().count()
    changed = last = 0
    while True:
        pks = _change_step(rows.filter(pk__gt=last).order_by("pk")[:step], using, change)
        changed += len(pks)
        if len(pks) < step:
            return changed
        last = pks[-1]


@retried
def _change_step(
    rows: QuerySet[Model], using: str, change: Callable[[list[int]], object]
) -> list[int]:
    with atomic(using):
        locked = tables.locked(rows, using, skip_locked=False)
        pks = list(locked.values_list("pk", flat=True))
        if pks:
            change(pks)
    return pks


def _named(pks: list[int], using: str) -> QuerySet[Deletion]:
    return tables.deletions(using).filter(tables.id_in("pk", pks, using))


def _cascades(pks: list[int], using: str) -> QuerySet[Cascade]:
    return tables.cascades(using).filter(tables.id_in("pk", pks, using))


def _recorded(old: Name, new: Name, using: str, *, apply: bool) -> int:
    (parent, relation), (new_parent, new_relation) = old, new
    rows = tables.recorded(using).filter(parent=parent, relation=relation)

    def rename(pks: list[int]) -> None:
        _named(pks, using).update(parent=new_parent, relation=new_relation)

    return _each(rows, using, rename, apply=apply)


def _dispatched(old: Name, new: Name, using: str, *, apply: bool) -> int:
    """Rename batches, each with all of its deletions and open cascades in one transaction.

    So a run that was interrupted leaves no cascade under the old name that the next does not count.
    Return the number of deletions.
    """
    cascades, (parent, relation) = names.open_cascades(*old, using=using), new
    if not apply:
        rows = names.open_deletions(*old, using=using).filter(batch__isnull=False)
        return rows.order_by().count() or cascades.order_by().count()
    changed = 0

    def rename(pks: list[int]) -> None:
        nonlocal changed
        batches = sorted({*_cascades(pks, using).values_list("batch", flat=True)})
        whole = tables.cascades(using).filter(tables.id_in("batch", batches, using))
        ids = sorted({pk for held in whole.values_list("deletions", flat=True) for pk in held})
        standing = _named(ids, using).filter(
            parent=old[0], relation=old[1], cancelled_at__isnull=True
        )
        changed += standing.update(parent=parent, relation=relation)
        mine = cascades.filter(tables.id_in("batch", batches, using))
        renamed = _cascades(list(mine.values_list("pk", flat=True)), using)
        renamed.update(parent=parent, relation=relation)
        make_due(renamed)

    cascades_changed = _each(cascades, using, rename, apply=True, step=CASCADES)
    return changed or cascades_changed


def make_due(cascades: QuerySet[Cascade]) -> None:
    """Make cascades that were set aside due now. Leases and grace periods continue."""
    grace = dt.timedelta(seconds=conf.current().grace_seconds)
    aside = Q(state__in=[Cascade.State.PENDING, Cascade.State.WAITING])
    aside |= Q(state=Cascade.State.DONE, claim=None, done_at__lte=ServerNow() - grace)
    cascades.filter(aside).update(due_at=ServerNow(), reason="", failing=None)


def _databases(change: Renaming, using: str, *, apply: bool) -> int:
    if change.alias(change.old) == change.old:
        return 0
    rows = tables.cascades(using).filter(database=change.old, ended_at__isnull=True)
    return _each(rows, using, lambda pks: _move(pks, change.new, using), apply=apply, step=CASCADES)


def _move(pks: list[int], new: str, using: str) -> None:
    """Rename the database of cascades, except of deletions that have one in `new` already.

    For these, the one there does the work, again unless it waits for that, and counts the rows of
    both: see Note [A partition] in parts.py.
    """
    batches = sorted({*_cascades(pks, using).values_list("batch", flat=True)})
    in_new = tables.cascades(using).filter(tables.id_in("batch", batches, using), database=new)
    there = {pk for ids in in_new.values_list("deletions", flat=True) for pk in ids}
    moving = {pk for ids in _cascades(pks, using).values_list("deletions", flat=True) for pk in ids}
    if twins := there & moving:
        doubled = parts.separate(_cascades(pks, using), twins, using=using, holder=False)
        again = parts.separate(in_new, twins, using=using, holder=False)
        _add_rows([*doubled], [*again], using)
        waits = [Cascade.State.PENDING, Cascade.State.WAITING, Cascade.State.BLOCKED]
        over = _cascades([*again], using).exclude(state__in=waits)
        over.update(
            state=Cascade.State.PENDING,
            attempts=0,
            claim=None,
            done_at=None,
            verified_at=None,
            ended_at=None,
            scope=None,
            due_at=ServerNow(),
        )
        _cascades([*doubled], using).delete()
    renamed = _cascades(pks, using)
    renamed.update(database=new)
    make_due(renamed)


def _add_rows(sources: list[int], targets: list[int], using: str) -> None:
    """Add the rows that were changed by the one cascades to those of the others."""
    found = dict[str, dict[str, int]]()
    for document in _cascades(sources, using).values_list("rows", flat=True):
        found |= document or {}
    for cascade in _cascades(targets, using):
        rows = dict(cascade.rows or {})
        if mine := [str(pk) for pk in cascade.deletions if str(pk) in found]:
            rows |= {pk: dict(Counter(rows.get(pk, {})) + Counter(found[pk])) for pk in mine}
            # Both numbers of the tally may count rows, and a cascade has one.
            _cascades([cascade.pk], using).update(rows=rows, tally=None)


def _suspects(old: Name, new: Name, using: str, *, apply: bool) -> int:
    """Rename suspects, except those of values that have one under the new name already."""
    parent, relation = new
    rows = names.suspects_of(*old, using=using)
    rename = partial(rename_suspects, using=using, parent=parent, relation=relation)
    return _each(rows, using, rename, apply=apply)


def rename_field_of_suspects(old: tuple[str, str], new: str, *, using: str, apply: bool) -> int:
    """Rename the field in suspects of a parent; return their number. `old` is parent and field."""
    parent, field = old
    rows = tables.suspects(using).filter(parent=parent, field=field)
    return _each(rows, using, partial(rename_suspects, using=using, field=new), apply=apply)


def rename_suspects(pks: list[int], *, using: str, **columns: str) -> None:
    """Change those columns of suspects. Drop those that others are equal to then."""
    mine = tables.suspects(using).filter(tables.id_in("pk", pks, using))
    renamed = {
        (columns.get("relation", row.relation), columns.get("field", row.field), row.value): row.pk
        for row in mine
    }
    others = tables.suspects(using).filter(
        relation__in={relation for relation, _, _ in renamed},
        field__in={field for _, field, _ in renamed},
        value__in=[value for _, _, value in renamed],
    )
    there = others.exclude(tables.id_in("pk", pks, using))
    drop(
        [renamed[row] for row in there.values_list("relation", "field", "value") if row in renamed],
        using=using,
    )
    mine.update(**columns)


def _fences(change: Renaming, using: str, *, apply: bool) -> int:
    """Rename the aliases of parents' databases in the fences of suspects."""
    if change.alias(change.old) == change.old:
        return 0
    rows = tables.suspects(using).filter(fence__has_key=change.old)

    def move(pks: list[int]) -> None:
        for suspect in tables.suspects(using).filter(tables.id_in("pk", pks, using)).only("fence"):
            fence = {change.alias(home): number for home, number in (suspect.fence or {}).items()}
            tables.suspects(using).filter(pk=suspect.pk).update(fence=fence)

    return _each(rows, using, move, apply=apply)


def give_up(pks: list[int], reason: str, using: str) -> None:
    """Cancel those cascades. Their deletions are never verified: models/outcome.py."""
    end(_cascades(pks, using), reason)
