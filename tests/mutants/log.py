"""Mutations of the deletion log: claims, leases, transitions, retention."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CLAIMING,
    ENTRIES,
    OUTCOMES,
    POSTGRESQL,
    T_ATTACKS_LOG,
    T_BOUNDS,
    T_CASCADE,
    T_COMMAND,
    T_DECISIONS,
    T_DISPATCH,
    T_LOG,
    T_LOST,
    T_RETENTION,
    T_STATEMENTS,
    T_VERIFY,
)

MODELS = "apps/integrity/models.py"
T_LONG_KEYS = "tests/integration/test_long_keys.py"
CLAIM = f"{T_LOG}::TestClaim"
LEASE = f"{CLAIM}::test_an_expired_lease_can_and_its_first_holder_then_changes_nothing"

MUTATIONS = (
    # Dispatch
    Mutation(
        "dispatch-to-one",
        "G1: only the first child database gets its cascade",
        ENTRIES,
        "databases = relations.catalogue().databases_of(parent, relation)",
        "databases = relations.catalogue().databases_of(parent, relation)[:1]",
        (f"{T_DISPATCH}::test_a_deletion_gets_one_cascade_for_each_child_database",),
    ),
    Mutation(
        "close-what-is-unknown",
        "G1: a process of yesterday closes deletions of a model that it does not know",
        ENTRIES,
        "filter(leading(), state=",
        "filter(state=",
        (
            (
                f"{T_DISPATCH}"
                "::test_a_parent_that_this_process_does_not_know_yet_waits_for_one_that_does"
            ),
        ),
    ),
    Mutation(
        "dispatch-half-a-batch",
        "G4: a death in a batch leaves some of it dispatched and some not",
        ENTRIES,
        "frozenset[str]()\n    with transaction.atomic(using=using):",
        "frozenset[str]()\n    if True:",
        (f"{T_ATTACKS_LOG}::TestDispatch",),
    ),
    # Claims
    Mutation(
        "claim-what-is-over",
        "G4: blocked and done cascades are worked on again",
        CLAIMING,
        ".filter(state__in=Cascade.CLAIMABLE)",
        "",
        (f"{CLAIM}::test_only_open_cascades_are_claimed",),
    ),
    Mutation(
        "claim-before-it-is-due",
        "G4: leases and backoffs hold nobody off",
        CLAIMING,
        "filter(database=database, due_at__lte=Now())",
        "filter(database=database)",
        (
            f"{CLAIM}::test_what_is_held_cannot_be_claimed_again",
            f"{CLAIM}::test_what_is_not_due_yet_is_left",
        ),
    ),
    Mutation(
        "claim-from-any-database",
        "G6: cascades of one database are marked by work in another",
        CLAIMING,
        "filter(database=database, due_at__lte=Now())",
        "filter(due_at__lte=Now())",
        (f"{CLAIM}::test_it_holds_what_is_due_in_one_database_and_counts_the_attempt",),
    ),
    Mutation(
        "claim-without-a-limit",
        "G8: one claim holds the whole backlog",
        CLAIMING,
        "list(tables.locked(rows, using)[:limit])",
        "list(tables.locked(rows, using))",
        (f"{T_BOUNDS}::test_a_claim_reads_and_locks_at_most_its_limit",),
    ),
    Mutation(
        "claim-the-oldest-id-first",
        "G7: a giant comes first again after each of its turns",
        CLAIMING,
        'due.order_by("due_at", "pk")',
        'due.order_by("pk")',
        (f"{CLAIM}::test_it_takes_the_longest_due_first_and_at_most_the_limit",),
    ),
    Mutation(
        "endless-lease",
        "G1: what a dead worker held stays held",
        CLAIMING,
        "due_at=Now() + dt.timedelta(seconds=lease_seconds)",
        "due_at=Now() + dt.timedelta(days=lease_seconds)",
        (f"{CLAIM}::test_it_holds_what_is_due_in_one_database_and_counts_the_attempt",),
    ),
    Mutation(
        "poison-in-company",
        "G1: a cascade that kills its worker is never found among its companions",
        CLAIMING,
        "max(1, limit >> max(0, first.attempts - 1))",
        "limit",
        (f"{T_DECISIONS}::test_the_more_often_a_cascade_failed_the_fewer_are_claimed_with_it",),
    ),
    Mutation(
        "no-take-over",
        "G1: a message that comes again waits for the lease of its dead process",
        CLAIMING,
        "return running.update(due_at=Now())",
        "return 0",
        (
            (
                f"{T_CASCADE}::TestTakeOver"
                "::test_the_next_run_takes_over_at_once_what_the_dead_one_had_claimed"
            ),
        ),
    ),
    Mutation(
        "take-over-from-anybody",
        "G4: a message that comes again takes the work of the living",
        CLAIMING,
        "due_at__gt=Now(), owner=owner",
        "due_at__gt=Now()",
        (f"{T_CASCADE}::TestTakeOver::test_nobody_else_does",),
    ),
    # Transitions
    Mutation(
        "finish-without-the-claim",
        "G4: who lost the claim marks another's work as done",
        POSTGRESQL,
        "AND cascade.claim = %s AND cascade",
        "AND (cascade.claim = %s OR true) AND cascade",
        (
            (
                f"{T_STATEMENTS}::TestFinishCascades"
                "::test_it_marks_what_the_claim_holds_and_nothing_else"
            ),
            f"{T_ATTACKS_LOG}::TestProgress",
            LEASE,
        ),
    ),
    Mutation(
        "change-without-the-claim",
        "G4: who lost the claim puts another's work back",
        OUTCOMES,
        "claim=claim.token, state=claim.state",
        "state=claim.state",
        (LEASE,),
    ),
    Mutation(
        "release-burns-attempts",
        "G7: a giant deletion is blocked for taking many turns",
        OUTCOMES,
        '"attempts": Greatest(F("attempts") - 1, 0),',
        "",
        (
            (
                f"{T_LOG}::TestRelease"
                "::test_it_goes_to_the_end_of_the_queue_with_its_progress_and_uncounted"
            ),
        ),
    ),
    Mutation(
        "release-forgets-the-rows",
        "receipts count the last turn only",
        OUTCOMES,
        "        _keep_rows(claim, rows)\n",
        "",
        (
            (
                f"{T_LOG}::TestRelease"
                "::test_it_goes_to_the_end_of_the_queue_with_its_progress_and_uncounted"
            ),
        ),
    ),
    Mutation(
        "never-blocked",
        "G11: what fails for ever is tried for ever",
        OUTCOMES,
        "if each.attempts >= settings.attempts]",
        "if False]",
        (f"{T_LOG}::TestPostpone::test_after_the_last_attempt_it_is_blocked_and_keeps_the_error",),
    ),
    Mutation(
        "no-backoff",
        "what fails is tried at the same pace for ever",
        OUTCOMES,
        "settings.backoff_seconds * 2 ** (attempts - 1)",
        "settings.backoff_seconds",
        (f"{T_DECISIONS}::test_the_wait_doubles_up_to_its_cap_and_is_spread_by_a_quarter",),
    ),
    Mutation(
        "lost-workers-go-unseen",
        "G11: a cascade that kills its worker each time is never blocked",
        OUTCOMES,
        "attempts__gte=conf.current().attempts,",
        "attempts__gte=10_000,",
        (f"{T_LOST}::test_it_is_blocked_by_the_next_sweep_once_its_last_lease_is_over",),
    ),
    Mutation(
        "settle-what-is-open",
        "G1: a deletion is complete while a database still waits",
        ENTRIES,
        "return [pk for pk in pks if pk not in short]",
        "return list(pks)",
        (f"{T_DISPATCH}::test_a_deletion_with_an_open_cascade_is_not_complete",),
    ),
    Mutation(
        "settle-what-is-blocked",
        "G11: a blocked cascade counts as finished",
        ENTRIES,
        '"cascaded_at", Cascade.OPEN)',
        '"cascaded_at", Cascade.CLAIMABLE)',
        (f"{T_DISPATCH}::test_a_deletion_with_an_open_cascade_is_not_complete",),
    ),
    Mutation(
        "settle-unproven",
        "G9: a deletion is verified when its first database is",
        ENTRIES,
        '"verified_at",\n        (*Cascade.OPEN, Cascade.State.DONE),',
        '"verified_at",\n        Cascade.OPEN,',
        (f"{T_VERIFY}::test_a_deletion_is_verified_when_its_last_database_is",),
    ),
    Mutation(
        "reopened-and-still-complete",
        "G11: a deletion stays complete while its late rows wait",
        OUTCOMES,
        "state=Deletion.State.DISPATCHED, cascaded_at=None",
        "reason=reason",
        (f"{T_VERIFY}::test_a_deletion_is_cascaded_no_more_once_rows_came_late",),
    ),
    Mutation(
        "reopened-while-it-is-settled",
        "G11: a deletion is complete although rows came late while it was settled",
        OUTCOMES,
        '        list(locked.values_list("pk"))\n',
        "",
        (f"{T_ATTACKS_LOG}::TestSettling::test_reopened_between_the_decision_and_the_move",),
    ),
    Mutation(
        "reopened-by-who-lost-it",
        "G4: a verifier that lost its lease takes a complete deletion back",
        OUTCOMES,
        "[*there.values()]",
        "ids",
        (
            (
                f"{T_ATTACKS_LOG}::TestReopening"
                "::test_whoever_lost_the_lease_reopens_neither_cascade_nor_deletion"
            ),
        ),
    ),
    Mutation(
        "settle-by-an-old-look",
        "G11: what is reopened before the lock counts as complete",
        ENTRIES,
        "arrived = _arrived(there, short_of, found)",
        "arrived = there",
        (f"{T_ATTACKS_LOG}::TestSettling::test_reopened_between_the_look_and_the_lock",),
    ),
    Mutation(
        "settle-past-who-settles",
        "G4: of two databases that are verified at once neither completes the deletion",
        ENTRIES,
        "_settle(arrived, using, patient=True)",
        "_settle(arrived, using, patient=False)",
        (
            (
                f"{T_ATTACKS_LOG}::TestSettling"
                "::test_a_database_that_is_verified_while_another_one_settles_waits_for_it"
            ),
        ),
    ),
    Mutation(
        "cancel-leaves-done",
        "a cancelled deletion is verified all the same",
        ENTRIES,
        "unverified = (*Cascade.OPEN, Cascade.State.DONE)",
        "unverified = Cascade.OPEN",
        (f"{T_LOG}::TestCancel::test_what_is_done_is_not_verified_any_more",),
    ),
    Mutation(
        "cancel-again-and-again",
        "G4: what is over is cancelled once more",
        ENTRIES,
        '.filter(tables.among("pk", ids, using), state__in=Deletion.OPEN)',
        '.filter(tables.among("pk", ids, using))',
        (f"{T_LOG}::TestCancel::test_the_second_time_it_changes_nothing",),
    ),
    Mutation(
        "retry-everything",
        "`retry` of one deletion retries all",
        OUTCOMES,
        "blocked = blocked.filter(deletion__in=deletions)",
        "pass",
        (f"{T_COMMAND}::TestOperator::test_retry_one_deletion",),
    ),
    # Retention
    Mutation(
        "purge-what-is-open",
        "G1: an old deletion is forgotten before it is done",
        ENTRIES,
        "filter(state__in=Deletion.ENDED, ended_at__lte=old)",
        "filter(Q(ended_at__lte=old) | Q(ended_at=None))",
        (f"{T_RETENTION}::test_what_is_not_over_stays_however_old_it_is",),
    ),
    Mutation(
        "purge-at-once",
        "receipts are gone as soon as they are written",
        ENTRIES,
        "filter(state__in=Deletion.ENDED, ended_at__lte=old)",
        "filter(state__in=Deletion.ENDED)",
        (f"{T_RETENTION}::test_what_ended_before_the_retention_goes_with_its_cascades",),
    ),
    Mutation(
        "purge-what-nobody-has-seen",
        "G11: the alarm of rows that were left alone ends by itself, and their receipt is gone",
        ENTRIES,
        "    ended = ended.exclude(pk__in=told_nobody)\n",
        "",
        (
            f"{T_RETENTION}::test_rows_that_were_left_alone_are_told_of_until_somebody_acknowledges_them",
        ),
    ),
    Mutation(
        "purge-from-the-beginning",
        "what waited for a month loses its receipt a minute after it is verified",
        ENTRIES,
        "filter(state__in=Deletion.ENDED, ended_at__lte=old)",
        "filter(state__in=Deletion.ENDED, recorded_at__lte=old)",
        (f"{T_RETENTION}::test_the_retention_counts_from_the_end",),
    ),
    Mutation(
        "an-end-without-a-time",
        "what was cancelled stays for ever",
        ENTRIES,
        'return {"state": state} | ({"ended_at": Now()} if state in Deletion.ENDED else {})',
        'return {"state": state}',
        (f"{T_RETENTION}::test_the_retention_counts_from_the_end",),
    ),
    Mutation(
        "purge-who-lives",
        "G11: a worker that is silent, or beat, is forgotten, and with it since when",
        "apps/integrity/retention.py",
        ".exclude(name=control.BEAT)",
        ".all()",
        (f"{T_RETENTION}::test_beat_and_the_worker_seen_last_stay",),
    ),
    Mutation(
        "purge-without-the-right",
        "maintenance fails each minute where the role may not remove from the audit",
        "apps/integrity/retention.py",
        "if days is None or not may_delete(Audit._meta.db_table, using):",
        "if days is None:",
        (f"{T_RETENTION}::test_a_role_that_may_not_remove_from_the_audit_leaves_it",),
    ),
    Mutation(
        "purge-in-one-go",
        "G8: one transaction purges without a bound",
        ENTRIES,
        "[: settings.purge_keys]",
        "",
        (f"{T_RETENTION}::test_one_call_purges_at_most_a_batch_the_oldest_first",),
    ),
    Mutation(
        "purge-nothing",
        "G8: the log grows for ever",
        ENTRIES,
        "if not pks:\n            return 0\n        cascades",
        "return 0\n        cascades",
        (f"{T_RETENTION}::test_what_ended_before_the_retention_goes_with_its_cascades",),
    ),
    # Keys
    Mutation(
        "keys-of-one-beginning",
        "G12: a receipt speaks for another parent, whose key begins alike",
        MODELS,
        "return models.Q(begins, In(models.Func",
        "return models.Q(begins) or models.Q(In(models.Func",
        (f"{T_LONG_KEYS}::TestAnyLength::test_keys_that_begin_alike_are_told_apart",),
    ),
    Mutation(
        "keys-without-their-index",
        "G8: a look for one key reads the whole log of its model",
        MODELS,
        "return models.Q(begins, key__in=keys)",
        "return models.Q(key__in=keys)",
        (f"{T_LONG_KEYS}::TestThePlan",),
    ),
    Mutation(
        "the-triggers-look-without-it",
        "G8: each delete reads the whole log of its model, where triggers record as well",
        POSTGRESQL,
        'AND {KEY_HEAD} = ANY(%s)"\n            " AND key = ANY(%s) AND',
        'AND %s::text[] IS NOT NULL"\n            " AND key = ANY(%s) AND',
        (f"{T_LONG_KEYS}::TestThePlan::test_postgresql_looks_into_the_index",),
    ),
)
