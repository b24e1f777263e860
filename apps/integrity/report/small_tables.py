"""The small tables of a log, read once for all figures: a row for each relation and database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backends import clocks
from ..models import Scan
from .pressure import child_databases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models import ChildDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallTables:
    """The state of child databases and of scans in one log.

    Scans are annotated with two ages: `lasts` is that of the pass under way, and `age` that of the
    last complete one.
    """

    children: Sequence[ChildDatabase]
    scans: Sequence[Scan]

    @classmethod
    def of(cls, using: str) -> SmallTables:
        """Read the tables of a log. Two statements."""
        ages = {"lasts": clocks.age("began_at"), "age": clocks.age("covers_at")}
        return cls(
            children=list(child_databases(using)),
            scans=list(Scan.objects.using(using).annotate(**ages)),
        )
