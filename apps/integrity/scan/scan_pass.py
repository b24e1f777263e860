"""One pass over one relation in one child database, from its cursor → suspects.

Walks the *distinct* keys of the child through the index of its foreign key, step by step; the
child's step has been read before the parents are asked, on their primaries, past all managers.
Never writes to a scanned table. The only writer of `Scan`.

Note [What a pass promises]: every orphan that existed when the pass began has been seen when it is
finished. Suspects and the cursor are saved in one transaction, so a step is covered or is taken
again; a row that moves to a key which was passed already is the next pass's.

Note [Child first]: a parent that was committed before its child is found, for the child was seen
first. One that is committed after its child is not; so a suspect carries a fence (the barrier of
the parent's database) and is looked for again once every older one has ended, and
the grace period is over (repair.py).
"""

from __future__ import annotations

import datetime as dt
import enum
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import Error, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from .. import backends, conf
from ..backends import connections, lookups
from ..backends.batch_size import BatchSize
from ..control import circuit_breaker
from ..exceptions import DatabaseHindered
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..log import deletions
from ..log.renaming import Kind, Renaming
from ..log.suspects import Entered, in_batches, suspect
from ..models import Scan
from ..relations import stored
from ..relations.generic import with_content_type
from ..relations.keys import format_key, parse_key, to_stored
from ..signals import orphan_found
from . import recheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backends.barriers import Barrier
    from ..backends.base import KeyPage, KeyReader
    from ..backends.connections import Away
    from ..relations import Relation

logger = logger_of("integrity.scan")

#: A scan that saved no step for so long is taken for dead, and its pass goes on elsewhere.
LEASE_SECONDS = 60.0
#: Keys of a run's first step, when no step was taken before.
FIRST_KEYS = 50_000
#: What was seen is saved after so long, or when there are so many suspects.
SAVE_SECONDS = 2.0
SAVE_KEYS = 10_000
#: Columns of `Scan` that count a pass; the last finished one's begin with `last_`.
FIGURES = ("keys", "rows", "missing", "orphans")


@dataclass(slots=True, kw_only=True)
class Scanned:
    """What a run saw of one relation in one child database.

    `orphans_of_pass` counts the runs before, too, where this one ended the pass. Nobody expects a
    number of rows (`None`) before the first pass has ended, where the database keeps no statistics.
    `blocked` counts keys whose deletion is in the log and blocked: their rows are orphans until
    `retry`, and no suspects.
    """

    relation: str
    database: str
    expected_rows: int | None = None
    rows_scanned: int = 0
    keys_scanned: int = 0
    suspects: int = 0
    blocked: int = 0
    orphans: int = 0
    orphans_of_pass: int = 0
    complete: bool = False
    reason: str = ""
    #: Where a database of the parents is hindered: which, and why.
    waits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a run goes about it.

    `full` begins each pass anew; `gentle` rests as long as it works and asks one server at a time,
    and leaves out what is not due; `tell` hears of each step.
    """

    full: bool = False
    gentle: bool = False
    tell: Callable[[Scanned], object] = lambda _: None


def absent(relation: Relation, reader: KeyReader, page: KeyPage) -> list[Any]:
    """Return the page's keys that no primary has a parent of. See Note [Child first]."""
    target, (first, *others) = relation.target, relation.parent_databases
    texts = reader.missing(relation.field, page, parent=first)
    keys = [parse_key(target, text) for text in texts]
    living = lookups.existing(target, dict(enumerate(keys)), others)
    return [key for at, key in enumerate(keys) if at not in living]


def fence_of(relation: Relation) -> dict[str, Barrier]:
    """Return the barrier of each of the parents' databases. See Note [Child first]."""
    barriers = {
        home: backends.barrier_backend(home).new_barrier(using=home)
        for home in relation.parent_databases
    }
    return {home: barrier for home, barrier in barriers.items() if barrier is not None}


class _End(enum.Enum):
    """What ended with a stretch of steps."""

    PASS = enum.auto()
    TIME = enum.auto()


