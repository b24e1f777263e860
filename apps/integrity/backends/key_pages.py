"""What an engine must be able to do for a scan: see base.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ..relations import Field
    from ..relations.relation import ForeignKey


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """Distinct keys in the child's order, and how many rows hold them.

    Only the reader that returned a page understands its `keys`. `end` says that no keys follow.
    """

    keys: Any
    first: str
    last: str
    count: int
    rows: int
    end: bool


class KeyReader(Protocol):
    """Reads the distinct keys of a child, page by page, and which of them have no parent.

    Texts of keys are as the database writes them. Both reads raise `FilteredRead` where the server
    may hide rows.

    Note [Packed]: between PostgreSQL servers, a page is one value that Python passes on unopened:
    no object is made of a key that has a parent. So a scan is as fast as the servers are.
    """

    def reading(self, child: str) -> AbstractContextManager[object]:
        """Enclose the reads of one run. Where it is a transaction on `child`, it only reads."""

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], KeyPage | None]:
        """Ask for at most `limit` keys that follow `after`, or for the first ones.

        Return a function that waits for the page; it returns None where no keys follow.
        """

    def missing(self, field: ForeignKey, page: KeyPage, *, parent: str) -> list[str]:
        """Return the page's keys that no row of the parent in `parent` has, as text."""
