"""Wait until the rows of deleted accounts are gone, and show how many are left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.integrity.conf.steps import without_steps

from . import proof, screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.auth.models import User

    from .stage import Stage

WORKERS = ("worker-integrity", "worker-blog_db", "worker-shop_db", "worker-files", "beat")


@dataclass(kw_only=True)
class Watch:
    """Counts the remaining rows of deleted accounts. `before` has the first count by database."""

    stage: Stage
    keys: Sequence[int]
    before: dict[str, int]
    started: float

    @classmethod
    def of(cls, stage: Stage, users: Sequence[User]) -> Watch:
        """Return a watch on accounts that are about to be deleted."""
        keys = [user.pk for user in users]
        before = proof.remaining(keys)
        return cls(stage=stage, keys=keys, before=before, started=time.monotonic())

    def restart(self) -> None:
        """Measure the seconds from now on."""
        self.started = time.monotonic()

    def until_gone(self) -> dict[str, float]:
        """Show a progress bar for each database; return the seconds until each was done."""
        done: dict[str, float] = {}
        with screen.bars("rows", self.before) as progress:

            def settled() -> bool:
                left = proof.remaining(self.keys)
                for alias, total in self.before.items():
                    progress(alias, total - left[alias])
                empty = {alias for alias in self.before if not left[alias]}
                if empty - done.keys():
                    rows = proof.backlogs()
                    for alias in empty:
                        if not rows[alias]["backlog"]:
                            done.setdefault(alias, round(time.monotonic() - self.started, 2))
                return len(done) == len(self.before)

            self.stage.until("the rows to be deleted", settled, blame=WORKERS)
        return done


def until_idle(stage: Stage, what: str) -> None:
    """Wait until no cascade is open in a database. Steps go on until all is verified."""

    def idle() -> bool:
        rows = proof.backlogs()
        return not any(rows[database]["backlog"] for database in without_steps(rows))

    stage.until(what, idle, blame=WORKERS)
