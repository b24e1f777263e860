"""Mutations of scan and repair: what is looked for twice, and refused when it is absurd."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    BRAKE,
    CLAIMS,
    LOGGED_SUSPECTS,
    PASSES,
    RELATIONS,
    REPAIR,
    SCAN,
    SUSPECTS,
    T_PRIMARIES,
    T_SCAN,
    T_SCAN_ATTACKS,
    T_SCAN_BUSY,
)

SECOND_LOOK = f"{T_SCAN}::TestSecondLook"
IN_PASSES = f"{T_SCAN}::TestPasses"

MUTATIONS = (
    Mutation(
        "repair-without-grace",
        "G2: the second look follows the first at once",
        REPAIR,
        "older_than_seconds=grace",
        "older_than_seconds=0",
        (f"{SECOND_LOOK}::test_it_waits_for_the_grace_period",),
    ),
    Mutation(
        "repair-without-a-second-look",
        "G2: a suspect is condemned although its parent came back",
        SUSPECTS,
        "alive=[pk for pk in keys if pk in living],",
        "alive=[],",
        (f"{SECOND_LOOK}::test_a_parent_that_came_back_cancels_it",),
    ),
    Mutation(
        "no-brake-for-an-empty-table",
        "G10: an empty table of parents makes orphans of all",
        BRAKE,
        "    if is_empty(relation):",
        "    if False:",
        (f"{SECOND_LOOK}::test_an_empty_table_of_parents_repairs_nothing",),
    ),
    Mutation(
        "no-brake-for-looks-that-disagree",
        "G10: two looks at two databases are taken for one",
        BRAKE,
        "if alive > settings.brake_keys and",
        "if False and",
        (f"{SECOND_LOOK}::test_two_looks_that_disagree_repair_nothing",),
    ),
    Mutation(
        "override-without-audit",
        "nobody knows who overrode the brake",
        REPAIR,
        "control.audit(",
        "dict[str, str]().get(",
        (f"{SECOND_LOOK}::test_an_empty_table_of_parents_repairs_nothing",),
    ),
    Mutation(
        "repair-by-default",
        "G2: a project that asked for nothing gets its orphans deleted",
        REPAIR,
        'settings.scan_policy_of(each.label) == "repair"',
        "True",
        (f"{T_SCAN}::test_the_settings_say_which_relations_are_repaired_without_being_asked",),
    ),
    Mutation(
        "scan-in-one-home-only",
        "G2: parents in their second database are suspects",
        PASSES,
        "suspects.held(target, dict(enumerate(keys)), others)",
        "suspects.held(target, dict(enumerate(keys)), [])",
        (f"{T_PRIMARIES}::test_a_parent_that_lives_in_another_of_its_homes_is_no_suspect",),
    ),
    Mutation(
        "two-scans-at-once",
        "G4: a scan that was taken over saves its cursor over the other's",
        PASSES,
        "if not self._mine().update(due_at=_lease()):",
        "if False:",
        (f"{IN_PASSES}::test_one_that_was_taken_over_saves_nothing_more",),
    ),
    Mutation(
        "steps-forgotten",
        "each run begins its pass anew, and none is ever finished",
        PASSES,
        "if row.began_at is None or self.mode.full:",
        "if True:",
        (f"{IN_PASSES}::test_a_pass_goes_on_where_the_last_run_stopped",),
    ),
    Mutation(
        "scan-without-an-index",
        "G8: each step reads the whole table",
        SCAN,
        "if not relation.indexed:",
        "if False:",
        (f"{IN_PASSES}::test_a_key_without_an_index_is_refused_with_the_reason",),
    ),
    Mutation(
        "suspects-twice",
        "G4: each pass enters its suspects once more",
        LOGGED_SUSPECTS,
        "if each not in there]",
        "]",
        (f"{T_SCAN}::TestScan::test_a_second_pass_enters_no_suspect_twice",),
    ),
    Mutation(
        "suspect-what-is-under-way",
        "G4: what is being cascaded is a suspect as well",
        LOGGED_SUSPECTS,
        "if found is wanted}",
        "if found is None}",
        (f"{T_SCAN}::TestScan::test_what_the_log_is_about_already_is_no_suspect",),
    ),
    Mutation(
        "busy-in-any-database",
        "G9: what is blocked in one database hides the orphans of another",
        LOGGED_SUSPECTS,
        """tables.among("deletion_id", ids, using), database=database""",
        """tables.among("deletion_id", ids, using)""",
        (f"{T_SCAN_BUSY}::TestAnotherDatabase::test_what_is_blocked_there_hides_nothing_here",),
    ),
    Mutation(
        "busy-along-any-relation",
        "G9: what fails along one relation hides later rows of another",
        LOGGED_SUSPECTS,
        "not failing or label in failing",
        "True",
        (
            (
                f"{T_SCAN_BUSY}::TestTheSameRelation"
                "::test_what_fails_along_another_relation_hides_no_rows"
            ),
        ),
    ),
    Mutation(
        "blocked-is-busy",
        "G11: orphans of a blocked deletion are counted by nobody",
        LOGGED_SUSPECTS,
        "return _Standing.BLOCKED if",
        "return _Standing.REMOVES if",
        (
            (
                f"{T_SCAN_BUSY}::TestTheSameRelation"
                "::test_rows_of_what_is_blocked_are_orphans_and_no_suspects"
            ),
        ),
    ),
    Mutation(
        "done-is-busy-for-ever",
        "G9: what is never verified hides later rows from every scan",
        LOGGED_SUSPECTS,
        "if state == Cascade.State.DONE and not late:",
        "if state == Cascade.State.DONE:",
        (f"{T_SCAN_BUSY}::TestTheSameRelation::test_but_not_for_ever",),
    ),
    Mutation(
        "all-relations-of-a-suspect",
        "G2: rows that are only to be reported go with those that are to be repaired",
        CLAIMS,
        "claim.database, one.relation)",
        'claim.database, "")',
        (
            f"{T_SCAN_ATTACKS}::TestPolicy::test_nor_does_another_relation_of_the_same_database_lose_any",
        ),
    ),
    Mutation(
        "fence-of-yesterday",
        "G2: an old suspicion condemns a pair that came later",
        LOGGED_SUSPECTS,
        ".filter(again).update(fence=packed(fence))",
        "",
        (
            (
                f"{T_SCAN_ATTACKS}::TestCameBack"
                "::test_a_key_that_a_new_pair_takes_over_is_not_condemned_by_an_old_suspicion"
            ),
        ),
    ),
    Mutation(
        "best-sight",
        "G10: a pass that has just begun makes an absurd one look well",
        BRAKE,
        "return now, last, Sight(keys=max(now.keys, last.keys), missing=waiting)",
        "return (now,)",
        (f"{T_SCAN_ATTACKS}::TestBrake::test_it_holds_while_the_next_pass_is_young",),
    ),
    Mutation(
        "suspects-that-were-disproved",
        "G10: what two looks do not agree on is confirmed at the next tick",
        REPAIR,
        "    elif doubt:\n",
        "    elif False:\n",
        (
            (
                f"{T_SCAN_ATTACKS}::TestBrake"
                "::test_of_two_looks_that_disagree_the_first_one_is_worth_nothing"
            ),
        ),
    ),
    Mutation(
        "one-home-identified",
        "G10: the second shard of the parents may be any database",
        RELATIONS,
        "            for home in each.parent_databases\n",
        "            for home in each.parent_databases[:1]\n",
        (
            (
                f"{T_SCAN_ATTACKS}::TestShardsOfParents"
                "::test_one_that_is_not_the_known_one_condemns_nobody"
            ),
        ),
    ),
    Mutation(
        "suspects-for-ever",
        "a parent that came back stays a suspect where nobody repairs",
        PASSES,
        'log.cancel(seen.alive, "the parent is alive", using=self.using)',
        "pass",
        (f"{T_SCAN_ATTACKS}::TestCameBack::test_it_is_no_suspect_any_more_after_the_next_pass",),
    ),
    Mutation(
        "one-transaction-for-all",
        "a scan of an hour holds its table's lock for an hour",
        PASSES,
        "last = late or self._is_time_to_save()",
        "last = late",
        (
            f"{T_SCAN_ATTACKS}::TestMisfortune::test_a_long_scan_holds_no_lock_on_its_table_for_long",
        ),
    ),
)
