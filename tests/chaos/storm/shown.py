"""Whether each trouble is shown in time: the database's row of the status has to name it.

The clock of a trouble runs while it lasts and holds up work that some worker could do: one of the
database's has run long enough to have started, and neither the log nor the broker is away. Who
waits for verification is told by verification, which beat starts once a minute; so it is started
here while nothing is told.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error, connections
from kombu.exceptions import OperationalError as BrokerError

from apps.integrity.exceptions import CrossDatabaseError
from apps.integrity.models import Cascade, ChildDatabase
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues.celery import verify_in
from apps.integrity.report import status
from tests.chaos import log

from .troubles import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from apps.integrity.report.backlog import DatabaseRow

    from .troubles import Trouble

#: A trouble is told within so many seconds of its effect.
SHOWN_SECONDS = 10.0
#: Between two looks at the status.
LOOK_SECONDS = 0.5
#: Between two calls for verification.
VERIFY_SECONDS = 2.0


@dataclass
class Clock:
    """How long a trouble has had an effect, and when it was told; None: not yet."""

    trouble: Trouble
    seconds: float = 0.0
    told: float | None = None
    said: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is still to be told."""
        return self.told is None and self.trouble.fault.kind in WORDS

    def look(self, row: DatabaseRow, since: float) -> None:
        """Take in what the status says, after so many seconds that some worker could work."""
        self.seconds += since
        self.said = "; ".join(filter(None, (row["reason"], row["unproven_reason"])))
        if WORDS[self.trouble.fault.kind] in self.said:
            self.told = self.seconds

    @property
    def verdict(self) -> str:
        """What is wrong, or ""."""
        if self.trouble.fault.kind not in WORDS or self.seconds <= SHOWN_SECONDS:
            return ""
        if self.told is not None and self.told <= SHOWN_SECONDS:
            return ""
        told = "not shown" if self.told is None else f"shown only after {self.told:.1f} s"
        return f"{self.trouble.name}: {told} in {self.seconds:.1f} s; the status said {self.said!r}"


@dataclass
class Shown:
    """The clocks of all troubles; `can_work` tells whether a worker of a database could work."""

    can_work: Callable[[str], bool]
    clocks: list[Clock] = field(default_factory=list)
    _going_on: list[Clock] = field(default_factory=list)
    _looked: float = 0.0
    _called: float = 0.0

    def began(self, trouble: Trouble) -> None:
        """A trouble begins."""
        clock = Clock(trouble)
        self.clocks.append(clock)
        self._going_on.append(clock)

    def ended(self, trouble: Trouble) -> None:
        """A trouble is over."""
        self._going_on = [each for each in self._going_on if each.trouble is not trouble]

    def undecided(self, trouble: Trouble) -> bool:
        """Whether a trouble is still to be told or to halve a step; not if felt for too long."""
        if trouble.fault.kind == "narrow":
            return not has_halved(trouble)
        clocks = [each for each in self._going_on if each.trouble is trouble]
        return any(each.runs and each.seconds <= SHOWN_SECONDS for each in clocks)

    def look(self) -> None:
        """Look at the status, if it is time and some trouble is not told yet."""
        now = time.monotonic()
        since, running = now - self._looked, [each for each in self._going_on if each.runs]
        if since < LOOK_SECONDS:
            return
        self._looked = now
        if not running:
            return
        with self._quietly():
            rows = {row["database"]: row for row in status.collect_status()["databases"]}
            for each in running:
                self._look_at(each, rows[each.trouble.alias], since)

    def _look_at(self, clock: Clock, row: DatabaseRow, since: float) -> None:
        trouble = clock.trouble
        if not held_up(trouble):
            return
        hidden = any(each.trouble.hides_parents for each in self._going_on if each is not clock)
        free = self.can_work(trouble.alias) and not hidden
        # A look that took long is no evidence for the time before it.
        clock.look(row, min(since, 2 * LOOK_SECONDS) if free else 0.0)
        if trouble.fault.kind == "idle" and clock.told is None:
            self._call_for_verification(trouble.alias)

    def _call_for_verification(self, alias: str) -> None:
        if time.monotonic() - self._called >= VERIFY_SECONDS:
            self._called = time.monotonic()
            with suppress(BrokerError, OSError):
                verify_in.apply_async(args=(alias,), retry=False)

    @staticmethod
    def _quietly() -> suppress:
        return suppress(Error, CrossDatabaseError)

    def verdicts(self) -> Iterator[str]:
        """What was not told in time."""
        yield from filter(None, (each.verdict for each in self.clocks))

    def too_mild(self) -> Iterator[str]:
        """That most troubles held nothing up, or not for long enough to be told."""
        wanted = [each for each in self.clocks if each.trouble.fault.kind in WORDS]
        told = [each for each in wanted if each.told is not None]
        if 2 * len(told) <= len(wanted):
            yield f"too mild: only {len(told)} of {len(wanted)} troubles were shown"

    def lines(self) -> Iterator[str]:
        """When each was told."""
        for each in self.clocks:
            if each.trouble.fault.kind not in WORDS:
                yield f"{each.trouble.name}"
            elif each.told is not None:
                yield f"{each.trouble.name}: shown after {each.told:.1f} s"
            else:
                yield f"{each.trouble.name}: not shown, and felt for {each.seconds:.1f} s only"


def has_halved(trouble: Trouble) -> bool:
    """Whether the database of that trouble has had a step halved; not if the log cannot say."""
    halved = ChildDatabase.objects.filter(alias=trouble.alias, step_rows__isnull=False)
    try:
        return halved.exists()
    except Error:
        connections[halved.db].close()
        return False


def held_up(trouble: Trouble) -> bool:
    """Whether some work waits for the end of that trouble now."""
    cascades = Cascade.objects.filter(database=trouble.alias)
    if trouble.fault.kind == "idle":
        held = cascades.filter(state=Cascade.State.DONE, barrier__gt=trouble.transaction)
        return held.filter(due_at__lte=ServerNow()).exists()
    open_ = cascades.filter(state__in=Cascade.CLAIMABLE)
    if trouble.fault.kind == "locked":
        wanted = {str(key) for key in trouble.keys}
        return any(deletion.key in wanted for deletion, _ in log.held(open_))
    return open_.exists()
