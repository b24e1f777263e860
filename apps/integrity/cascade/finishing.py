"""The end of the deletions of a claim whose rows are gone, or belong to a living row by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import backends
from ..log import outcomes
from ..log.kept import keep, note
from ..signals import cascade_finished

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..log.values import Claim
    from .live_check import LiveClaim


def finish(
    claim: Claim, live: LiveClaim, complete: Mapping[int, Mapping[str, int]]
) -> tuple[int, int]:
    """End deletions that keep all of their rows; finish the rest, to be verified later.

    `complete` holds the rows changed for each deletion that has none left. Return how many were
    finished, and how many keep all of their rows.
    """
    kept, free = dict[int, dict[str, int]](), set[int]()
    for relation in live.relations if complete else ():
        free |= live.free_along(relation)
        for pk, number in live.kept_along(relation).items():
            kept.setdefault(pk, {})[relation.label] = number
    barrier = backends.barrier_backend(claim.database).new_barrier(using=claim.database)
    kept = {pk: rows for pk, rows in kept.items() if pk in complete}
    whole = {pk: rows for pk, rows in kept.items() if pk not in free}
    ended = 0
    if kept:
        note(claim, {pk: rows for pk, rows in kept.items() if pk in free})
        ended = len(keep(claim.with_rows(complete), whole))
    done = {pk: rows for pk, rows in complete.items() if pk not in whole}
    deletions = outcomes.finish(claim, done, barrier=barrier)
    if deletions:
        cascade_finished.send_robust(
            sender=None,
            database=claim.database,
            using=claim.using,
            deletions=tuple(deletions),
        )
    return len(deletions), ended
