"""The list of what operators did, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..models import Audit
from . import limits
from .lists import Page, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of one log's audit to list: those that have these texts, in any case."""

    using: str
    actor: str = ""
    verb: str = ""
    target: str = ""
    place: Place = field(default_factory=Place)


def audits(wanted: Wanted) -> Page:
    """Return a page of the audit. Where few rows are wanted, it looks at `limits.PAGE_LOOKED`."""
    place = wanted.place
    rows = Audit.objects.using(wanted.using).order_by("pk" if place.ascends else "-pk")
    if place.before is not None:
        rows = rows.filter(pk__lt=place.before)
    if place.after is not None:
        rows = rows.filter(pk__gt=place.after)
    filtered = bool(wanted.actor or wanted.verb or wanted.target)
    most = limits.PAGE_LOOKED if filtered else limits.PAGE_ROWS
    read = list(rows[: most + 1])
    page, rest = _taken(read[:most], wanted)
    if rest is None and len(read) > most:
        rest = read[most - 1].pk
    shown = sorted(page, key=lambda row: row.pk, reverse=not place.oldest_first)
    if place.ascends:
        back = None if place.after is None else place.after + 1
        return Page(rows=shown, newer=rest, older=back)
    back = None if place.before is None else place.before - 1
    return Page(rows=shown, older=rest, newer=back)


def _taken(rows: list[Audit], wanted: Wanted) -> tuple[list[Audit], int | None]:
    """Return the rows of a page, and the last of them if there are more. Pure."""
    fitting = [row for row in rows if _fits(row, wanted)]
    page = fitting[: limits.PAGE_ROWS]
    return page, page[-1].pk if len(fitting) > len(page) else None


def _fits(row: Audit, wanted: Wanted) -> bool:
    pairs = (row.actor, wanted.actor), (row.verb, wanted.verb), (row.target, wanted.target)
    return all(part.casefold() in text.casefold() for text, part in pairs)
