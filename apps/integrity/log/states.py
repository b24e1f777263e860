"""The state of a deletion, derived from the cascades of its batch. Pure.

The pages, the commands and the metrics all read it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models import Cascade, Deletion

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

_OVER = {Cascade.State.DONE, *Cascade.ENDED}


def state_of(deletion: Deletion, cascades: Sequence[str]) -> Deletion.State:
    """Return the state of a deletion, whose cascades have those states."""
    if deletion.cancelled_at is not None:
        return Deletion.State.CANCELLED
    return Deletion.State.RECORDED if deletion.batch is None else state_of_batch(cascades)


def state_of_batch(cascades: Sequence[str]) -> Deletion.State:
    """Return the state of dispatched deletions, whose cascades have those states.

    A state that this process does not know, from a newer release, does not count as over.
    """
    states = set(cascades)
    if not states <= _OVER:
        return Deletion.State.DISPATCHED
    if Cascade.State.DONE in states:
        return Deletion.State.CASCADED
    if Cascade.State.KEPT in states:
        return Deletion.State.KEPT
    if Cascade.State.CANCELLED in states or not states:
        return Deletion.State.CANCELLED
    return Deletion.State.VERIFIED


def last(moments: Iterable[dt.datetime | None]) -> dt.datetime | None:
    """Return the last of the moments; None if one is None, or there is none."""
    known = list(moments)
    return None if None in known else max((at for at in known if at is not None), default=None)
