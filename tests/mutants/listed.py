"""What every system of this kind must survive: the classic ways to get it wrong."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    BRAKE,
    CAPTURE,
    CASCADE,
    CLAIMING,
    CLAIMS,
    ENTRIES,
    POSTGRESQL,
    REPAIR,
    ROUTING,
    SETTINGS,
    T_CAPTURE,
    T_CASCADE,
    T_DISPATCH,
    T_FAILURES,
    T_LOG,
    T_PRIMARIES,
    T_SCAN,
    T_VERIFY,
    T_WORKERS,
    TABLES,
    TASKS,
    TREES,
)

MUTATIONS = (
    Mutation(
        "no-sweep",
        "G1: beat never looks for what no message told",
        ROUTING,
        '"integrity.dispatch": 5.0, ',
        "",
        (f"{T_WORKERS}::test_no_tick_of_the_timetable_expires_by_the_clock_of_beat",),
    ),
    Mutation(
        "dispatch-by-id",
        "G1: a lower id that commits later is passed over for ever",
        ENTRIES,
        "filter(leading(), state=Deletion.State.RECORDED)",
        "filter(leading(), state=Deletion.State.RECORDED, pk__gt=("
        "tables.deletions(using).exclude(state=Deletion.State.RECORDED)"
        ".order_by('-pk').values_list('pk', flat=True).first() or 0))",
        (f"{T_DISPATCH}::test_a_lower_id_that_commits_later_is_found",),
    ),
    Mutation(
        "early-ack",
        "G1: a message is gone before its work is done",
        TASKS,
        "    acks_late = True\n",
        "",
        (f"{T_WORKERS}::test_in_any_project_a_task_loses_no_message_and_ends_in_time",),
    ),
    Mutation(
        "on-commit-of-default",
        "G3: announced before the commit of the parent's own database",
        CAPTURE,
        "transaction.on_commit(announce, using=using, robust=True)",
        "transaction.on_commit(announce, robust=True)",
        (
            f"{T_PRIMARIES}::test_a_deletion_is_announced_after_the_commit_of_its_own_database",
            f"{T_PRIMARIES}::test_a_rollback_of_its_own_database_leaves_nothing",
        ),
    ),
    Mutation(
        "frail-on-commit",
        "G5: an announcement that breaks down fails the request, and the callbacks after it",
        CAPTURE,
        "transaction.on_commit(announce, using=using, robust=True)",
        "transaction.on_commit(announce, using=using)",
        (
            (
                f"{T_CAPTURE}::TestOneTransaction"
                "::test_an_announcement_that_breaks_down_does_not_fail_the_delete"
            ),
        ),
    ),
    Mutation(
        "exact-sender",
        "G1: a delete through a proxy is not recorded",
        CAPTURE,
        "label, uid = relations.concrete(model)._meta.label, ",
        "label, uid = model._meta.label, ",
        (
            f"{T_CAPTURE}::TestEveryWayToDelete::test_a_proxy_is_recorded_as_the_model_behind_it",
            (
                "tests/unit/test_adoption.py"
                "::test_every_tracked_parent_and_its_proxies_are_listened_to"
            ),
        ),
    ),
    Mutation(
        "no-live-check",
        "G2: a parent that came back loses its rows",
        CLAIMS,
        "self._taken[target] = self._living(relation, target)",
        "self._taken[target] = set()",
        ((f"{T_CASCADE}::TestLivingParents::test_a_parent_that_came_back_keeps_every_row"),),
    ),
    Mutation(
        "live-check-on-the-replica",
        "G10: a replica that lags condemns the living",
        CLAIMS,
        "for home in relation.parent_databases:\n            keys",
        "from django.db import router\n"
        "        for home in [router.db_for_read(relation.parent)]:\n            keys",
        (f"{T_PRIMARIES}::test_a_parent_is_looked_up_on_its_primary_whatever_the_reader_says",),
    ),
    Mutation(
        "mark-before-delete",
        "G1: marked as done, then removed: a death in between leaves the rows",
        CASCADE,
        "phases.reached(Phase.CLAIMED)",
        "log.finish(claim, {each.id: {} for each in claim.cascades}, barrier=None)",
        (f"{T_FAILURES}::TestPoison::test_only_the_one_that_fails_waits_and_all_others_are_done",),
    ),
    Mutation(
        "no-skip-locked",
        "G4: whoever works at the same time waits for the other, until a time-out",
        TABLES,
        "skip_locked=features.has_select_for_update_skip_locked and not patient",
        "skip_locked=False",
        (
            (
                f"{T_LOG}::TestClaim"
                "::test_what_somebody_is_just_claiming_is_passed_over_without_waiting"
            ),
            f"{T_DISPATCH}::test_what_somebody_is_just_dispatching_is_passed_over_without_waiting",
        ),
    ),
    Mutation(
        "fewer-than-the-limit-is-the-end",
        "G1: a statement that removes fewer rows than it may is taken for the last",
        TREES,
        "more = len(roots) >= most",
        "more = len(roots) >= self.allowed.rows",
        (f"{T_CASCADE}::TestBounds::test_no_statement_touches_more_rows_than_the_limit",),
    ),
    Mutation(
        "no-attempts",
        "G1: what kills its worker is claimed for ever",
        CLAIMING,
        'attempts=F("attempts") + 1',
        'attempts=F("attempts")',
        (f"{T_LOG}::TestClaim::test_it_holds_what_is_due_in_one_database_and_counts_the_attempt",),
    ),
    Mutation(
        "one-queue-for-all",
        "G6: a database that is down keeps the others waiting",
        ROUTING,
        'return f"{CONTROL}.{database}"',
        "return CONTROL",
        (
            f"{T_WORKERS}::test_there_is_one_queue_per_database_and_one_for_the_rest",
            f"{T_WORKERS}::test_a_task_goes_to_the_queue_of_its_database",
        ),
    ),
    Mutation(
        "no-socket-timeout",
        "G5: a request waits for a broker that hangs",
        SETTINGS,
        '    "socket_timeout": 0.5,\n',
        "",
        (f"{T_WORKERS}::test_a_broker_that_hangs_holds_up_a_request_shorter_than_a_worker",),
    ),
    Mutation(
        "no-brake",
        "G10: an absurd share of orphans is repaired",
        BRAKE,
        "if sight.missing > few and sight.missing >",
        "if False and sight.missing >",
        (f"{T_SCAN}::TestSecondLook::test_an_absurd_share_repairs_nothing",),
    ),
    Mutation(
        "scan-without-barrier",
        "G2: a parent that is being inserted is condemned",
        REPAIR,
        "if standings[each.pk] is Standing.PASSED]",
        "]",
        (
            (
                f"{T_SCAN}::TestSecondLook::test_a_parent_of_a_transaction_that_was_open_at_the_first"
                "_look_is_waited_for"
            ),
        ),
    ),
    Mutation(
        "verify-without-barrier",
        "G9: proven while a transaction from before is still open",
        CLAIMING,
        "if now is not None:",
        "if False:",
        (f"{T_VERIFY}::test_a_row_of_a_transaction_that_was_open_all_the_while_is_found",),
    ),
    Mutation(
        "verify-without-grace",
        "G9: proven at once, before late rows have landed",
        POSTGRESQL,
        "statement_timestamp() + %s * interval '1 second'",
        "statement_timestamp() + 0 * %s * interval '1 second'",
        (f"{T_VERIFY}::test_nothing_is_proven_before_the_grace_period_is_over",),
    ),
)
