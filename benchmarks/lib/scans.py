"""Passes of the product's scan, and what they are compared with."""

# ruff: noqa: S608 - names are ours

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connections

from sandbox import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from .joins import Found
    from .orphans import Tables
    from .stage import Stage

#: Where a relation's parents and children are.
HOMES = ("default", "blog_db")
#: The same, as files: a probe takes them for its homes.
LITE = ("lite_parents", "lite_children")
LOG = ("integrity_cascade", "integrity_deletion", "integrity_scan")


@dataclass(slots=True)
class Scans:
    """Passes over one relation, each in a fresh process and the first one of its log.

    `portable` forces the ORM's reader of keys. Each pass must find what the join found (`truth`).
    """

    stage: Stage
    tables: Tables
    portable: bool = False
    lite: bool = False
    done: list[dict[str, Any]] = field(default_factory=list)
    truth: Found | None = None

    def __call__(self) -> float:
        """Seconds of one more."""
        forget(LITE[0] if self.lite else HOMES[0])
        env = lite_environment() if self.lite else {}
        found = self.stage.probe("scan", env=env, label=self.tables.label, portable=self.portable)
        missing = frozenset(found.pop("missing"))
        if self.truth and (missing, found["orphans"]) != (self.truth.keys, self.truth.rows):
            raise AssertionError(f"{self.tables.label}: the scan and the join do not agree")
        self.done.append(found)
        return float(found["seconds"])

    @property
    def last(self) -> dict[str, Any]:
        """All of the last pass."""
        return self.done[-1]

    def of(self, name: str) -> list[Any]:
        """That figure, of each pass."""
        return [each[name] for each in self.done]


@dataclass(slots=True)
class Join:
    """A join that is measured, and whose findings are the truth of some scans."""

    join: Callable[[], Found]
    scans: tuple[Scans, ...]

    def __call__(self) -> float:
        """Seconds of one more."""
        found = self.join()
        for each in self.scans:
            each.truth = found
        return found.seconds


def forget(log: str) -> None:
    """Empty the log: what a pass costs depends on what an earlier one has left there."""
    with connections[log].cursor() as cursor:
        if connections[log].vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(LOG)}")
            return
        for table in LOG:
            cursor.execute(f"DELETE FROM {table}")


def lite_environment() -> dict[str, str]:
    """Variables that make a probe take the SQLite files for its databases."""
    return {
        environment.VARIABLES[home]: f"sqlite:///{connections[lite].settings_dict['NAME']}"
        for home, lite in zip(HOMES, LITE, strict=True)
    }
