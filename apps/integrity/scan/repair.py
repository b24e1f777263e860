"""Suspects → looked for once more → deletions of the log, or alive after all.

Takes the suspects that a scan left; gives them to the one path of every deletion, whose own live
check comes on top. Nothing is deleted here.

Note [The second look]: it waits for the grace period, and until every transaction that was open in
the parent's database at the last sighting has ended: one of them may have been inserting it.

Note [Two looks that disagree]: the first one is worth nothing then. All suspects of the relation
are dropped; what is an orphan is seen again by the next pass.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error

from .. import backends, conf, relations
from ..backends import connections
from ..backends.barriers import BarrierState, barriers_from_json, describe_blocker, state_of_all
from ..control import actions
from ..exceptions import DatabaseHindered
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..log import deletions, suspects
from . import recheck, scan_pass
from .brake import asked, disagreement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..models import Deletion
    from ..relations import Relation

logger = logger_of("integrity.repair")


@dataclass(slots=True, kw_only=True)
class Repaired:
    """What became of the suspects of one relation. Counts are of keys.

    `reason` says why it could not go on: a database that is away, an error. `held` names the
    transaction that keeps suspects waiting beyond their grace period.
    """

    relation: str
    confirmed: list[int] = field(default_factory=list)
    cancelled: int = 0
    waiting: int = 0
    brake: str = ""
    reason: str = ""
    held: str = ""
    unreachable: bool = False


def repair(
    chosen: Sequence[Relation],
    *,
    override: str = "",
    actor: str = "integrity",
    seconds: float = 60.0,
) -> list[Repaired]:
    """Confirm the suspects of those relations that are due, or cancel them where the parent lives.

    Refuses absurd figures (brake.py) unless there is a reason to `override` them. A
    relation whose databases do not answer, or which fails, is reported; the others go on.
    """
    deadline = time.monotonic() + seconds
    return [_repair(each, override, actor, deadline) for each in chosen if each.policy.cascades]


def outlook(relation: Relation) -> Repaired:
    """What a repair would say now, without doing anything."""
    done = Repaired(relation=relation.label)
    _noting(done, relation, lambda: _weigh(relation, done))
    return done


def wanted() -> list[Relation]:
    """The relations whose orphans are repaired without being asked: `scan_policy` says "repair"."""
    settings = conf.current()
    return [
        each
        for each in relations.catalogue().relations
        if settings.scan_policy_of(each.label) == "repair"
    ]


def _repair(relation: Relation, override: str, actor: str, deadline: float) -> Repaired:
    done, using = Repaired(relation=relation.label), relation.parent_databases[0]

    def work() -> None:
        _weigh(relation, done)
        if override and done.waiting:
            done.brake = ""
            actions.audit(
                "override brake", relation.label, actor=actor, reason=override, using=using
            )
        grace = conf.current().grace_seconds
        for batch in suspects.in_batches(relation, older_than_seconds=grace, using=using):
            if done.brake or time.monotonic() >= deadline:
                break
            _second_look(relation, batch, done, trusting=bool(override))
        done.waiting = suspects.number_of_suspects(relation.label, using=using)

    _noting(done, relation, work)
    if done.brake:
        logger.warning("%s: repair refused by the brake: %s", relation.label, done.brake)
    return done


def _weigh(relation: Relation, done: Repaired) -> None:
    """How many wait, and what the brake says of them."""
    done.waiting = suspects.number_of_suspects(relation.label, using=relation.parent_databases[0])
    done.brake = asked(relation, done.waiting) if done.waiting else ""


def _noting(done: Repaired, relation: Relation, work: Callable[[], None]) -> None:
    """Do the work, as far as the parents' databases let it; what hindered it is noted."""
    try:
        for home in relation.parent_databases:
            connections.reach(home)
        with connections.watched(relation.parent_databases[0]):
            work()
    except DatabaseHindered as error:
        done.reason, done.unreachable = f"{error.database} {error.sentence}", True
    except (Error, UnicodeError) as error:
        done.reason = reason_of_error(error)
    if done.reason:
        logger.warning("%s: not repaired: %s", relation.label, done.reason)


def _second_look(
    relation: Relation, batch: list[Deletion], done: Repaired, *, trusting: bool
) -> None:
    """See the Notes above. A suspect whose fence still stands is left for later."""
    using = relation.parent_databases[0]
    look = recheck.look(relation, _passed(relation, batch, done))
    done.cancelled += deletions.cancel(look.alive, "the parent is alive", using=using)
    deletions.cancel(look.outdated, recheck.OUTDATED, using=using)
    doubt = disagreement(len(look.keys), len(look.alive), conf.current())
    if not trusting:
        done.brake = doubt or asked(relation, done.waiting)
    if not done.brake:
        done.confirmed += look.missing
        suspects.confirm(look.missing, using=using)
    elif doubt:
        _drop(relation, doubt)


def _drop(relation: Relation, reason: str) -> None:
    """See Note [Two looks that disagree]."""
    using = relation.parent_databases[0]
    for batch in suspects.in_batches(relation, older_than_seconds=0, using=using):
        deletions.cancel([each.pk for each in batch], reason, using=using)


def _passed(relation: Relation, batch: list[Deletion], done: Repaired) -> list[Deletion]:
    """Return those behind whose fence every transaction has ended.

    Those whose fence is of another server are fenced anew, and wait. What the others wait for is
    noted in `done`.
    """
    now = {
        home: backends.barrier_backend(home).horizon(using=home)
        for home in relation.parent_databases
    }
    standings = {each.pk: state_of_all(barriers_from_json(each.fence), now) for each in batch}
    if foreign := [pk for pk, each in standings.items() if each is BarrierState.FOREIGN]:
        fence = scan_pass.fence_of(relation)
        suspects.fence_anew(foreign, fence, using=relation.parent_databases[0])
        logger.warning("%s: %d fences of another server taken anew", relation.label, len(foreign))
    if BarrierState.HELD in standings.values():
        blockers = (backends.barrier_backend(home).blocker(using=home) for home in now)
        done.held = next((describe_blocker(each) for each in blockers if each), "")
    return [each for each in batch if standings[each.pk] is BarrierState.PASSED]
