"""Mutations of the counts in child databases, and of what they prove."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    PROGRESS,
    RESTORES,
    STEPS,
    T_RESTORES,
    T_TALLIES,
    TALLIES,
    TIME_SLICE,
    VERIFY,
)

KILLED = (f"{T_TALLIES}::test_the_rows_of_a_killed_worker_are_counted",)

MUTATIONS = (
    Mutation(
        "step-not-counted",
        "G4: what a killed worker has removed is counted by nobody",
        STEPS,
        "            self.progress.write([(one.counts, one.part.owners) for one in done])\n",
        "",
        KILLED,
    ),
    Mutation(
        "step-forgets-those-before",
        "G4: the counts of a time slice are those of its last step",
        PROGRESS,
        "dict(self._committed.get(place, {}))",
        "{}",
        KILLED,
    ),
    Mutation(
        "rolled-back-step-counted",
        "G4: a step that was rolled back is counted with the next one",
        PROGRESS,
        "dict(self._committed.get(place, {}))",
        "dict(self._written.get(place, {}))",
        (f"{T_TALLIES}::test_a_step_that_fails_once_is_counted_once",),
    ),
    Mutation(
        "each-step-counted-again",
        "G4: each step counts what those before it have removed once more",
        PROGRESS,
        "            id=self._id(tally, label),\n",
        "            id=uuid4(),\n",
        KILLED,
    ),
    Mutation(
        "counts-not-read-at-the-end",
        "G4: the log keeps what one worker knows",
        TIME_SLICE,
        "        self.progress.fold()\n",
        "",
        KILLED,
    ),
    Mutation(
        "verified-although-less-is-counted",
        "G10: a restored child database is verified",
        VERIFY,
        "if lost := tallies.lost(claim, counts):",
        "if lost := []:",
        (f"{T_RESTORES}::test_verification_proves_nothing_where_the_child_counts_less",),
    ),
    Mutation(
        "restored-child-not-seen",
        "G10: a restored child database is worked on",
        RESTORES,
        "uncounted=len(uncounted)",
        "uncounted=0",
        (f"{T_RESTORES}::test_a_restored_child_is_paused_before_anything_else",),
    ),
    Mutation(
        "restored-log-not-seen",
        "G10: rows are deleted for a log that was restored",
        RESTORES,
        "unknown=len(unknown)",
        "unknown=0",
        (f"{T_RESTORES}::test_a_restored_log_is_seen_by_its_children",),
    ),
    Mutation(
        "ids-of-another-life-known",
        "G10: a restored log is not seen once it has used its ids again",
        RESTORES,
        "if not {tally, None} & known.get(batch, set())",
        "if batch not in known",
        (f"{T_RESTORES}::test_a_restored_log_uses_its_ids_again",),
    ),
    Mutation(
        "tallies-purged-before-the-log",
        "G4: counts are purged that the log still needs",
        TALLIES,
        "if tally not in known.get(batch, set())]",
        "]",
        (f"{T_TALLIES}::test_the_purge_of_the_log_is_followed_by_that_of_the_tallies",),
    ),
)
