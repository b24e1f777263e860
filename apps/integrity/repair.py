"""Suspects → looked for once more → deletions of the log, or alive after all.

Takes the suspects that a scan left; gives them to the one path of every deletion, whose own live
check comes on top. Nothing is deleted here.

Note [The second look]: it waits for the grace period, and until every transaction that was open in
the parent's database at the first sighting has ended: one of them may have been inserting it.

Note [The brake]: a wrong, empty or restored database of parents makes orphans of the living, many
at once. So absurd figures repair nothing, until a pass sees better ones or an operator overrides
the brake with a reason, which is audited.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import QuerySet, Sum
from django.db.models.functions import Coalesce

from . import conf, control, log, relations, statements
from .models import Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conf import Settings
    from .models import Deletion
    from .relations import Relation

#: The second look and the first one disagree when it finds more than this share alive.
ALIVE_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known when suspects of one relation are to be repaired. Counts are of keys."""

    keys: int
    missing: int
    empty: bool
    checked: int = 0
    alive: int = 0


@dataclass(slots=True, kw_only=True)
class Repaired:
    """What became of the suspects of one relation. Counts are of keys."""

    relation: str
    confirmed: list[int] = field(default_factory=list)
    cancelled: int = 0
    waiting: int = 0
    brake: str = ""


def brake(sight: Sight, settings: Settings) -> str:
    """Why nothing may be repaired, or "". Pure."""
    if sight.empty:
        return "the parent's table is empty"
    few = settings.brake_keys
    if sight.missing > few and sight.missing > settings.brake_share * sight.keys:
        return (
            f"{sight.missing:,} of {sight.keys:,} keys miss their parent, more than"
            f" {settings.brake_share:.1%} and {few:,} keys"
        )
    if sight.alive > few and sight.alive > ALIVE_SHARE * sight.checked:
        return (
            f"the second look found {sight.alive:,} of {sight.checked:,} missing parents alive:"
            " does it look at the database that the first one looked at?"
        )
    return ""


def repair(
    chosen: Sequence[Relation],
    *,
    override: str = "",
    actor: str = "integrity",
    seconds: float = 60.0,
) -> list[Repaired]:
    """Confirm the suspects of those relations that are due, or cancel them where the parent lives.

    Refuses absurd figures (Note [The brake]) unless there is a reason to `override` them. Raises
    `DatabaseUnreachable` when a database of parents does not answer.
    """
    deadline = time.monotonic() + seconds
    return [_repair(each, override, actor, deadline) for each in chosen if each.policy.cascades]


def outlook(relation: Relation) -> Repaired:
    """What a repair would say now, without doing anything."""
    using = relation.parent_databases[0]
    waiting = log.number_of_suspects(relation, using=using)
    reason = brake(sight(relation), conf.current()) if waiting else ""
    return Repaired(relation=relation.label, waiting=waiting, brake=reason)


def wanted() -> list[Relation]:
    """The relations whose orphans are repaired without being asked: `scan_policy` says "repair"."""
    settings = conf.current()
    return [
        each
        for each in relations.catalogue().relations
        if settings.scan_policy_of(each.label) == "repair"
    ]


def sight(relation: Relation) -> Sight:
    """What the scans of a relation have seen: the pass under way, and the last one."""
    using = relation.parent_databases[0]
    rows = Scan.objects.using(using).filter(relation=relation.label)
    now = rows.aggregate(keys=Coalesce(Sum("keys"), 0), missing=Coalesce(Sum("missing"), 0))
    last = rows.aggregate(
        keys=Coalesce(Sum("last_keys"), 0), missing=Coalesce(Sum("last_missing"), 0)
    )
    worst = max(now, last, key=lambda each: each["missing"] / max(each["keys"], 1))
    return Sight(keys=worst["keys"], missing=worst["missing"], empty=_is_empty(relation))


def _repair(relation: Relation, override: str, actor: str, deadline: float) -> Repaired:
    using, settings = relation.parent_databases[0], conf.current()
    done = Repaired(relation=relation.label)
    if not log.number_of_suspects(relation, using=using):
        return done
    found = sight(relation)
    done.brake = "" if override else brake(found, settings)
    if override:
        control.audit("override brake", relation.label, actor=actor, reason=override, using=using)
    for batch in log.suspects(relation, older_than_seconds=settings.grace_seconds, using=using):
        if done.brake or time.monotonic() >= deadline:
            break
        _second_look(relation, batch, done, found, using, override=override)
    done.waiting = log.number_of_suspects(relation, using=using)
    return done


def _second_look(
    relation: Relation,
    batch: list[Deletion],
    done: Repaired,
    found: Sight,
    using: str,
    *,
    override: str,
) -> None:
    """See the Notes above. A suspect whose fence still stands is left for later."""
    oldest = {
        home: statements.on(home).open_transactions(using=home).oldest
        for home in relation.parent_databases
    }
    keys = {
        each.pk: relations.suspected(relation, each.key, each.targets)
        for each in batch
        if _passed(each, oldest)
    }
    if not keys:
        return
    living = {
        key
        for home in relation.parent_databases
        for key in statements.on(home).keys_with_rows(
            relation.target, list(set(keys.values())), using=home
        )
    }
    alive = [pk for pk, key in keys.items() if key in living]
    seen = Sight(
        keys=found.keys,
        missing=found.missing,
        empty=_is_empty(relation),
        checked=len(keys),
        alive=len(alive),
    )
    log.cancel(alive, "the parent is alive", using=using)
    done.cancelled += len(alive)
    done.brake = "" if override else brake(seen, conf.current())
    if not done.brake:
        confirmed = [pk for pk in keys if pk not in set(alive)]
        log.confirm(confirmed, using=using)
        done.confirmed += confirmed


def _passed(suspect: Deletion, oldest: dict[str, int | None]) -> bool:
    """Whether every transaction that was open when the parent was not there has ended."""
    fence = suspect.fence or {}
    return all(now is None or now >= fence.get(home, 0) for home, now in oldest.items())


def _is_empty(relation: Relation) -> bool:
    return not any(
        QuerySet(model=relation.parent, using=home).exists() for home in relation.parent_databases
    )
