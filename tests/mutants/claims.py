"""Mutations of claims: who may work on a cascade, and who may write its outcome."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CLAIMING,
    NOTIFIED,
    OUTCOMES,
    POSTGRESQL_LOG,
    POSTGRESQL_LOG_SQL,
    RETRY,
    T_ATTACK_FOREIGN_TEXT,
    T_CASCADE,
    T_LOG,
    T_LOST_WORKERS,
    T_ONE_HOP,
    T_PAUSE,
    T_STATEMENTS,
)

MUTATIONS = (
    Mutation(
        "lease-not-respected",
        "G4: a cascade that another worker holds is claimed",
        CLAIMING,
        "filter(database=database, due_at__lte=ServerNow())",
        "filter(database=database)",
        (f"{T_LOG}::TestClaim::test_what_is_held_cannot_be_claimed_again",),
    ),
    Mutation(
        "new-before-it-is-due",
        "a cascade that waits for a moment, for it was set aside, is claimed at once",
        POSTGRESQL_LOG_SQL,
        "AND {due_at} <= statement_timestamp()",
        "AND {due_at} IS NOT NULL",
        (f"{T_LOG}::TestClaim::test_what_is_not_due_yet_is_left",),
    ),
    Mutation(
        "claim-for-another-database",
        "G1: a cascade is claimed for another database, and is done there",
        POSTGRESQL_LOG_SQL,
        "WHERE database = %s AND {due}",
        "WHERE (database = %s OR true) AND {due}",
        (f"{T_LOG}::TestClaim::test_it_holds_what_is_due_in_one_database_and_counts_the_attempt",),
    ),
    Mutation(
        "an-owner-past-its-field",
        "security: a foreign text stops every claim, or is stored as it is",
        POSTGRESQL_LOG,
        "lease.claim, plain_owner,",
        "lease.claim, lease.owner,",
        (f"{T_ATTACK_FOREIGN_TEXT}::test_each_writer_of_the_log_writes_plain_text",),
    ),
    Mutation(
        "finish-without-the-claim",
        "G4: a worker that lost its claim finishes the cascade",
        POSTGRESQL_LOG,
        "AND cascade.claim = %s",
        "AND (cascade.claim = %s OR true)",
        (
            f"{T_STATEMENTS}::TestFinishCascades::test_it_marks_what_the_claim_holds_and_nothing_else",
        ),
    ),
    Mutation(
        "finish-what-was-split",
        "G4: a cascade that was split meanwhile is done with deletions that it no longer has",
        POSTGRESQL_LOG,
        " AND cascade.size = (%s::jsonb -> cascade.id::text)::int RETURNING cascade.id",
        " AND (%s::jsonb -> cascade.id::text) IS NOT NULL RETURNING cascade.id",
        (f"{T_STATEMENTS}::TestFinishCascades::test_what_was_split_meanwhile_stays",),
    ),
    Mutation(
        "claim-in-a-pause",
        "G10: a worker goes on in a database that was paused because its rows may be others",
        POSTGRESQL_LOG_SQL,
        " WHERE is_new AND NOT EXISTS (SELECT FROM paused)),",
        " WHERE is_new),",
        (f"{T_PAUSE}::test_work_under_way_ends_with_the_claim_at_hand",),
    ),
    Mutation(
        "release-without-the-claim",
        "G4: a worker that lost its claim releases or postpones the cascade",
        OUTCOMES,
        "claim=claim.token,\n        state=claim.state,",
        "state=claim.state,",
        (
            f"{T_LOG}::TestClaim::test_an_expired_lease_can_and_its_first_holder_then_changes_nothing",
        ),
    ),
    Mutation(
        "blocked-with-others",
        "G7: deletions are blocked with the one that kills its worker",
        RETRY,
        "    if attempts + 1 >= last:\n        return 1\n"
        "    bits = -(-limit.bit_length() // max(1, last - 2))",
        "    bits = 1",
        (f"{T_LOST_WORKERS}::test_a_deletion_that_kills_its_worker_is_blocked_alone",),
    ),
    Mutation(
        "take-over-from-anybody",
        "G4: a redelivered message takes over the work of a living worker",
        CLAIMING,
        'Q(owner=task) | Q(owner__startswith=f"{task} "),',
        "",
        (f"{T_CASCADE}::TestTakeOver::test_nobody_else_does",),
    ),
    Mutation(
        "claims-are-not-locked",
        "G4: two workers claim the same cascade at the same time",
        POSTGRESQL_LOG_SQL,
        "FOR NO KEY UPDATE SKIP LOCKED), held AS",
        "), held AS",
        (
            f"{T_LOG}::TestClaim::test_what_somebody_is_just_claiming_is_passed_over_without_waiting",
        ),
    ),
    Mutation(
        "claims-without-a-limit",
        "G8: a claim takes all that is due",
        POSTGRESQL_LOG_SQL,
        "WHERE together <= %s)",
        "WHERE together <= %s OR true)",
        (f"{T_LOG}::TestClaim::test_it_takes_whole_batches_up_to_the_limit",),
    ),
    Mutation(
        "failed-with-new",
        "G7: what fails is claimed with what is new, and holds it up",
        POSTGRESQL_LOG_SQL,
        'NEW = "attempts = 0 AND rows IS NULL"',
        'NEW = "attempts >= 0"',
        (f"{T_LOG}::TestClaim::test_what_failed_or_has_begun_is_not_claimed_with_what_is_new",),
    ),
    Mutation(
        "unknown-parents-are-claimed",
        "G1: a cascade of a parent that this release does not know ends without its rows",
        POSTGRESQL_LOG_SQL,
        "WHERE is_new AND (parent, relation) IN",
        "WHERE is_new OR (parent, relation) IN",
        (f"{T_LOG}::TestClaim::test_what_is_not_known_here_is_set_aside",),
    ),
    Mutation(
        "dispatcher-notifies-nobody",
        "G6: a database waits for beat because another one's worker held its deletions",
        NOTIFIED,
        "for database in sorted(fresh - {into})",
        "for database in ()",
        (
            f"{T_ONE_HOP}::TestWhoeverDispatches::test_who_comes_while_another_dispatches_is_notified_after_the_commit",
        ),
    ),
)
