"""The base class of erasure steps: what has to be erased outside the databases, with the rows.

A subclass is named in the setting `steps`. It finds out what belongs to rows that are about to be
removed, such as the names of files, and erases that later, after the rows are gone.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from .exceptions import NotYet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from django.db.models import Model, QuerySet

__all__ = ["Found", "Item", "Json", "NotYet", "Step"]

#: What JSON can hold.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
#: What is to be erased: the name of a file, the id of a document. Names and ids only.
Item: TypeAlias = "str | Mapping[str, Json]"


class Found(Enum):
    """What a probe found of the items that it was asked for."""

    NONE = "none"
    SOME = "some"
    #: It could not find out. That is not "none": nothing is verified by it.
    UNKNOWN = "unknown"


class Step:
    """An erasure step. Each process creates it once, and uses it in several threads."""

    def covers(self, model: type[Model]) -> bool:  # noqa: ARG002 (for subclasses)
        """Return whether rows of the model may have something to erase. Default: always.

        Each process asks once for each model that a cascade can remove rows of.
        """
        return True

    def collect(self, rows: QuerySet[Any]) -> Iterable[Item]:
        """Return what belongs to the rows.

        It runs in the transaction that removes the rows, before they go, with a bounded number of
        them. It may read the rows' database and change nothing. If it raises, the rows stay, and
        the attempt counts as failed.
        """
        raise NotImplementedError

    def erase(self, items: Sequence[Item]) -> None:
        """Erase the items. Raises an exception if that is impossible now, or `NotYet`.

        The rows are gone by then. The same items may be erased again, after a crash for example,
        so what is gone already is no error.

        `NotYet` is for what has to wait, though nothing has failed: no attempt is counted.
        """
        raise NotImplementedError

    def probe(self, items: Sequence[Item]) -> Found:
        """Return whether any of the items still exists. `NotYet` puts off the question."""
        raise NotImplementedError
