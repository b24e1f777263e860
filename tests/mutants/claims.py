"""Mutations of claims: who may work on a cascade, and who may write its outcome."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CLAIMING,
    NOTIFIED,
    OUTCOMES,
    POSTGRESQL_LOG,
    RETRY,
    T_ATTACK_FOREIGN_TEXT,
    T_CASCADE,
    T_LOG,
    T_LOST_WORKERS,
    T_ONE_HOP,
    T_STATEMENTS,
)

MUTATIONS = (
    Mutation(
        "lease-not-respected",
        "G4: a cascade that another worker holds is claimed",
        CLAIMING,
        "filter(database=database, due_at__lte=Now())",
        "filter(database=database)",
        (f"{T_LOG}::TestClaim::test_what_is_held_cannot_be_claimed_again",),
    ),
    Mutation(
        "claim-for-another-database",
        "G1: a cascade is claimed for another database, and is done there",
        CLAIMING,
        "filter(database=database, due_at__lte=Now())",
        "filter(due_at__lte=Now())",
        (f"{T_LOG}::TestClaim::test_it_holds_what_is_due_in_one_database_and_counts_the_attempt",),
    ),
    Mutation(
        "an-owner-past-its-field",
        "security: a foreign text stops every claim, or is stored as it is",
        POSTGRESQL_LOG,
        "claim, plain_owner, lease",
        "claim, owner, lease",
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
        "due_at__gt=Now(), owner=owner",
        "due_at__gt=Now()",
        (f"{T_CASCADE}::TestTakeOver::test_nobody_else_does",),
    ),
    Mutation(
        "claims-are-not-locked",
        "G4: two workers claim the same cascade at the same time",
        POSTGRESQL_LOG,
        "FOR NO KEY UPDATE SKIP LOCKED), held AS",
        "), held AS",
        (
            f"{T_LOG}::TestClaim::test_what_somebody_is_just_claiming_is_passed_over_without_waiting",
        ),
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
