"""Claimed cascades of one database → bounded statements per relation → counts.

Takes what `log.claim` gives; gives rows removed per relation back to the log. Each step is one
short transaction in the child's database, and before each step the parents are looked up on their
primary: a living one cancels its deletion and keeps every row.

Note [Turns]: a claim works for `turn_seconds`. Keys that still have rows then go to the end of the
queue with their progress, so a deletion with millions of rows never holds up the one behind it.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import Error, ProgrammingError, connections, models, transaction
from django.db.models.deletion import Collector

from . import conf, log, relations, statements
from .exceptions import DatabaseUnreachable, UnusablePolicy
from .plan import Plan, Way, plan, replacement
from .signals import cascade_finished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .log import Claim
    from .plan import Node
    from .relations import Field, Relation

logger = logging.getLogger("integrity.cascade")

#: Rows that one transaction of Django's Collector starts from: it loads all that hangs on them.
COLLECTOR_ROWS = 100
#: The fewest rows that a slow database shrinks a statement to.
FEWEST_ROWS = 50


@dataclass(slots=True, kw_only=True)
class Drained:
    """What a run did in one child database."""

    database: str
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    more: bool = False
    unreachable: str = ""


@dataclass(slots=True)
class Pace:
    """Rows of the next statement: halved when one was slow, doubled when one was quick."""

    rows: int
    most: int
    seconds: float

    @classmethod
    def starting(cls) -> Pace:
        """The pace that a run begins with."""
        settings = conf.current()
        most = settings.statement_rows_max
        return cls(min(settings.statement_rows, most), most, settings.statement_seconds)

    def took(self, seconds: float) -> None:
        """Adapt to the time of the last statement."""
        if seconds > self.seconds:
            self.rows = max(min(FEWEST_ROWS, self.rows), self.rows // 2)
        elif seconds < self.seconds / 2:
            self.rows = min(self.most, self.rows * 2)


def drain(database: str, *, seconds: float | None = None) -> Drained:
    """Work on the due cascades of `database`, from every log, until none is due or time is up.

    `seconds` defaults to the setting `run_seconds`. A database that cannot be reached is noted in
    the log, with the reason; its cascades stay pending and lose no attempt.
    """
    done = Drained(database=relations.catalogue().database(database))
    deadline = time.monotonic() + (conf.current().run_seconds if seconds is None else seconds)
    for using in relations.catalogue().log_databases:
        if not log.admits(database, using=using):
            continue
        try:
            reach(database)
            log.reachable(database, using=using)
            _drain_log(using, deadline, done)
        except DatabaseUnreachable as error:
            log.unreachable(error, using=using)
            done.unreachable = error.reason
            logger.warning("%s cannot be reached: %s", database, error.reason)
    return done


def _drain_log(using: str, deadline: float, done: Drained) -> None:
    settings, pace = conf.current(), Pace.starting()
    while not done.more:
        claim = log.claim(
            done.database,
            using=using,
            limit=settings.claim_keys,
            lease_seconds=settings.lease_seconds,
        )
        if claim is None:
            return
        turn = min(deadline, time.monotonic() + settings.turn_seconds)
        _work(claim, turn, pace, done)
        done.more = time.monotonic() >= deadline


def _work(claim: Claim, until: float, pace: Pace, done: Drained) -> None:
    """Carry a claim out. A failure is narrowed down by halves to the cascade that causes it."""
    try:
        _Turn(claim, until, pace, done).run()
    except Exception as error:
        if isinstance(error, Error):
            _give_up_if_unreachable(claim)
        reason = f"{type(error).__name__}: {_first_line(error)}"
        if len(claim.cascades) == 1 or isinstance(error, ProgrammingError):
            logger.exception("cascades into %s failed: %s", claim.database, reason)
            log.postpone(claim, reason)
            done.failed += len(claim.cascades)
            return
        middle = len(claim.cascades) // 2
        for half in (claim.cascades[:middle], claim.cascades[middle:]):
            _work(dataclasses.replace(claim, cascades=half), until, pace, done)


def _give_up_if_unreachable(claim: Claim) -> None:
    try:
        reach(claim.database)
    except DatabaseUnreachable:
        log.hand_back(claim)
        raise


def _first_line(error: Exception) -> str:
    """An error without its details, which may quote rows."""
    return (str(error).strip().splitlines() or [""])[0]


def reach(database: str) -> None:
    """Make sure that `database` answers. Raises `DatabaseUnreachable`."""
    connection = connections[database]
    try:
        connection.ensure_connection()
        if connection.in_atomic_block or connection.is_usable():
            return
        connection.close()
        connection.ensure_connection()
    except Error as error:
        connection.close()
        raise DatabaseUnreachable(database, error) from error


class _Turn:
    """One claim at work: who is still to do, and what was removed for whom."""

    def __init__(self, claim: Claim, until: float, pace: Pace, done: Drained) -> None:
        self.claim, self.until, self.pace, self.done = claim, until, pace, done
        self.database = claim.database
        self.parent = relations.catalogue().parent(claim.cascades[0].parent)
        self.relations = relations.catalogue().children_of(self.parent._meta.label, claim.database)
        self.cascades = {each.id: each for each in claim.cascades}
        self.removed = {each.id: Counter(each.rows) for each in claim.cascades}

    def run(self) -> None:
        """Relation by relation until each has no rows left, or the turn is over."""
        for position, relation in enumerate(self.relations):
            way = plan(relation)
            while self._step(relation, way):
                if time.monotonic() >= self.until:
                    self._stop(self._with_rows(self.relations[position:]), reason="")
                    return
        self._stop(self._with_rows(self.relations), reason="rows are locked by somebody else")

    def _step(self, relation: Relation, way: Plan) -> bool:
        """One bounded transaction; False when it found nothing more."""
        owners = self._owners(relation)
        if not owners:
            return False
        started = time.monotonic()
        counts = _STEPS[way.way](way.root, list(owners), self.pace.rows, self.database)
        self.pace.took(time.monotonic() - started)
        for label, per_key in counts.items():
            for key, number in per_key.items():
                self.removed[owners[key]][label] += number
                self.done.rows[label] += number
        return any(counts.values())

    def _owners(self, relation: Relation) -> dict[Any, int]:
        """Value of the relation's target → cascade, without those that live."""
        pk = relations.primary_key(self.parent)
        self._cancel(self._living(relation, pk))
        owners = self._values(relation.target)
        if relation.target != pk:  # another parent may have taken the value over: leave its rows
            living = self._living(relation, relation.target)
            owners = {value: owner for value, owner in owners.items() if value not in living}
        return owners

    def _values(self, target: Field) -> dict[Any, int]:
        pk = relations.primary_key(self.parent)
        texts = {
            each.id: each.key if target == pk else each.targets.get(target.name)
            for each in self.cascades.values()
        }
        return {
            relations.parse_key(target, text): owner
            for owner, text in texts.items()
            if text is not None
        }

    def _living(self, relation: Relation, target: Field) -> set[Any]:
        """Values of `target` that a parent holds now, on the primaries and past all managers."""
        values = list(self._values(target))
        living: set[Any] = set()
        for home in relation.parent_databases if values else ():
            living |= statements.on(home).keys_with_rows(target, values, using=home)
        return living

    def _cancel(self, living: set[Any]) -> None:
        if not living:
            return
        pk = relations.primary_key(self.parent)
        alive = [
            each for each in self.cascades.values() if relations.parse_key(pk, each.key) in living
        ]
        log.cancel(
            [each.deletion for each in alive],
            "the parent is alive: its row was found before anything was touched",
            using=self.claim.using,
        )
        self.done.cancelled += len(alive)
        for each in alive:
            del self.cascades[each.id]

    def _with_rows(self, remaining: Sequence[Relation]) -> set[int]:
        """Cascades for which some row is left."""
        unfinished: set[int] = set()
        for relation in remaining:
            if owners := self._owners(relation):
                held = statements.on(self.database).keys_with_rows(
                    relation.field, list(owners), using=self.database
                )
                unfinished |= {owners[key] for key in held}
        return unfinished

    def _stop(self, unfinished: set[int], reason: str) -> None:
        """Settle the claim: finish what has no rows left, put the rest back."""
        complete = {pk: self.removed[pk] for pk in self.cascades if pk not in unfinished}
        deletions = log.finish(self.claim, complete)
        log.release(self.claim, {pk: self.removed[pk] for pk in unfinished}, reason=reason)
        self.done.finished += len(deletions)
        if deletions:
            cascade_finished.send_robust(
                sender=None,
                database=self.database,
                using=self.claim.using,
                deletions=tuple(deletions),
            )


