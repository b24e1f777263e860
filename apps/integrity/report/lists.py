"""Lists of deletions, a page at a time, from the newest or from the oldest."""

from __future__ import annotations

import bisect
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.models import Q, QuerySet

from .. import relations
from ..exceptions import InvalidKey
from ..exceptions.redaction import plain
from ..log import tables
from ..models import Deletion, read_outcomes
from ..relations import keys
from ..relations.relation import primary_key
from . import found, limits
from .faults import BEHIND_SECONDS
from .filters import Shown, fits
from .found import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page is: `before` an id or `after` one, or at the beginning of its order."""

    before: int | None = None
    after: int | None = None
    oldest_first: bool = False

    @property
    def ascends(self) -> bool:
        """Return whether the page is read from the lower id to the higher one."""
        return self.after is not None or (self.oldest_first and self.before is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deletions of one log to list.

    `model` is the label of a parent model, `shown` a `filters.Shown`, `age` in seconds, and `ids`
    are ranges of first and last id; what is empty stands for any. `searched` tells of a parent's
    label whether the account may search its keys.
    """

    using: str
    model: str = ""
    key: str = ""
    reference: str = ""
    shown: str = ""
    database: str = ""
    age: float | None = None
    ids: Sequence[tuple[int, int]] = ()
    place: Place = field(default_factory=Place)
    searched: Callable[[str], bool] = lambda _parent: True


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows of a list. The next page is before `older`, the one on the other side after `newer`.

    `total` is the number of rows on all pages, at most `limits.COUNT_MAX + 1`; None if counting
    would read too much.
    """

    rows: list[Any]
    older: int | None
    newer: int | None = None
    total: int | None = None


def deletions(wanted: Wanted) -> Page:
    """Return a page of one log's deletions.

    Raises:
        UnknownName: there is no such parent model.
        InvalidKey: no parent model that is searched could have the key, or none may be searched.
    """
    using, place = wanted.using, wanted.place
    parent = relations.catalogue().parent(wanted.model)._meta.label if wanted.model else ""
    age = max(wanted.age or 0.0, BEHIND_SECONDS if wanted.shown == Shown.LATE else 0.0)
    cut = found.recorded_before(age, using) if age else None
    rows = tables.deletions(using).filter(parent=parent) if parent else tables.deletions(using)
    if wanted.key:
        rows = rows.filter(_named(parent, wanted.key, wanted.searched))
    if wanted.reference:
        rows = rows.filter(tables.referring(wanted.reference))
    if wanted.ids:
        rows = rows.filter(_in_ranges(wanted.ids))
    kind = wanted.shown, wanted.database, parent
    first = (
        _chosen(wanted, rows)
        if wanted.key or wanted.reference or wanted.ids
        else found.find(*kind, ascending=place.ascends, using=using)
    )
    if first and first.whole:
        return _listed([pk for pk in first.ids if cut is None or pk < cut], place, using)
    page = _walked(wanted, rows if cut is None else rows.filter(pk__lt=cut), first, cut)
    many = first is not None and first.many and cut is None
    return dataclasses.replace(page, total=limits.COUNT_MAX + 1 if many else None)


def _chosen(wanted: Wanted, rows: QuerySet[Deletion]) -> Found:
    """Return those of a few rows that are wanted: with a key, a reference, or ids in ranges."""
    rows = rows.order_by() if wanted.key or wanted.reference else rows.order_by("-pk")
    ids = sorted(rows.values_list("pk", flat=True)[: limits.COUNT_MAX + 1])
    many = len(ids) > limits.COUNT_MAX
    if many or not (wanted.shown or wanted.database):
        return Found(ids=ids, whole=not many, many=many and not (wanted.shown or wanted.database))
    fitting = [
        row.pk
        for start in range(0, len(ids), limits.PAGE_CHUNK)
        for row in _rows(ids[start : start + limits.PAGE_CHUNK], wanted.using)
        if fits(row, wanted.shown, wanted.database)
    ]
    return Found(ids=sorted(fitting), whole=True)


def _listed(ids: Sequence[int], place: Place, using: str) -> Page:
    """Return a page of those ids, which ascend and are all."""
    low = bisect.bisect_right(ids, place.after) if place.after is not None else 0
    high = bisect.bisect_left(ids, place.before) if place.before is not None else len(ids)
    if place.ascends:
        high = min(high, low + limits.PAGE_ROWS)
    else:
        low = max(low, high - limits.PAGE_ROWS)
    high = max(low, high)
    return Page(
        rows=_ordered(_rows(ids[low:high], using), place),
        older=(ids[low] if low < len(ids) else ids[-1] + 1) if low else None,
        newer=(ids[high - 1] if high else ids[0] - 1) if high < len(ids) else None,
        total=min(len(ids), limits.COUNT_MAX + 1),
    )


def _rows(ids: Sequence[int], using: str) -> list[Deletion]:
    """Return those deletions with what came of them."""
    rows = list(tables.deletions(using).filter(tables.id_in("pk", list(ids), using)))
    read_outcomes(rows, using=using)
    return rows


def _ordered(rows: Sequence[Deletion], place: Place) -> list[Deletion]:
    return sorted(rows, key=lambda row: row.pk, reverse=not place.oldest_first)


def _walked(wanted: Wanted, rows: QuerySet[Deletion], first: Found | None, cut: int | None) -> Page:
    """Return a page of the rows that fit, from its place on: note [All or an edge]."""
    place, (low, high) = wanted.place, found.ends(wanted.using)
    high = high + 1 if cut is None else cut
    edge = first.edge if first else None
    if place.ascends:
        begin = place.after + 1 if place.after is not None else max(low, edge or low)
        left, beyond = begin > low, min(begin + limits.PAGE_IDS, high)
    else:
        begin = place.before if place.before is not None else min(high, (edge or high) + 1)
        left, beyond = begin < high, max(begin - limits.PAGE_IDS, low)
    chunks = _chunks(rows, begin, beyond, ascending=place.ascends)
    page, rest = _taken(chunks, wanted)
    if rest is None and beyond != (high if place.ascends else low):
        rest = beyond - 1 if place.ascends else beyond
    shown = _ordered(page, place)
    if place.ascends:
        return Page(rows=shown, newer=rest, older=begin if left else None)
    return Page(rows=shown, older=rest, newer=begin - 1 if left else None)


def _chunks(
    rows: QuerySet[Deletion], begin: int, beyond: int, *, ascending: bool
) -> Iterator[list[Deletion]]:
    """Yield the rows between two ids: first as many as a page shows, then larger chunks."""
    size = limits.PAGE_ROWS + 1
    while True:
        between = Q(pk__gte=begin, pk__lt=beyond) if ascending else Q(pk__lt=begin, pk__gte=beyond)
        chunk = list(rows.filter(between).order_by("pk" if ascending else "-pk")[:size])
        if chunk:
            yield chunk
        if len(chunk) < size:
            return
        size, begin = limits.PAGE_CHUNK, chunk[-1].pk + (1 if ascending else 0)


def _taken(chunks: Iterator[list[Deletion]], wanted: Wanted) -> tuple[list[Deletion], int | None]:
    """Return the first deletions that fit, and the id from which on more may; or None."""
    page, looked = list[Deletion](), 0
    for chunk in chunks:
        read_outcomes(chunk, using=wanted.using)
        page += [row for row in chunk if fits(row, wanted.shown, wanted.database)]
        if len(page) > limits.PAGE_ROWS:
            shown = page[: limits.PAGE_ROWS]
            return shown, shown[-1].pk
        looked += len(chunk)
        if looked >= limits.PAGE_LOOKED:
            return page, chunk[-1].pk
    return page, None


def _named(parent: str, text: str, searched: Callable[[str], bool]) -> Q:
    """Return the condition for that key, of one parent model or of any that could have it."""
    known = relations.catalogue().parents
    condition = Q()
    labels = [parent] if parent else known
    if not (allowed := [label for label in labels if searched(label)]):
        raise InvalidKey("your account may not look at these parents, so not search their keys")
    for label in allowed:
        pk = primary_key(known[label])
        try:
            key = keys.format_key(pk, keys.parse_key(pk, text))
        except InvalidKey:
            if parent:
                raise
        else:
            condition |= Q(key=key, parent=label)
    if not condition:
        raise InvalidKey(f"{plain(text, 100)!r} is no key of any parent model")
    return condition


def _in_ranges(ranges: Sequence[tuple[int, int]]) -> Q:
    """Return the condition that the id is in one of those ranges of first and last id."""
    condition = Q(pk__in=[first for first, last in ranges if first == last])
    for first, last in ranges:
        if first != last:
            condition |= Q(pk__range=(first, last))
    return condition
