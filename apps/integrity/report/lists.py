"""Lists of deletions, suspects and audits, a page at a time; counting stops at a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import F, Max, Min, Q, QuerySet

from .. import relations
from ..backends import clocks
from ..control import circuit_breaker
from ..exceptions import InvalidKey
from ..exceptions.redaction import plain
from ..log import tables
from ..models import Audit, Cascade, Deletion, Suspect, read_outcomes
from ..models.ids import Newest
from ..relations import keys
from ..relations.relation import primary_key
from . import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows of a list, the newest first; `older` is where the next page begins, or None."""

    rows: list[Any]
    older: int | None


def deletions(
    *,
    using: str,
    model: str = "",
    key: str = "",
    state: str = "",
    ids: Sequence[tuple[int, int]] = (),
    before: int | None = None,
    searched: Callable[[str], bool] = lambda _parent: True,
) -> Page:
    """Return a page of one log's deletions, filtered by parent model, key and state.

    The state "blocked" means that a cascade is blocked. "kept" also lists open deletions of which a
    cascade has kept rows, because the cards count these.

    Args:
        using: The alias of the log.
        model: The label of a parent model, or "".
        key: A key as text, or "".
        state: A state, or "".
        ids: Only deletions whose id is in one of these ranges; of all, if there are none.
        before: Only deletions with a smaller id.
        searched: Whether the account may search a parent model, by its label, for a key.

    Raises:
        UnknownName: there is no such parent model.
        InvalidKey: no parent model that is searched could have the key, or none may be searched.
    """
    rows = Deletion.objects.using(using).order_by("-pk")
    cascades = Cascade.objects.using(using).filter(_CASCADES.get(state, Q()))
    if model:
        label = relations.catalogue().parent(model)._meta.label
        rows, cascades = rows.filter(parent=label), cascades.filter(parent=label)
    if key:
        rows = rows.filter(_named(model, key, searched))
    if ids:
        rows = rows.filter(_in_ranges(ids))
    if before is not None:
        rows = rows.filter(pk__lt=before)
    if state == Deletion.State.RECORDED:
        return _page_of(_read(rows.filter(Deletion.IS_RECORDED)), state, using)
    if key or ids:
        return _page_of(_read(rows), state, using)
    if state not in _CASCADES:
        return _window(rows, state, before or _after(Deletion.objects.using(using), "pk"), using)
    return _page_in(rows, cascades, state, before, using)


#: State → the cascades that its deletions are in; "blocked" is one of cascades.
_CASCADES: dict[str, Q] = {
    Deletion.State.DISPATCHED: Cascade.IN_BACKLOG,
    Deletion.State.CASCADED: Q(state=Cascade.State.DONE),
    Deletion.State.KEPT: Q(state=Cascade.State.KEPT) | Cascade.UNACKNOWLEDGED,
    Deletion.State.CANCELLED: Q(state=Cascade.State.CANCELLED),
    Cascade.State.BLOCKED: Q(state=Cascade.State.BLOCKED),
}


def _page_in(
    rows: QuerySet[Deletion],
    cascades: QuerySet[Cascade],
    state: str,
    before: int | None,
    using: str,
) -> Page:
    """Return a page of the deletions that are in those cascades, or cancelled without one."""
    if before is not None:  # a batch has the id of its first deletion
        cascades = cascades.filter(batch__lt=before)
    if state == Deletion.State.CANCELLED:
        cancelled = Q(cancelled_at__isnull=False)
        top = before or max(
            # Not of the key itself: its index would be read from the end, these have their own.
            _after(rows.filter(cancelled), F("pk") + 0),
            _after(cascades, Newest("deletions")),
        )
        return _window(rows.filter(cancelled | _of(cascades)), state, top, using)
    ids = _ids(cascades, before)
    if ids is not None:
        return _page_of(_read_ids(rows, ids, using), state, using)
    top = _after(cascades, Newest("deletions"))
    top = top if before is None else min(top, before)
    return _window(rows.filter(_of(cascades)), state, top, using)


def _ids(cascades: QuerySet[Cascade], before: int | None) -> list[int] | None:
    """Return ids of the deletions in those cascades, the newest first; None if there are too many.

    Batches overlap: the newest of them may lack the newest deletions. So it takes all or none.
    """
    sizes = cascades.order_by().values_list("size", flat=True)[: limits.PAGE_CASCADES + 1]
    if len(sizes) > limits.PAGE_CASCADES or sum(sizes) > limits.PAGE_IDS:
        return None
    held = {pk for ids in cascades.values_list("deletions", flat=True) for pk in ids}
    return sorted((pk for pk in held if before is None or pk < before), reverse=True)


def _read(rows: QuerySet[Deletion]) -> Iterator[list[Deletion]]:
    """Yield the rows: first as many as a page shows, then larger chunks."""
    size, rest = limits.PAGE_ROWS + 1, rows
    while chunk := list(rest[:size]):
        yield chunk
        if len(chunk) < size:
            return
        size, rest = limits.PAGE_CHUNK, rows.filter(pk__lt=chunk[-1].pk)