class Pass:
    """A claimed scan at work, a step at a time."""

    def __init__(self, relation: Relation, using: str, scanned: Scanned, mode: Mode) -> None:
        self.relation, self.using, self.scanned, self.mode = relation, using, scanned, mode
        self.database = scanned.database
        self.reader = backends.key_reader(
            relation.field, child=self.database, parent=relation.parent_databases[0]
        )
        self.token = uuid.uuid4()
        self.saved_at = time.monotonic()
        self.cursor: str | None = None
        self.seen = Seen()

    def claimed(self) -> bool:
        """Take the scan, unless somebody works on it; begin a pass where none is under way."""
        rows = Scan.objects.using(self.using)
        row, _ = rows.get_or_create(relation=self.relation.label, database=self.database)
        free = rows.filter(pk=row.pk).filter(Q(claim=None) | Q(due_at__lte=Now()))
        if not free.update(claim=self.token, due_at=_lease(), reason=""):
            return False
        row.refresh_from_db(using=self.using)
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
        self._mine().update(
            **dict.fromkeys(FIGURES, 0), cursor=None, began_at=Now(), expected=expected
        )
        self.scanned.expected_rows = expected or None

    def walk(self, deadline: float, away: Away) -> None:
        """Stretch by stretch, until there are no more keys or time is up.

        What a stretch saw is saved after its transaction: no lock on the child's table outlives it,
        and a log in the same database is written outside of it.
        """
        self.relation = with_content_type(self.relation)
        end = None
        while end is None:
            end = self._stretch(deadline, away)
            if not self._save():
                return
        if end is _End.PASS:
            self._finish()

    def _stretch(self, deadline: float, away: Away) -> _End | None:
        """Steps until it is time to save; what ended with it, if anything did."""
        with self.reader.reading(self.database), connections.given_up(self.database, away):
            ask = self._ask(self.cursor)
            while (page := ask()) is not None:
                started = time.monotonic()
                late = started >= deadline
                last = late or self._is_time_to_save()
                if not (last or page.end or self.mode.gentle):
                    ask = self._ask(page.last)
                self._look(page)
                took = time.monotonic() - started
                self.batch_size.record_step(took)
                if page.end:
                    break
                if last:
                    return _End.TIME if late else None
                if self.mode.gentle:
                    time.sleep(max(0.0, min(took, deadline - time.monotonic())))
                    ask = self._ask(page.last)
        return _End.PASS

    def _ask(self, after: str | None) -> Callable[[], KeyPage | None]:
        return self.reader.ask(
            self.relation.field, after, self.batch_size.rows, child=self.database
        )

    def _look(self, page: KeyPage) -> None:
        keys = absent(self.relation, self.reader, page)
        self.seen.add(page, keys)
        self.cursor = page.last

    def _is_time_to_save(self) -> bool:
        late = time.monotonic() - self.saved_at >= SAVE_SECONDS
        return late or len(self.seen.missing) >= SAVE_KEYS

    def _save(self) -> bool:
        """Suspects and cursor in one transaction; see Note [What a pass promises].

        False when another scan took this one over: then nothing is saved.
        """
        seen, self.seen, self.saved_at = self.seen, Seen(), time.monotonic()
        if seen.last is None:
            return True
        fence = fence_of(self.relation) if seen.missing else {}
        with transaction.atomic(using=self.using):
            if not self._mine().update(due_at=_lease()):
                self.scanned.reason = "another scan took it over"
                return False
            entered = self._suspect(seen.missing, fence)
            missing = entered.suspects
            orphans = self._rows([*missing, *entered.blocked])
            self._mine().update(
                cursor=seen.last,
                keys=F("keys") + seen.keys,
                rows=F("rows") + seen.rows,
                missing=F("missing") + len(missing),
                orphans=F("orphans") + orphans,
                step_keys=self.batch_size.rows,
            )
        self.scanned.keys_scanned += seen.keys
        self.scanned.rows_scanned += seen.rows
        self.scanned.suspects += len(missing)
        self.scanned.blocked += len(entered.blocked)
        self.scanned.orphans += orphans
        if missing:
            self._announce(missing)
        self.mode.tell(self.scanned)
        return True

    def _suspect(self, keys: list[Any], fence: dict[str, Barrier]) -> Entered:
        """Enter them into the log; those of a relation that nothing would repair are counted."""
        texts = [format_key(self.relation.target, key) for key in keys]
        if not (keys and self.relation.policy.cascades):
            return Entered(suspects=texts, blocked=[])
        return suspect(self.relation, texts, fence, database=self.database, using=self.using)

    def _rows(self, keys: list[str]) -> int:
        field = self.relation.field
        wanted = (parse_key(self.relation.target, key) for key in keys)
        held = [to_stored(field, key) for key in wanted]
        values = stored.prepare_all(field, held, self.database)
        if not values:
            return 0
        return backends.row_backend(self.database).count_rows(field, values, using=self.database)

    def _announce(self, keys: list[str]) -> None:
        orphan_found.send_robust(
            sender=None,
            relation=self.relation.label,
            database=self.database,
            keys=tuple(keys),
            using=self.using,
        )

    def _finish(self) -> None:
        """The pass is over: what it promises holds from now on."""
        self._forget()
        mine = self._mine()
        self.scanned.orphans_of_pass = mine.values_list("orphans", flat=True)[0]
        mine.update(
            **{f"last_{name}": F(name) for name in FIGURES},
            covers_at=F("began_at"),
            finished_at=Now(),
            began_at=None,
            cursor=None,
        )
        self.scanned.complete = True

    def _forget(self) -> None:
        """Suspects whose parent is there again, or whose rows are gone, are none any more."""
        try:
            with connections.watched(self.database):
                self._forget_each()
        except DatabaseHindered as error:  # another shard: the pass is over all the same
            if error.database in {self.database, self.using}:
                raise
            circuit_breaker.log_wait(self.database, error)
        except Error as error:
            logger.warning("suspects of %s stay: %s", self.relation.label, reason_of_error(error))

    def _forget_each(self) -> None:
        for batch in in_batches(self.relation, older_than_seconds=0, using=self.using):
            seen = recheck.look(self.relation, batch)
            deletions.cancel(seen.alive, "the parent is alive", using=self.using)
            deletions.cancel(seen.outdated, recheck.OUTDATED, using=self.using)
            deletions.cancel(seen.rowless(), "its rows are gone", using=self.using)

    def give_back(self, reason: str = "") -> None:
        """Let the next tick go on."""
        self._mine().update(claim=None, due_at=Now(), reason=reason, step_keys=self.batch_size.rows)

    def _mine(self) -> QuerySet[Scan]:
        return Scan.objects.using(self.using).filter(
            relation=self.relation.label, database=self.database, claim=self.token
        )


