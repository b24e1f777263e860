"""The small tables of a log, read once for all figures: a row for each relation and database."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..backends import clocks
from ..models import Scan
from .pressure import child_databases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models import ChildDatabase


@dataclass(frozen=True)
class SmallTables:
    """The state of child databases and of scans in the log in `using`, each read when it is needed.

    Scans are annotated with two ages: `lasts` is that of the pass under way, and `age` that of the
    last complete one.
    """

    using: str

    @cached_property
    def children(self) -> Sequence[ChildDatabase]:
        """Return the child databases."""
        return list(child_databases(self.using))

    @cached_property
    def scans(self) -> Sequence[Scan]:
        """Return the scans."""
        ages = {"lasts": clocks.age("began_at"), "age": clocks.age("covers_at")}
        return list(Scan.objects.using(self.using).annotate(**ages))
