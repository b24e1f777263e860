"""What a run of a scan is told, what it says, and what it has not saved yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backends.key_pages import KeyPage


@dataclass(slots=True, kw_only=True)
class Scanned:
    """What a run saw of one relation in one child database.

    Where this run ended the pass, `orphans_of_pass` counts the runs before it too. `expected_rows`
    is None before the first pass has ended, where the database keeps no statistics. `blocked`
    counts keys whose deletion is in the log and blocked: their rows are orphans until `retry`, but
    no suspects. So are those of keys that are too long for the log.
    """

    relation: str
    database: str
    expected_rows: int | None = None
    rows_scanned: int = 0
    keys_scanned: int = 0
    suspects: int = 0
    blocked: int = 0
    orphans: int = 0
    orphans_of_pass: int = 0
    complete: bool = False
    reason: str = ""
    #: Where a database of the parents is hindered: which, and why.
    waits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a run scans.

    `full` begins each pass anew. `throttled` scans only what is due, rests as long as it works, and
    keeps one server busy at a time. `tell` is called with the figures after each save.
    """

    full: bool = False
    throttled: bool = False
    tell: Callable[[Scanned], object] = lambda _: None


@dataclass(slots=True)
class Unsaved:
    """Pages whose parents were asked, and that are not saved yet."""

    keys: int = 0
    rows: int = 0
    #: The last key of the last page.
    last: str | None = None
    missing: list[Any] = field(default_factory=list)

    def add(self, page: KeyPage, missing: list[Any]) -> None:
        """Add a page, with those of its keys that have no parent."""
        self.keys += page.count
        self.rows += page.rows
        self.last = page.last
        self.missing += missing
