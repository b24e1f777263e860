"""One pass over one relation in one child database, from its cursor → suspects.

Reads the *distinct* keys of the child through the index of its foreign key, a bounded step at a
time, and then asks the parents (parents.py). Never writes to a scanned table.

Note [What a pass promises]: when a pass finishes, it has seen every orphan that existed when it
began. Suspects and the cursor are saved in one transaction, so a step is either saved or repeated.
A row that moves to a key behind the cursor is left to the next pass.
"""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING, Any

from django.db import Error

from .. import backends, conf
from ..backends import connections
from ..backends.batch_size import BatchSize
from ..backends.transactions import atomic, retried
from ..control import circuit_breaker
from ..control.pacing import NotItsTurn, Pacer, quiet_reason
from ..exceptions import DatabaseHindered
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..log.suspects import Entered, suspect
from ..relations import stored
from ..relations.generic import with_content_type
from ..relations.keys import format_key, parse_key, to_stored
from ..signals import orphan_found
from . import recheck
from .parents import barriers_of, missing_keys
from .scan_row import ScanRow
from .values import Mode, Scanned, Unsaved

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backends.barriers import Barrier
    from ..backends.connections import Interrupts
    from ..backends.key_pages import KeyPage
    from ..relations import Relation

logger = logger_of("integrity.scan")

#: Keys of the first step, where no step was taken before.
FIRST_KEYS = 50_000
#: Steps are saved after so long, or when there are so many suspects.
SAVE_SECONDS = 2.0
SAVE_KEYS = 10_000


class _Ended(enum.Enum):
    """Why a run reads no more pages."""

    NO_MORE_KEYS = enum.auto()
    TIME_IS_UP = enum.auto()


