"""Done cascades → probed once more → verified, or back to work.

Takes cascades whose grace period is over; gives `verified` rows, the proof in the receipt.

Note [The barrier]: a child row may be inserted by a transaction that began before the parent's
delete and commits after the cascade. The cascade noted the child database's next transaction when
it looked for the last time; once every transaction before that one has ended, what was invisible
then is visible or gone. (A transaction that had not written yet has no number: the scan finds what
it leaves.) PostgreSQL only; elsewhere the grace period stands alone.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import claims, conf, control, log, phases, relations, statements
from .phases import Phase

if TYPE_CHECKING:
    from .control import Away
    from .log import Claim


logger = logging.getLogger("integrity.verify")


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

    Arguments as for `cascade.drain`. Cascades whose probe fails go back to work: there the same
    probe fails visibly, one by one, and each waits or is blocked with the reason.
    """
    done = Verified(database=relations.catalogue().database(database))
    deadline = time.monotonic() + (conf.current().run_seconds if seconds is None else seconds)
    away = (*control.AWAY, *interruptions)
    done.unreachable = control.in_each_log(
        database, lambda using: _verify_log(using, deadline, done, away), away
    )
    return done


def _verify_log(using: str, deadline: float, done: Verified, away: Away) -> None:
    settings = conf.current()
    with control.watched(done.database):
        oldest = statements.on(done.database).oldest_transaction(using=done.database)
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
        try:
            with control.watched(done.database):
                _probe(claim, done)
        except away:
            raise
        except Exception as error:  # noqa: BLE001 (one that fails must not stop the others)
            why, code = claims.failure(error, claims.relations_of(claim), claim.database)
            reason = f"verification failed: {why}"
            # Not `exception`: it ends with the error's text, which may quote rows.
            logger.error("%s in %s%s", reason, claim.database, code)  # noqa: TRY400
            done.reopened += log.reopen(claim, [each.id for each in claim.cascades], reason)
        done.more = time.monotonic() >= deadline


def _probe(claim: Claim, done: Verified) -> None:
    held = claims.Held(claim)
    leftover = held.with_rows(held.relations)
    phases.reached(Phase.PROBED)
    done.reopened += log.reopen(claim, sorted(leftover), "rows came after the cascade")
    done.verified += log.verify(claim, [pk for pk in held.cascades if pk not in leftover])
    done.cancelled += held.cancelled
