"""Done cascades → probed once more → verified, or back to work.

Takes cascades whose grace period is over; gives `verified` rows, the proof in the receipt.

Note [The barrier]: a child row may be inserted by a transaction that began before the parent's
delete and commits after the cascade. The cascade noted the child database's next transaction when
it looked for the last time; once every transaction before that one has ended, what was invisible
then is visible or gone. (A transaction that had not written yet has no number: the scan finds what
it leaves.) PostgreSQL only; elsewhere the grace period stands alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import claims, conf, control, log, relations, statements

if TYPE_CHECKING:
    from .control import Away


@dataclass(slots=True, kw_only=True)
class Verified:
    """What a run found in one child database."""

    database: str
    verified: int = 0
    reopened: int = 0
    cancelled: int = 0
    more: bool = False
    unreachable: str = ""


def verify(
    database: str,
    *,
    seconds: float | None = None,
    interruptions: Away = (),
) -> Verified:
    """Probe the cascades into `database` that are due, from every log, until time is up.

    Arguments as for `cascade.drain`. A probe that fails is raised; the claim lapses.
    """
    done = Verified(database=relations.catalogue().database(database))
    deadline = time.monotonic() + (conf.current().run_seconds if seconds is None else seconds)

    def work(using: str) -> None:
        with control.watched(database):
            _verify_log(using, deadline, done)

    done.unreachable = control.in_each_log(database, work, (*control.AWAY, *interruptions))
    return done


def _verify_log(using: str, deadline: float, done: Verified) -> None:
    settings = conf.current()
    oldest = statements.on(done.database).open_transactions(using=done.database).oldest
    while not done.more:
        claim = log.claim_done(
            done.database,
            oldest=oldest,
            using=using,
            limit=settings.claim_keys,
            lease_seconds=settings.lease_seconds,
        )
        if claim is None:
            return
        held = claims.Held(claim)
        leftover = held.with_rows(held.relations)
        done.reopened += log.reopen(claim, sorted(leftover))
        done.verified += log.verify(claim, [pk for pk in held.cascades if pk not in leftover])
        done.cancelled += held.cancelled
        done.more = time.monotonic() >= deadline
