"""Run scans in new processes and compare them with joins."""

# ruff: noqa: S608 - names are ours

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connections

from sandbox import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from .joins import Orphans
    from .orphans import Tables
    from .stage import Stage

#: The databases of a relation's parents and children.
HOMES = ("default", "blog_db")
#: SQLite files that a probe uses as these databases.
LITE = ("lite_parents", "lite_children")
LOG = ("integrity_cascade", "integrity_deletion", "integrity_suspect", "integrity_scan")


@dataclass(slots=True)
class Scans:
    """Scans of one relation, each in a new process and with an empty log.

    `portable` forces the portable key reader. Each scan must find the same as the join (`truth`).
    """

    stage: Stage
    tables: Tables
    portable: bool = False
    lite: bool = False
    done: list[dict[str, Any]] = field(default_factory=list)
    truth: Orphans | None = None

    def __call__(self) -> float:
        """Run a scan; return its seconds."""
        forget(LITE[0] if self.lite else HOMES[0])
        env = lite_environment() if self.lite else {}
        result = self.stage.probe("scan", env=env, label=self.tables.label, portable=self.portable)
        missing = frozenset(result.pop("missing"))
        if self.truth and (missing, result["orphans"]) != (self.truth.keys, self.truth.rows):
            raise AssertionError(f"{self.tables.label}: the scan and the join do not agree")
        self.done.append(result)
        return float(result["seconds"])

    @property
    def last(self) -> dict[str, Any]:
        """The figures of the last scan."""
        return self.done[-1]

    def of(self, name: str) -> list[Any]:
        """Return one figure of all scans."""
        return [result[name] for result in self.done]


@dataclass(slots=True)
class Join:
    """A measured join. Its orphans are the expected result of `scans`."""

    join: Callable[[], Orphans]
    scans: tuple[Scans, ...]

    def __call__(self) -> float:
        """Run the join; return its seconds."""
        orphans = self.join()
        for scans in self.scans:
            scans.truth = orphans
        return orphans.seconds


def forget(log: str) -> None:
    """Empty the log, because rows of earlier scans affect the time."""
    with connections[log].cursor() as cursor:
        if connections[log].vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(LOG)}")
            return
        for table in LOG:
            cursor.execute(f"DELETE FROM {table}")


def lite_environment() -> dict[str, str]:
    """Return variables that make a probe use the SQLite files as its databases."""
    return {
        environment.VARIABLES[home]: f"sqlite:///{connections[lite].settings_dict['NAME']}"
        for home, lite in zip(HOMES, LITE, strict=True)
    }
