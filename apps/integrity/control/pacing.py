"""Slows work on a child database down while that is busy: see pressure.py for how far.

Note [One pace]: the workers of a database share its row in the log. Whoever comes first takes a
sample, once in `SAMPLE_SECONDS`, and the others read the pace from the row. Each worker adds its
rests to `rests_until`, those of `SHARE_SECONDS` at once, so that all steps of all workers together
keep the share, and the rows per second. (A database with several logs has a row in each, and these
do not know of each other.) At full speed the row is read once in `SAMPLE_SECONDS`, and nothing is
written but samples.

Note [One at a time]: rests do not help where two processes work in turns without a rest between
them. So a step in a busy PostgreSQL database takes a token first, in its own transaction, and is
rolled back where another has it.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import Error
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce, Greatest

from .. import backends, conf
from ..backends import clocks
from ..backends.connections import require_working, warn_once
from ..conf import pressure as pressures
from ..exceptions.redaction import reason_of_error
from ..models import ChildDatabase
from ..models.moments import ServerNow
from . import pressure, sampling
from .pressure import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

    from ..backends.batch_size import BatchSizes
    from ..backends.connections import Interrupts

#: A sample is taken this often, and a rest is interrupted this often to take one.
SAMPLE_SECONDS = 1.0
#: The row is read and written this often by a worker that rests.
SHARE_SECONDS = 0.2
#: The target duration of a step in a busy database.
STEP_SECONDS = 0.03
#: Where rows per second are limited, one step changes as many as may be changed in this time, and
#: the next ones may make up for this much of it.
RATE_STEP_SECONDS = 0.25
#: The pause before the token is tried again.
PAUSE_SECONDS = (0.02, 0.1)
#: The pace without limits, and that before the first sample.
FULL = Pace()
UNSAMPLED = Pace(share=pressure.CAUTIOUS_SHARE, reason="its load is not known yet")
#: Set when this process is to stop: it ends a rest at once.
stopping = threading.Event()


def now() -> dt.datetime:
    """Return the time by the clock of this process, by which quiet hours begin and end."""
    return dt.datetime.fromtimestamp(clocks.own(), dt.UTC)


def quiet_reason(database: str) -> str:
    """Return until when no work may begin on a child database, or ""."""
    if (hours := conf.current().pressure_on(database).quiet_hours) is None:
        return ""
    if (until := pressure.quiet_until(hours, now())) is None:
        return ""
    return f"quiet hours until {until.astimezone(hours.zone):%H:%M} ({hours.zone})"


class OutOfTime(Exception):
    """No step may begin any more before the time slice is over."""


class NotItsTurn(Exception):
    """Another worker has the token of a busy database."""


class Pacer:
    """The pace of one run of work on a child database, for one log.

    Call `rest` or `wait` before each step, `take_token` in its transaction, and `record` after its
    commit. All of them do nothing where the settings limit nothing.
    """

    def __init__(self, database: str, *, using: str, interrupts: Interrupts = ()) -> None:
        self.database, self.using, self.interrupts = database, using, interrupts
        self.limits = limits = conf.current().pressure_on(database)
        self.limited = limits is not pressures.NONE
        self.pace = UNSAMPLED if self.limited and limits.is_sampled else FULL
        rows = limits.max_rows_per_second
        #: The most rows of a step by `max_rows_per_second`, or None.
        self.step_rows = None if rows is None else max(1, int(rows * RATE_STEP_SECONDS))
        self._began = self._looked_at = self._rests_until = 0.0
        #: Rests that the row does not hold yet, and when the first of their steps began.
        self._owed = self._owed_since = 0.0
        self._refused = False

    @property
    def is_slowed(self) -> bool:
        """Return whether the database is busy."""
        return self.pace.is_slowed

    @property
    def _rests(self) -> bool:
        """Return whether rests follow the steps."""
        return self.is_slowed or self.step_rows is not None

    def step_seconds(self, seconds: float) -> float:
        """Return the target duration of the next step, which takes `seconds` at full speed."""
        return min(STEP_SECONDS, seconds) if self.pace.share < 1 else seconds

    def rest(self, until: float) -> bool:
        """Wait until the next step may begin; return False where it may not before `until`.

        `until` is a time of the monotonic clock. Also return False in quiet hours, and where the
        process is to stop.
        """
        if not self.limited:
            return True
        if stopping.is_set() or quiet_reason(self.database):
            return False
        if self._refused:
            self._refused = False
            if not self._sleep(random.uniform(*PAUSE_SECONDS), until):  # noqa: S311 (spreads rests)
                return False
        self._look()
        while self._rests and (seconds := self._rests_until - time.monotonic()) > 0:
            if not self._sleep(min(seconds, SAMPLE_SECONDS), until):
                return False
            self._look()
        self._began = time.monotonic()
        return True

    def wait(self, until: float, sizes: BatchSizes) -> None:
        """Wait until the next step may begin, and let `sizes` aim at its duration.

        Raises `OutOfTime` where `rest` returns False.
        """
        if not self.limited:
            return
        if not self.rest(until):
            raise OutOfTime
        sizes.aim_at(self.step_seconds(conf.current().statement_seconds))

    def take_token(self) -> None:
        """Take the token of a busy database until the end of this transaction.

        Raises `NotItsTurn` where another worker has it; `rest` then pauses before the next try.
        """
        if self.pace.share < 1:
            taken = backends.load_backend(self.database).take_token(using=self.database)
            self._refused = not taken
            if not taken:
                raise NotItsTurn

    def record(self, rows: int = 0) -> None:
        """Let the next step begin after a rest, for a step that changed `rows`."""
        limit = self.limits.max_rows_per_second
        if not self._rests or not (self.is_slowed or rows):
            return
        seconds = time.monotonic() - self._began
        length = pressure.rest_seconds(seconds, rows, share=self.pace.share, max_rows=limit)
        begin = self._began - self._credit
        self._rests_until = max(self._rests_until, begin) + length
        self._owed_since = self._owed_since if self._owed else begin
        self._owed += length
        if time.monotonic() - self._owed_since >= SHARE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Let the other workers know of this one's rests."""
        if not self._owed:
            return
        begin = ServerNow() - dt.timedelta(seconds=time.monotonic() - self._owed_since)
        length, self._owed, self._looked_at = dt.timedelta(seconds=self._owed), 0.0, 0.0
        with self._tolerated():
            rests_until = Greatest(Coalesce(F("rests_until"), begin), begin) + length
            self._rows().update(rests_until=rests_until)

    @property
    def _credit(self) -> float:
        """Return the seconds by which steps may make up for late ones."""
        return 0.0 if self.is_slowed else RATE_STEP_SECONDS

    def _sleep(self, seconds: float, until: float) -> bool:
        """Sleep, but not beyond `until`; return whether the step may still begin before it."""
        stopping.wait(max(0.0, min(seconds, until - time.monotonic())))
        return time.monotonic() < until and not (stopping.is_set() or quiet_reason(self.database))

    def _rows(self) -> QuerySet[ChildDatabase]:
        return ChildDatabase.objects.using(self.using).filter(alias=self.database)

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        """Go on slowly, by this process's own memory, where the log does not keep the pace."""
        try:
            yield
        except Error as error:
            require_working(self.using, error)
            why = reason_of_error(error)
            warn_once(f"{self.database}: the log in {self.using} does not keep the pace: {why}")
            self.pace = UNSAMPLED

    def _look(self) -> None:
        """Read the pace of all workers, and take a sample if it is time."""
        limits, at = self.limits, time.monotonic()
        period = SHARE_SECONDS if self._rests else SAMPLE_SECONDS
        if limits.slows and at - self._looked_at >= period:
            self._looked_at = at
            with self._tolerated():
                self._read()

    def _read(self) -> None:
        """Read the row; take a sample if none was begun for `SAMPLE_SECONDS`."""
        rest = ExpressionWrapper(F("rests_until") - ServerNow(), output_field=DurationField())
        rows = self._rows().annotate(age=clocks.age("paced_at"), rest=rest)
        if (row := rows.first()) is None:
            ChildDatabase.objects.using(self.using).get_or_create(alias=self.database)
            row = rows.get()
        rests_until = time.monotonic() + (clocks.age_of(row, "rest") or 0.0)
        self._rests_until = max(self._rests_until, rests_until) if self._owed else rests_until
        if not self.limits.is_sampled:
            return
        age, before = clocks.age_of(row), Pace.load(row.pace)
        if age is None or age >= pressure.STALE_SECONDS:
            before = None
        if (age is None or age >= SAMPLE_SECONDS) and self._takes_turn(before):
            self.pace = pressure.pace_of(
                sampling.sample(self.database, self.interrupts),
                max_lag=self.limits.max_replica_lag_seconds,
                before=before,
                elapsed=age or 0.0,
            )
            self._rows().update(pace=self.pace.document())
        else:
            self.pace = before or UNSAMPLED

    def _takes_turn(self, before: Pace | None) -> bool:
        """Return whether this worker takes the next sample; an old pace is forgotten."""
        last = ServerNow() - dt.timedelta(seconds=SAMPLE_SECONDS)
        due = self._rows().filter(Q(paced_at__isnull=True) | Q(paced_at__lte=last))
        return bool(due.update(paced_at=ServerNow(), pace=before.document() if before else None))
