"""Renames open work to today's names, or cancels it for an operator.

It works in batches, each in one transaction. After a crash, the next run finds only the rows that
still have the old name. Each function returns the number of rows that it changes, and changes
nothing unless `apply`.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from .. import conf
from ..models import Cascade, Deletion
from . import names, tables
from .deletions import cancel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import Model, QuerySet

    from .renaming import Renaming

#: Rows of one transaction.
BATCH = 1_000
#: Cascades that are not finished.
UNFINISHED = Cascade.IN_BACKLOG | Q(state=Cascade.State.DONE)


def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Give open deletions and cascades their new name."""
    changed = _databases(change, using, apply=apply) + _fences(change, using, apply=apply)
    for old in names.open_names(using=using):
        if (new := change.pair(*old)) != old:
            rows = names.open_deletions(*old, using=using)
            changed += _each(rows, using, _relabel(new, using), apply=apply)
    return changed


def rename_history(change: Renaming, *, using: str, apply: bool) -> int:
    """Rename the parent of finished deletions, because receipts are found by it."""
    if change.model(change.old) == change.old:
        return 0
    rows = tables.deletions(using).filter(parent=change.old, state__in=Deletion.ENDED)
    return _each(
        rows,
        using,
        lambda pks: _named(pks, using).update(parent=change.new),
        apply=apply,
    )


def close_database(alias: str, reason: str, *, using: str, apply: bool) -> int:
    """Cancel the unfinished cascades into a database; those of other databases continue."""
    changed = 0
    for rows in _unfinished(alias, using):
        changed += _each(rows, using, lambda pks: give_up(pks, reason, using), apply=apply)
    return changed


def close_names(pairs: list[tuple[str, str]], reason: str, *, using: str, apply: bool) -> int:
    """Cancel the open deletions of those parents and relations."""
    return sum(
        _each(
            names.open_deletions(*pair, using=using),
            using,
            lambda pks: cancel(pks, reason, using=using),
            apply=apply,
        )
        for pair in pairs
    )


def _each(
    rows: QuerySet[Model], using: str, change: Callable[[list[int]], object], *, apply: bool
) -> int:
    """Change the rows, so that `rows` no longer contains them; or count them."""
    if not apply:
        return rows.order_by().count()
    changed = 0
    while True:
        with transaction.atomic(using=using):
            locked = tables.locked(rows.order_by("pk"), using, skip_locked=False)
            pks = list(locked.values_list("pk", flat=True)[:BATCH])
            if pks:
                change(pks)
        changed += len(pks)
        if len(pks) < BATCH:
            return changed


def _named(pks: list[int], using: str) -> QuerySet[Deletion]:
    return tables.deletions(using).filter(tables.id_in("pk", pks, using))


def _relabel(new: tuple[str, str], using: str) -> Callable[[list[int]], None]:
    def relabel(pks: list[int]) -> None:
        parent, relation = new
        _named(pks, using).update(parent=parent, relation=relation)
        cascades = tables.cascades(using).filter(tables.id_in("deletion_id", pks, using))
        make_due(cascades)

    return relabel


def make_due(cascades: QuerySet[Cascade]) -> None:
    """Make cascades that were set aside due now. Leases and grace periods continue."""
    grace = dt.timedelta(seconds=conf.current().grace_seconds)
    aside = Q(state__in=[Cascade.State.PENDING, Cascade.State.WAITING])
    aside |= Q(state=Cascade.State.DONE, claim=None, done_at__lte=Now() - grace)
    cascades.filter(aside).update(due_at=Now(), reason="", failing=None)


def _unfinished(alias: str, using: str) -> Iterator[QuerySet[Cascade]]:
    """Yield the unfinished cascades, one queryset for each of the two indexes."""
    rows = tables.cascades(using).filter(database=alias)
    yield rows.filter(Cascade.IN_BACKLOG)
    yield rows.filter(state=Cascade.State.DONE)


def _databases(change: Renaming, using: str, *, apply: bool) -> int:
    if change.alias(change.old) == change.old:
        return 0
    changed = 0
    for rows in _unfinished(change.old, using):
        changed += _each(rows, using, lambda pks: _move(pks, change.new, using), apply=apply)
    return changed


def _move(pks: list[int], new: str, using: str) -> None:
    """Rename the database of cascades. A cascade that has the new name already does the work."""
    moving = tables.cascades(using).filter(tables.id_in("pk", pks, using))
    deletions = dict(moving.values_list("deletion_id", "pk"))
    in_new = tables.cascades(using).filter(
        tables.id_in("deletion_id", list(deletions), using), database=new
    )
    doubled = list(in_new.values_list("deletion_id", flat=True))
    _take_both(in_new, doubled, using)
    twins = [deletions[deletion] for deletion in doubled]
    tables.cascades(using).filter(tables.id_in("pk", twins, using)).update(
        state=Cascade.State.CANCELLED, claim=None, reason=f"done as {new}"
    )
    rest = [pk for pk in pks if pk not in set(twins)]
    renamed = tables.cascades(using).filter(tables.id_in("pk", rest, using))
    renamed.update(database=new)
    make_due(renamed)


def _take_both(in_new: QuerySet[Cascade], deletions: list[int], using: str) -> None:
    over = (Cascade.State.DONE, *Cascade.ENDED)
    again = in_new.filter(state__in=over)
    again.update(
        state=Cascade.State.PENDING, attempts=0, claim=None, verified_at=None, due_at=Now()
    )
    _named(deletions, using).filter(state=Deletion.State.CASCADED).update(
        state=Deletion.State.DISPATCHED, cascaded_at=None
    )


def _fences(change: Renaming, using: str, *, apply: bool) -> int:
    """Rename the aliases of parents' databases in the fences of suspects."""
    if change.alias(change.old) == change.old:
        return 0
    rows = tables.deletions(using).filter(state=Deletion.State.SUSPECT, fence__has_key=change.old)

    def move(pks: list[int]) -> None:
        for suspect in _named(pks, using).only("fence"):
            fence = {change.alias(home): number for home, number in (suspect.fence or {}).items()}
            _named([suspect.pk], using).update(fence=fence)

    return _each(rows, using, move, apply=apply)


def give_up(pks: list[int], reason: str, using: str) -> None:
    """Cancel cascades, and their deletions if no other cascade is left."""
    closed = tables.cascades(using).filter(tables.id_in("pk", pks, using))
    closed.update(state=Cascade.State.CANCELLED, claim=None, reason=reason)
    deletions = set(closed.values_list("deletion_id", flat=True))
    of_them = tables.cascades(using).filter(tables.id_in("deletion_id", list(deletions), using))
    others = of_them.exclude(state=Cascade.State.CANCELLED)
    cancel(deletions - set(others.values_list("deletion_id", flat=True)), reason, using=using)