def _read_ids(rows: QuerySet[Deletion], ids: Sequence[int], using: str) -> Iterator[list[Deletion]]:
    """Yield those of the rows that have one of the ids, which descend; in the same chunks."""
    start, end = 0, limits.PAGE_ROWS + 1
    while start < len(ids):
        yield list(rows.filter(tables.id_in("pk", list(ids[start:end]), using)))
        start, end = end, end + limits.PAGE_CHUNK


def _of(cascades: QuerySet[Cascade]) -> Q:
    """Return the condition that a deletion is of a batch of those cascades."""
    return Q(batch__in=cascades.values("batch"))


def _after(rows: QuerySet[Any], newest: Any) -> int:
    """Return the id after the newest of the rows, by that expression of them."""
    return int(rows.order_by().aggregate(newest=Max(newest))["newest"] or 0) + 1


def _window(rows: QuerySet[Deletion], state: str, top: int, using: str) -> Page:
    """Return a page of the newest ids below `top`: finished deletions have no index by state."""
    floor = top - limits.PAGE_IDS
    page = _page_of(_read(rows.filter(pk__gte=floor, pk__lt=top)), state, using)
    if page.older or floor <= _oldest(using):
        return page
    return Page(rows=page.rows, older=floor)


def _oldest(using: str) -> int:
    """Return the id of the oldest deletion that was not purged."""
    return int(Deletion.objects.using(using).aggregate(oldest=Min("pk"))["oldest"] or 0)


def _page_of(chunks: Iterator[list[Deletion]], state: str, using: str) -> Page:
    """Return the first deletions that are in that state, of the first `limits.PAGE_LOOKED`."""
    page: list[Deletion] = []
    looked = 0
    for chunk in chunks:
        read_outcomes(chunk, using=using)
        page += [deletion for deletion in chunk if _is_in(deletion, state)]
        if len(page) > limits.PAGE_ROWS:
            shown = page[: limits.PAGE_ROWS]
            return Page(rows=shown, older=shown[-1].pk)
        looked += len(chunk)
        if looked >= limits.PAGE_LOOKED:
            return Page(rows=page, older=chunk[-1].pk)
    return Page(rows=page, older=None)


def _is_in(deletion: Deletion, state: str) -> bool:
    """Return whether a deletion belongs into the list of that state. Pure."""
    if state == Cascade.State.BLOCKED:
        return any(one.is_blocked for one in deletion.databases)
    if state == Deletion.State.KEPT and any(one.is_unacknowledged for one in deletion.databases):
        return True
    return not state or deletion.state == state


def _named(model: str, text: str, searched: Callable[[str], bool]) -> Q:
    """Return the condition for that key, of one parent model or of any that could have it."""
    known = relations.catalogue().parents
    condition = Q()
    labels = [relations.catalogue().parent(model)._meta.label] if model else known
    if not (allowed := [label for label in labels if searched(label)]):
        raise InvalidKey("your account may not look at these parents, so not search their keys")
    for label in allowed:
        pk = primary_key(known[label])
        try:
            key = keys.format_key(pk, keys.parse_key(pk, text))
        except InvalidKey:
            if model:
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


def _page(rows: QuerySet[Any]) -> Page:
    fetched = list(rows[: limits.PAGE_ROWS + 1])
    page = fetched[: limits.PAGE_ROWS]
    return Page(rows=page, older=page[-1].pk if len(fetched) > len(page) else None)


def capped(rows: QuerySet[Any]) -> int:
    """Return the number of rows, at most `limits.COUNT_MAX + 1`."""
    return rows.order_by()[: limits.COUNT_MAX + 1].count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A missing parent: its key, or the values that children hold; `seconds` since it was found."""

    id: int
    key: str | None
    targets: dict[str, Any] | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Keys without a parent that scans of one relation found; `first` are the oldest of them."""

    relation: str
    policy: str
    parent: str
    using: str
    number: int
    oldest_seconds: float
    first: list[Missing]


def suspected() -> list[Suspects]:
    """Return the suspects of each relation, in the logs that answer."""
    suspects, logs = [], circuit_breaker.answering_logs()
    for relation in relations.catalogue().relations:
        using = relation.parent_databases[0]
        if using not in logs:
            continue
        rows = Suspect.objects.using(using).filter(relation=relation.label)
        first = [
            Missing(
                id=row.pk,
                key=None if row.field else row.value,
                targets={row.field: row.value} if row.field else None,
                seconds=clocks.age_of(row) or 0.0,
            )
            for row in rows.annotate(age=clocks.age("recorded_at")).order_by("pk")[
                : limits.SUSPECTS_SHOWN
            ]
        ]
        if first:
            suspects.append(
                Suspects(
                    relation=relation.label,
                    policy=str(relation.policy),
                    parent=relation.parent._meta.label,
                    using=using,
                    number=capped(rows),
                    oldest_seconds=max(suspect.seconds for suspect in first),
                    first=first,
                )
            )
    return suspects


def audits(*, using: str, before: int | None = None) -> Page:
    """Return a page of the audit: who did what, the latest first."""
    rows = Audit.objects.using(using).order_by("-pk")
    return _page(rows.filter(pk__lt=before) if before is not None else rows)
