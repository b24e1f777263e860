"""The deletion log's only writer. Each transition is one function here, safe to repeat.

Takes keys and claims; gives rows of the log. Due times are by the clock of the log's database.
"""

from __future__ import annotations

from .claiming import (
    Claim,
    Claimed,
    claim,
    claim_done,
    due_databases,
    take_over,
    unverified_databases,
)
from .entries import GIVEN_UP, cancel, dispatch, leading, purge, record, settle
from .fields import SAMPLE, close_field, lacking, over_in, rename_field
from .kept import COUNTED_MAX, acknowledge, counted, keep, look_again, note
from .names import open_databases, open_deletions, open_names, waiting_under
from .outcomes import (
    backoff,
    block_lost,
    delay,
    finish,
    hand_back,
    hurry,
    postpone,
    release,
    renew,
    reopen,
    retry,
    verify,
    with_rows,
)
from .pending import pending
from .proofs import due_barriers, renew_barriers
from .renames import close_database, close_names, rename, rename_history
from .suspects import (
    Entered,
    confirm,
    fence_anew,
    number_of_suspects,
    suspect,
    suspects,
    suspects_by_relation,
)

__all__ = [
    "COUNTED_MAX",
    "GIVEN_UP",
    "SAMPLE",
    "Claim",
    "Claimed",
    "Entered",
    "acknowledge",
    "backoff",
    "block_lost",
    "cancel",
    "claim",
    "claim_done",
    "close_database",
    "close_field",
    "close_names",
    "confirm",
    "counted",
    "delay",
    "dispatch",
    "due_barriers",
    "due_databases",
    "fence_anew",
    "finish",
    "hand_back",
    "hurry",
    "keep",
    "lacking",
    "leading",
    "look_again",
    "note",
    "number_of_suspects",
    "open_databases",
    "open_deletions",
    "open_names",
    "over_in",
    "pending",
    "postpone",
    "purge",
    "record",
    "release",
    "rename",
    "rename_field",
    "rename_history",
    "renew",
    "renew_barriers",
    "reopen",
    "retry",
    "settle",
    "suspect",
    "suspects",
    "suspects_by_relation",
    "take_over",
    "unverified_databases",
    "verify",
    "waiting_under",
    "with_rows",
]