class Pass:
    """A pass at work, a step at a time."""

    def __init__(self, relation: Relation, using: str, scanned: Scanned, mode: Mode) -> None:
        self.relation, self.using, self.scanned, self.mode = relation, using, scanned, mode
        self.database = scanned.database
        self.reader = backends.key_reader(
            relation.field, child=self.database, parent=relation.parent_databases[0]
        )
        self.row = ScanRow(relation.label, self.database, using)
        self.pacer = Pacer(self.database, using=using)
        self.saved_at = time.monotonic()
        self.cursor: str | None = None
        self.unsaved = Unsaved()

    def claim(self) -> bool:
        """Claim the scan, and begin a pass unless one is under way.

        Return False where another process is at work on it.
        """
        row = self.row.claim()
        if row is None:
            return False
        if row.began_at is None or self.mode.full:
            self._begin(row.last_rows)
        else:
            self.cursor = row.cursor
            self.scanned.expected_rows = max(row.expected - row.rows, 0) if row.expected else None
        settings = conf.current()
        self.batch_size = BatchSize(
            row.step_keys or FIRST_KEYS,
            most=settings.scan_step_keys_max,
            seconds=settings.scan_step_seconds,
        )
        return True

    def _begin(self, last_rows: int) -> None:
        rows = backends.row_backend(self.database)
        expected = last_rows or rows.estimate_rows(self.relation.child, using=self.database)
        self.row.begin(expected)
        self.scanned.expected_rows = expected or None

    def run(self, deadline: float, interrupts: Interrupts) -> None:
        """Take steps and save them, until there are no more keys or time is up.

        Steps are saved after the transaction that read them: no lock on the child's table outlives
        it, and a log in the same database is written outside of it.
        """
        self.relation = with_content_type(self.relation)
        self.pacer.interrupts, ended = interrupts, None
        while ended is None:
            ended = self._turn(deadline, interrupts)
            if not self._save():
                return
        if ended is _Ended.NO_MORE_KEYS:
            self._finish()

    def halve_step(self) -> None:
        """Halve the keys of the next step, down to a single one; `release` saves the number."""
        self.batch_size.rows = max(1, self.batch_size.rows // 2)

    def release(self, reason: str = "") -> None:
        """Let the next run continue. `reason` says why this one could not, or ""."""
        self.row.release(reason=reason, step_keys=self.batch_size.rows)

    def _turn(self, deadline: float, interrupts: Interrupts) -> _Ended | None:
        """Rest as the pace of the database says, and read pages until it is time to save."""
        if not self.pacer.rest(deadline):
            self.scanned.reason = quiet_reason(self.database)
            return _Ended.TIME_IS_UP
        self.batch_size.aim_at(self.pacer.step_seconds(conf.current().scan_step_seconds))
        try:
            ended = self._pages_until_save(deadline, interrupts)
        except NotItsTurn:
            return None
        self.pacer.record()
        self.pacer.flush()
        return ended

    def _pages_until_save(self, deadline: float, interrupts: Interrupts) -> _Ended | None:
        """Read pages, and ask their parents, until it is time to save.

        Return why there are no more pages, or None.
        """
        with self.reader.reading(self.database), connections.given_up(self.database, interrupts):
            self.pacer.take_token()
            ask = self._ask(self.cursor)
            while (page := ask()) is not None:
                started = time.monotonic()
                late = started >= deadline
                last = late or self._is_time_to_save() or self.pacer.is_slowed
                if not (last or page.end or self.mode.throttled):
                    ask = self._ask(page.last)
                self._check(page)
                took = time.monotonic() - started
                self.batch_size.record_step(took)
                if page.end:
                    break
                if last:
                    return _Ended.TIME_IS_UP if late else None
                if self.mode.throttled:
                    time.sleep(max(0.0, min(took, deadline - time.monotonic())))
                    ask = self._ask(page.last)
        return _Ended.NO_MORE_KEYS

    def _ask(self, after: str | None) -> Callable[[], KeyPage | None]:
        return self.reader.ask(
            self.relation.field, after, self.batch_size.rows, child=self.database
        )

    def _check(self, page: KeyPage) -> None:
        """Ask the parents of a page."""
        self.unsaved.add(page, missing_keys(self.relation, self.reader, page))
        self.cursor = page.last

    def _is_time_to_save(self) -> bool:
        late = time.monotonic() - self.saved_at >= SAVE_SECONDS
        return late or len(self.unsaved.missing) >= SAVE_KEYS

    def _save(self) -> bool:
        """Save suspects and cursor in one transaction; see Note [What a pass promises].

        Return False when another scan took this one over: then nothing is saved.
        """
        pages, self.unsaved, self.saved_at = self.unsaved, Unsaved(), time.monotonic()
        if pages.last is None:
            return True
        barriers = barriers_of(self.relation) if pages.missing else {}
        saved = self._saved(pages, pages.last, barriers)
        if saved is None:
            self.scanned.reason = "another scan took it over"
            return False
        entered, orphans = saved
        suspects = entered.suspects
        self.scanned.keys_scanned += pages.keys
        self.scanned.rows_scanned += pages.rows
        self.scanned.suspects += len(suspects)
        self.scanned.blocked += len(entered.blocked)
        self.scanned.orphans += orphans
        if suspects:
            self._announce(suspects)
        self.mode.tell(self.scanned)
        return True

    @retried
    def _saved(
        self, pages: Unsaved, last: str, barriers: dict[str, Barrier]
    ) -> tuple[Entered, int] | None:
        with atomic(self.using):
            if not self.row.renew():
                return None
            entered = self._suspect(pages.missing, barriers)
            orphans = self._number_of_rows([*entered.suspects, *entered.blocked])
            self.row.advance(
                last,
                step_keys=self.batch_size.rows,
                keys=pages.keys,
                rows=pages.rows,
                missing=len(entered.suspects),
                orphans=orphans,
            )
        return entered, orphans

    def _suspect(self, keys: list[Any], barriers: dict[str, Barrier]) -> Entered:
        """Log missing keys as suspects, unless the relation's policy leaves its rows alone."""
        texts = [format_key(self.relation.target, key) for key in keys]
        if not (keys and self.relation.policy.cascades):
            return Entered(suspects=texts, blocked=[])
        return suspect(self.relation, texts, barriers, database=self.database, using=self.using)

    def _number_of_rows(self, keys: list[str]) -> int:
        """Return how many rows hold one of those keys."""
        child_key = self.relation.field
        wanted = (parse_key(self.relation.target, key) for key in keys)
        held = [to_stored(child_key, key) for key in wanted]
        values = stored.prepare_all(child_key, held, self.database)
        if not values:
            return 0
        rows = backends.row_backend(self.database)
        return rows.count_rows(child_key, values, using=self.database)

    def _announce(self, keys: list[str]) -> None:
        orphan_found.send_robust(
            sender=None,
            relation=self.relation.label,
            database=self.database,
            keys=tuple(keys),
            using=self.using,
        )

    def _finish(self) -> None:
        """End the pass. From now on, what it promises holds."""
        self._drop_outlived()
        self.scanned.orphans_of_pass = self.row.finish()
        self.scanned.complete = True

    def _drop_outlived(self) -> None:
        """Drop suspects whose parent exists again or whose rows are gone.

        Where that fails, they stay, and the pass ends all the same.
        """
        try:
            with connections.watched(self.database):
                recheck.drop_outlived(self.relation, using=self.using)
        except DatabaseHindered as error:  # of another shard
            if error.database in {self.database, self.using}:
                raise
            circuit_breaker.log_wait(self.database, error)
        except Error as error:
            logger.warning("suspects of %s stay: %s", self.relation.label, reason_of_error(error))