class Seen:
    """Steps that were taken and are not saved yet."""

    def __init__(self) -> None:
        self.keys, self.rows = 0, 0
        self.last: str | None = None
        self.missing: list[Any] = []

    def add(self, page: KeyPage, missing: list[Any]) -> None:
        """One more page."""
        self.keys += page.count
        self.rows += page.rows
        self.last = page.last
        self.missing += missing


def _lease() -> Any:
    return Now() + dt.timedelta(seconds=LEASE_SECONDS)


def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Let each scan go on under its new name; one that is there under it stays as it is."""
    rows, changed = Scan.objects.using(using), 0
    for row in rows.order_by("pk"):
        relation, database = change.relation(row.relation), change.alias(row.database)
        if (relation, database) == (row.relation, row.database):
            continue
        changed += 1
        if apply and rows.filter(relation=relation, database=database).exists():
            rows.filter(pk=row.pk).delete()
        elif apply:
            rows.filter(pk=row.pk).update(relation=relation, database=database)
    return changed


def forget(kind: Kind, name: str, *, using: str, apply: bool) -> int:
    """Forget the scans of an alias, a model or a relation that nobody knows any more."""
    gone = Renaming(kind=kind, old=name, new="")
    rows = Scan.objects.using(using)
    pks = [
        row.pk
        for row in rows
        if (gone.relation(row.relation), gone.alias(row.database)) != (row.relation, row.database)
    ]
    return rows.filter(pk__in=pks).delete()[0] if apply else len(pks)
