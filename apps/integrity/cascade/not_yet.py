"""What an erasure step puts off, by `NotYet`, or has to wait for: no failure, and no attempt.

The step may say which items it has left; the others of the call are erased. The deletions of what
is left wait as long as it says, and the rest of the claim goes on.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..exceptions.redaction import plain
from ..log import outcomes
from ..log.beside import Wait

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..erasure import Item
    from ..exceptions import NotYet
    from ..log.values import Claim
    from ..models import Finding

#: The shortest and the longest time for which a step may put something off.
SOONEST_SECONDS, LATEST_SECONDS = 1.0, 86_400.0


def left_of(group: Sequence[Finding], error: NotYet) -> list[Finding]:
    """Return the findings that the step has left for later. Pure.

    It says which items these are. If it names none, or others than it was asked for, all are left.
    """
    asked = {row.pk: {*map(_text, row.items)} for row in group}
    left = {*map(_text, error.items or ())}
    if not left or not left <= set[str]().union(*asked.values()):
        return [*group]
    return [row for row in group if left & asked[row.pk]]


def _text(item: Item) -> str:
    return json.dumps(item, sort_keys=True)


def wait_of(error: NotYet) -> Wait:
    """Return for how long, and why, the step puts off what it was asked for. Pure."""
    return Wait({}, seconds_of(error), plain(str(error)) or "it is not time yet")


def seconds_of(error: NotYet) -> float:
    """Return for how long the step puts something off, within bounds. Pure."""
    return max(SOONEST_SECONDS, min(LATEST_SECONDS, error.seconds))


def put_off(claim: Claim, waits: Mapping[int, Wait], rows: Mapping[int, Mapping[str, int]]) -> None:
    """Put deletions back in the queue, each with what it waits for. `rows` is what was erased."""
    groups: dict[str, list[int]] = {}
    for pk, wait in waits.items():
        groups.setdefault(wait.reason, []).append(pk)
    for why, group in groups.items():
        seconds = max(waits[pk].seconds for pk in group)
        kept = {pk: rows[pk] for pk in group}
        outcomes.release(claim, kept, reason=why, planned=True, seconds=seconds)