Counts = dict[str, Counter[Any]]


def _set_based(node: Node, keys: list[Any], limit: int, using: str) -> Counts:
    """Delete rows of `keys`, leaf first, `limit` in all; the rows above stay locked meanwhile.

    Note [Locked above, then below]: a leaf goes because the row above it goes. The lock keeps that
    row from moving to a living parent in between, and its foreign key keeps new leaves out.
    """
    if not node.below:
        return {node.label: statements.on(using).delete_rows(node.field, keys, limit, using=using)}
    counts: Counts = defaultdict(Counter)
    with transaction.atomic(using=using):
        roots = statements.on(using).lock_rows(
            node.field, keys, max(1, limit // (1 + len(node.below))), using=using
        )
        if roots and _clear_below(node, roots, limit, counts, using):
            _delete_locked(node, roots, counts, using)
    return counts


def _clear_below(node: Node, roots: dict[Any, Any], limit: int, counts: Counts, using: str) -> bool:
    """Clear what refers to `roots` (primary key → key); False when the allowance ran out."""
    for sub in node.below:
        pks = list(roots)
        allowance = limit - sum(each.total() for each in counts.values())
        if allowance <= 0:
            return False
        if sub.below:
            below = statements.on(using).lock_rows(sub.field, pks, allowance, using=using)
            inner = {pk: roots[pk_above] for pk, pk_above in below.items()}
            if inner and not _clear_below(sub, inner, limit, counts, using):
                return False
            if inner:
                _delete_locked(sub, inner, counts, using)
            found = len(inner)
        else:
            found = _change_leaves(sub, roots, allowance, counts, using)
        if found >= allowance:
            return False
    return True


def _change_leaves(
    leaf: Node, roots: dict[Any, Any], limit: int, counts: Counts, using: str
) -> int:
    on, pks = statements.on(using), list(roots)
    if leaf.update:
        value = replacement(leaf.field, using)
        changed = on.update_rows(leaf.field, pks, value, limit, using=using)
    else:
        changed = on.delete_rows(leaf.field, pks, limit, using=using)
    for pk, number in changed.items():
        counts[leaf.label][roots[pk]] += number
    return changed.total()


def _delete_locked(node: Node, roots: dict[Any, Any], counts: Counts, using: str) -> None:
    pk = relations.primary_key(node.field.model)
    gone = statements.on(using).delete_rows(pk, list(roots), len(roots), using=using)
    for each, number in gone.items():
        counts[node.label][roots[each]] += number


def _collector(node: Node, keys: list[Any], limit: int, using: str) -> Counts:
    """Delete rows of `keys` as Django does, with signals, a bounded batch of them at a time."""
    counts: Counts = defaultdict(Counter)
    model = node.field.model
    with transaction.atomic(using=using):
        roots = statements.on(using).lock_rows(
            node.field, keys, min(limit, COLLECTOR_ROWS), using=using
        )
        for key in set(roots.values()):
            rows: models.QuerySet[Any] = models.QuerySet(model=model, using=using).filter(
                pk__in=[pk for pk, each in roots.items() if each == key]
            )
            collector = Collector(using=using, origin=rows)
            collector.collect(rows)
            for label, number in collector.delete()[1].items():
                counts[node.label if label == model._meta.label else label][key] += number
    return counts


def _update(node: Node, keys: list[Any], limit: int, using: str) -> Counts:
    """Put the policy's value in place of `keys`."""
    value = replacement(node.field, using)
    if value in keys:
        raise UnusablePolicy(f"{node.label}: its on_delete sets {value!r}, which is deleted too")
    changed = statements.on(using).update_rows(node.field, keys, value, limit, using=using)
    return {node.label: changed}


_STEPS = {Way.SET_BASED: _set_based, Way.COLLECTOR: _collector, Way.UPDATE: _update}
