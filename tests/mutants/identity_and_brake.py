"""Mutations of identity, of the scan's second check and of the brake."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    BRAKE,
    CLAIMS,
    DISCOVERY,
    IDENTITY,
    LOGGED_SUSPECTS,
    POSTGRESQL_LOG,
    REPAIR,
    SUSPECTS,
    T_IDENTITY,
    T_RENAME,
    T_SCAN,
    T_SCAN_ATTACKS,
    T_STATEMENTS,
)

MUTATIONS = (
    Mutation(
        "identity-not-compared",
        "G10: a child database is worked on beside the parents of another installation",
        IDENTITY,
        "if known.uuid == own.uuid:",
        "if True:",
        (f"{T_IDENTITY}::test_other_parents_are_refused_and_nothing_is_touched",),
    ),
    Mutation(
        "rename-accepts-another-identity",
        "G10: a rename gives a child database the parents of another installation",
        IDENTITY,
        " and known.uuid == own.uuid",
        "",
        (f"{T_RENAME}::TestWhatElseHasTheName::test_one_that_knew_another_database_still_does",),
    ),
    Mutation(
        "identity-of-one-parent-database",
        "G10: the second database of the parents may be any database",
        DISCOVERY,
        "            for home in relation.parent_databases\n",
        "            for home in relation.parent_databases[:1]\n",
        (
            f"{T_SCAN_ATTACKS}::TestShardsOfParents::test_one_that_is_not_the_known_one_condemns_nobody",
        ),
    ),
    Mutation(
        "repair-without-grace",
        "G2: a suspect is repaired at once",
        REPAIR,
        "older_than_seconds=grace",
        "older_than_seconds=0",
        (f"{T_SCAN}::TestRecheck::test_it_waits_for_the_grace_period",),
    ),
    Mutation(
        "repair-without-second-check",
        "G2: a suspect is repaired although its parent was created again",
        SUSPECTS,
        "alive=[pk for pk in keys if pk in living],",
        "alive=[],",
        (f"{T_SCAN}::TestRecheck::test_a_parent_that_came_back_cancels_it",),
    ),
    Mutation(
        "repair-without-barrier",
        "G2: a suspect is repaired while its parent is being inserted",
        REPAIR,
        "if states[suspect.pk] is BarrierState.PASSED]",
        "]",
        (
            f"{T_SCAN}::TestRecheck::test_a_parent_of_a_transaction_that_was_open_at_the_scan_is_waited_for",
        ),
    ),
    Mutation(
        "barrier-of-an-earlier-scan",
        "G2: an old suspicion confirms rows that came later",
        LOGGED_SUSPECTS,
        'update_fields=["fence"]',
        'update_fields=["parent"]',
        (
            f"{T_SCAN_ATTACKS}::TestCameBack::test_a_key_that_a_new_pair_takes_over_is_not_condemned_by_an_old_suspicion",
        ),
    ),
    Mutation(
        "repair-along-other-relations",
        "G2: a repair takes rows of relations that are only reported",
        CLAIMS,
        "claim.parent, claim.database, claim.relation)",
        'claim.parent, claim.database, "")',
        (
            f"{T_SCAN_ATTACKS}::TestPolicy::test_nor_does_another_relation_of_the_same_database_lose_any",
        ),
    ),
    Mutation(
        "confirmed-along-all-relations",
        "G2: a confirmed suspect takes rows of relations that are only reported",
        POSTGRESQL_LOG,
        "jsonb_build_object(field, value) END, relation, 'scan'",
        "jsonb_build_object(field, value) END, '', 'scan'",
        (f"{T_STATEMENTS}::TestInsertConfirmed::test_it_logs_them_in_their_order",),
    ),
    Mutation(
        "repair-by-default",
        "G2: orphans are deleted without being asked for",
        REPAIR,
        'settings.scan_policy_of(relation.label) == "repair"',
        "True",
        (f"{T_SCAN}::test_the_settings_say_which_relations_are_repaired_without_being_asked",),
    ),
    Mutation(
        "no-brake",
        "G10: an absurd share of orphans is repaired",
        BRAKE,
        "figures.missing > tolerated(",
        "False and tolerated(",
        (f"{T_SCAN}::TestRecheck::test_an_absurd_share_repairs_nothing",),
    ),
    Mutation(
        "no-brake-for-an-empty-table",
        "G10: an empty parent table makes orphans of all rows",
        BRAKE,
        "    if evidence.no_parents:",
        "    if False:",
        (f"{T_SCAN}::TestRecheck::test_an_empty_table_of_parents_repairs_nothing",),
    ),
    Mutation(
        "no-brake-for-checks-that-disagree",
        "G10: two checks that disagree are believed",
        BRAKE,
        "alive > settings.brake_keys and",
        "False and",
        (f"{T_SCAN}::TestRecheck::test_a_recheck_that_disagrees_repairs_nothing",),
    ),
)
