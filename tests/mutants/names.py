"""Mutations of names that age: what nobody knows is told, and never taken for nothing to do."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CLAIMING,
    ENTRIES,
    IDENTITY,
    NAMES_REPORT,
    RENAMES,
    RENAMES_LOG,
    RENAMING,
    T_NAMES,
    T_RENAME,
)

NOTHING = f"{T_NAMES}::TestNothingIsDone"
OPERATOR = f"{T_RENAME}::TestAnOperatorDoesIt"

T_RELEASES = "tests/integration/test_releases.py"

MUTATIONS = (
    Mutation(
        "unknown-is-nothing-to-do",
        "G1: along a relation that nobody knows, a cascade is verified without any work",
        CLAIMING,
        "known = {kind for kind in kinds if knows(kind[0], database, kind[1])}",
        "known = kinds",
        (f"{NOTHING}::test_under_a_name_that_nobody_knows[of_old_field-dispatched]",),
    ),
    Mutation(
        "unknown-keeps-others-waiting",
        "G7: what nobody knows is claimed first for ever",
        CLAIMING,
        "            _set_aside(unknown, claim)\n",
        "",
        (f"{NOTHING}::test_it_keeps_nobody_waiting",),
    ),
    Mutation(
        "unknown-relation-dispatched",
        "G1: a deletion along an unknown relation ends, as if no policy left any work",
        ENTRIES,
        "filter(leading(), state=Deletion.State.RECORDED)",
        "filter(state=Deletion.State.RECORDED)",
        (f"{NOTHING}::test_a_relation_that_points_to_another_model_today_is_not_dispatched",),
    ),
    Mutation(
        "unknown-states-are-an-end",
        "G12: a deletion is verified whose cascades are in a state of a newer release",
        ENTRIES,
        "if state not in ended}",
        "if state in short_of}",
        (f"{T_RELEASES}::test_a_state_that_only_the_newer_release_knows_is_not_over",),
    ),
    Mutation(
        "names-of-done-work",
        "G11: what is done and not verified under an old alias is told by nobody",
        "apps/integrity/log/names.py",
        "[_IN_BACKLOG, _UNPROVEN]",
        "[_IN_BACKLOG]",
        (f"{T_NAMES}::TestItIsAFinding::test_an_alias_of_the_past[unproven]",),
    ),
    Mutation(
        "unknown-parents-untold",
        "G11: open work of a parent that nobody knows is told by nobody",
        NAMES_REPORT,
        "    if parent and not found.knows(parent):",
        "    if False:",
        (f"{T_NAMES}::TestItIsAFinding::test_in_every_place[of_old_parent-model-auth.Customer]",),
    ),
    Mutation(
        "rename-without-audit",
        "nobody knows who renamed what",
        RENAMES,
        '    control.audit("rename", str(change), actor=actor, reason=rows, using=using)\n',
        "",
        (f"{OPERATOR}::test_it_is_audited_and_the_second_run_changes_nothing",),
    ),
    Mutation(
        "rename-audited-for-nothing",
        "G4: a second run leaves another trace",
        RENAMES,
        "if not apply or not any(found.values()):\n        return found\n    rows =",
        "if not apply:\n        return found\n    rows =",
        (f"{OPERATOR}::test_it_is_audited_and_the_second_run_changes_nothing",),
    ),
    Mutation(
        "renamed-twice",
        "G4: two cascades of one deletion become one row, or an error",
        RENAMES_LOG,
        "    twins = [deletions[each] for each in doubled]",
        "    twins: list[int] = []",
        (f"{T_RENAME}::TestTheWorkIsDone::test_two_names_of_one_database_become_one",),
    ),
    Mutation(
        "twin-left-verified",
        "G1: work of the old name is over because the new name had finished",
        RENAMES_LOG,
        "    _take_both(there, doubled, using)\n",
        "",
        (f"{T_RENAME}::TestTheWorkIsDone::test_two_names_of_one_database_become_one",),
    ),
    Mutation(
        "given-up-is-verified",
        "G12: a deletion of which everything was given up is proven",
        RENAMES_LOG,
        "deletions - set(others.values_list",
        "set() & set(others.values_list",
        (f"{T_RENAME}::TestGivenUp::test_of_which_nothing_is_left_is_not_verified",),
    ),
    Mutation(
        "renamed-stranger-accepted",
        "G10: a child of another database takes the parents for its own",
        IDENTITY,
        "right = own is not None and mine is not None and known.uuid == own.uuid",
        "right = True",
        (f"{T_RENAME}::TestWhatElseHasTheName::test_one_that_knew_another_database_still_does",),
    ),
    Mutation(
        "generic-relation-of-old",
        "G1: relations of a GenericForeignKey keep their parent's old name",
        RENAMING,
        "{at}{self.model(parent)}",
        "{at}{parent}",
        (f"{T_RENAME}::test_labels",),
    ),
)
