"""Mutations of erasure steps: what is found, what is erased, what is proven."""

from __future__ import annotations

from .mutation import Mutation
from .paths import ERASING, FIELD_FILES, GATHERING, PROVING, STEPS, T_ERASING, T_FILES

PROVEN = "test_what_is_found_while_a_step_is_verified_is_not_removed_with_what_is_proven"
IF_FOUND = "if live.covered and (found := [row for one in done for row in one.found(live.claim)]):"
WRITTEN = (
    f"            {IF_FOUND}\n"
    "                findings.write(found, database=database)\n"
    "            failpoints.hit(Failpoint.REMOVED)\n"
)
WRITTEN_LATE = (
    "        failpoints.hit(Failpoint.REMOVED)\n"
    f"        {IF_FOUND}\n"
    "            findings.write(found, database=database)\n"
)

MUTATIONS = (
    Mutation(
        "findings-not-written",
        "G1: rows go, and nobody knows what has to be erased with them",
        STEPS,
        "                findings.write(found, database=database)\n",
        "                pass\n",
        (f"{T_ERASING}::test_files_go_with_their_rows_in_every_database_and_below_and_no_others",),
    ),
    Mutation(
        "findings-written-after-the-commit",
        "G1: who dies between two transactions leaves rows gone, and nothing found",
        STEPS,
        WRITTEN,
        WRITTEN_LATE,
        (f"{T_ERASING}::test_a_rolled_back_step_leaves_rows_and_finds_nothing",),
    ),
    Mutation(
        "findings-of-kept-rows",
        "G2: what was found for a row that stays is erased",
        GATHERING,
        "        if self.changed - before != len(owners):\n",
        "        if False:\n",
        (f"{T_ERASING}::test_a_row_that_a_trigger_keeps_keeps_its_file",),
    ),
    Mutation(
        "step-ends-before-its-rows",
        "G1: a step is done while rows may still go in some database",
        ERASING,
        "        waits = beside.unended(claim)\n",
        "        waits = dict[int, beside.Wait]()\n",
        (f"{T_ERASING}::test_it_is_not_done_before_the_rows_are_gone_and_verified",),
    ),
    Mutation(
        "paused-database-has-no-findings",
        "G12: findings in a database that is paused count as none",
        ERASING,
        "    if noted is not None and not noted.unreachable:\n",
        "    if False:\n",
        (f"{T_ERASING}::test_a_paused_child_database_is_not_taken_for_an_empty_one",),
    ),
    Mutation(
        "untold-is-none",
        "G12: what a step cannot tell counts as gone",
        PROVING,
        "        self.failed, self.why = True, self.why or UNTOLD\n        return Found.UNKNOWN\n",
        "        return Found.NONE\n",
        (f"{T_ERASING}::test_unknown_is_never_verified",),
    ),
    Mutation(
        "failed-probe-is-none",
        "G12: what a probe that fails was asked for counts as gone",
        PROVING,
        "            return Found.UNKNOWN\n        if found in",
        "            return Found.NONE\n        if found in",
        (f"{T_ERASING}::test_unknown_is_never_verified",),
    ),
    Mutation(
        "unprobed-findings-removed",
        "G1: what was found during the proof is removed with what is proven",
        PROVING,
        "pks = [finding for deletion in clean for finding in probed.get(deletion, ())]",
        "pks = [one.pk for one in findings.mine(_rows(claim, database), clean)]",
        (f"{T_ERASING}::{PROVEN}",),
    ),
    Mutation(
        "file-of-a-living-row-deleted",
        "G2: a file goes that another row names",
        FIELD_FILES,
        "                if file.key in named:\n",
        "                if False:\n",
        (f"{T_FILES}::TestErase::test_no_file_that_another_row_names",),
    ),
)
