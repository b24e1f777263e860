"""Mutations of what follows after a backup was restored."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CHILDREN,
    JUDGEMENT,
    LEDGER,
    PARENTS,
    REFUSALS,
    T_CHILDREN,
    T_ERASING,
    T_PARENTS,
    UNDONE,
)

MUTATIONS = (
    Mutation(
        "new-owner-of-a-key-deleted",
        "G2: a row that was created after the erasure is taken for the erased one",
        JUDGEMENT,
        "if any(at > aware(erased.at) - SKEW for at in moments):",
        "if False:",
        (f"{T_PARENTS}::test_a_key_that_another_row_has_by_now_is_only_reported",),
    ),
    Mutation(
        "row-with-another-value-deleted",
        "G2: a row with another to_field value is taken for the erased one",
        JUDGEMENT,
        "    if others:\n",
        "    if False:\n",
        (f"{T_PARENTS}::test_another_value_of_a_to_field_is_another_row",),
    ),
    Mutation(
        "unknown-row-deleted",
        "G2: a row of which nothing is known is taken for the erased one",
        JUDGEMENT,
        "return Verdict.UNKNOWN, UNTOLD",
        'return Verdict.BACK, ""',
        (f"{T_PARENTS}::test_where_nothing_tells_which_row_it_is_nothing_is_deleted",),
    ),
    Mutation(
        "parent-that-a-scan-missed-deleted",
        "G2: a parent that was missing for a while is deleted",
        JUDGEMENT,
        "    if erased.relation:\n",
        "    if False:\n",
        (f"{T_PARENTS}::test_what_a_scan_had_found_is_only_reported",),
    ),
    Mutation(
        "hidden-parents-count-as-gone",
        "G2: parents that the server hides are recorded as deleted",
        PARENTS,
        "    with visibility.whole(using, parent):\n",
        "    if True:\n",
        (f"{T_PARENTS}::test_unknown_is_never_back_nor_gone",),
    ),
    Mutation(
        "absurdly-many-parents-deleted",
        "G10: the brake does not hold up a replay",
        PARENTS,
        "            if one.erased.parent not in done.brakes:\n",
        "            if True:\n",
        (f"{T_PARENTS}::test_the_brake_refuses_to_delete_very_many",),
    ),
    Mutation(
        "ledger-read-without-bound",
        "G2: rows that were made again on purpose are deleted",
        LEDGER,
        ", at__gte=since",
        "",
        (f"{T_PARENTS}::test_what_the_log_may_have_purged_needs_the_time_of_the_backup",),
    ),
    Mutation(
        "replayed-twice",
        "G4: a second replay puts everything back once more",
        UNDONE,
        "yield _without_marks(page, database)",
        "yield page",
        (f"{T_CHILDREN}::test_running_it_twice_has_the_effect_of_once",),
    ),
    Mutation(
        "evidence-goes-first",
        "G4: a replay that dies is not noticed",
        UNDONE,
        "for has_none in (True, False):",
        "for has_none in (False, True):",
        (f"{T_CHILDREN}::test_a_replay_that_dies_is_noticed_and_the_next_finds_the_rest",),
    ),
    Mutation(
        "pause-ends-too-soon",
        "G10: work goes on although the log and the child disagree",
        CHILDREN,
        "        if not done.reason:\n            why",
        "        if True:\n            why",
        (f"{T_CHILDREN}::test_the_pause_stays_while_the_log_lacks_something",),
    ),
    Mutation(
        "steps-stay-done-after-a-replay",
        "G1: what steps erased with rows that a restore brought back is not erased again",
        UNDONE,
        "beside.reopen_steps([pk for one in changed for pk in one.deletions], using=using)",
        "pass",
        (f"{T_ERASING}::test_what_a_restore_brought_back_is_collected_and_erased_again",),
    ),
    Mutation(
        "replay-does-not-see-a-late-pause",
        "G6: a restore that is noticed during its replay pauses the database for good",
        CHILDREN,
        "    if actions.kind_of_pause(database, using=using) == ChildDatabase.Pause.RESTORED:\n",
        "    if False:\n",
        (
            f"{T_CHILDREN}::test_a_restore_that_is_noticed_while_it_is_replayed_does_not_pause_for_good",
        ),
    ),
    Mutation(
        "late-pause-does-not-see-the-replay",
        "G6: a pause that comes after the replay stays for good",
        REFUSALS,
        "    if paused and replayed():\n",
        "    if False:\n",
        (
            f"{T_CHILDREN}::test_a_pause_that_comes_after_the_replay_ends_at_once",
            f"{T_CHILDREN}::test_a_pause_by_verification_that_comes_after_the_replay_ends_at_once",
        ),
    ),
)
