"""Mutations of what happens inside the request: catalogue, adoption, capture, wake-up."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    ADOPTION,
    CAPTURE,
    ENTRIES,
    PORTABLE,
    POSTGRESQL,
    RELATIONS,
    T_ADOPTED,
    T_ADOPTION,
    T_CAPTURE,
    T_CASCADE,
    T_DISPATCH,
    T_KINDS,
    T_RELATIONS,
    T_STATEMENTS,
    T_TRIGGERS,
    T_WAKEUP,
    TRIGGERS,
    WAKEUP,
)

ONE_TRANSACTION = f"{T_CAPTURE}::TestOneTransaction"
EVERY_WAY = f"{T_CAPTURE}::TestEveryWayToDelete"
WITH_SIGNALS = f"{T_TRIGGERS}::TestTogetherWithSignals"
PROTECT = f"{T_ADOPTED}::TestProtect"
LOGGED_WITH_THE_GONE = "_insert(relations.concrete(sender), found, source=Deletion.Source.SIGNAL"

MUTATIONS = (
    # The catalogue
    Mutation(
        "no-automatic-links",
        "G1: links that Django made the model for are no relations",
        RELATIONS,
        "apps.get_models(include_auto_created=True)",
        "apps.get_models()",
        (f"{T_RELATIONS}::test_every_kind_of_key_between_databases_is_found",),
    ),
    Mutation(
        "one-home-for-all",
        "G1: rows in a second shard are never reached",
        "apps/integrity/homes.py",
        "if several := tuple(aliases or ()):",
        "if several := tuple(aliases or ())[:1]:",
        (f"{T_DISPATCH}::test_it_goes_into_every_home_of_a_child_not_those_believed_concerned",),
    ),
    Mutation(
        "do-nothing-cascades",
        "G2: rows of a DO_NOTHING key are touched",
        RELATIONS,
        "if each.policy.cascades",
        "if not each.policy.checked_at_once",
        (
            f"{T_CASCADE}::TestPolicies::test_do_nothing_is_left_alone",
            f"{T_RELATIONS}::test_cascades_go_along_policies_that_leave_work",
        ),
    ),
    Mutation(
        "keys-stay-text",
        "G1: a key is not what its field holds",
        RELATIONS,
        "return field.to_python(text)",
        "return text",
        (f"{T_RELATIONS}::test_a_key_is_parsed_to_the_type_of_its_field",),
    ),
    # Adoption
    Mutation(
        "protect-unchecked",
        "PROTECT and RESTRICT let the parent go",
        ADOPTION,
        "if relation.policy.checked_at_once:",
        "if False:",
        (f"{PROTECT}::test_it_raises_djangos_own_error_with_the_objects",),
    ),
    Mutation(
        "protect-asks-the-parents-database",
        "PROTECT asks a database that has no such table",
        ADOPTION,
        "query = sub_objs.using(database)",
        "query = sub_objs",
        (f"{PROTECT}::test_it_raises_djangos_own_error_with_the_objects",),
    ),
    Mutation(
        "protect-lets-go-what-it-cannot-ask",
        "an unreachable child database protects nobody",
        ADOPTION,
        "connections[database].close_if_unusable_or_obsolete()",
        "return []",
        (f"{PROTECT}::test_a_database_that_cannot_be_asked_refuses_the_delete",),
    ),
    Mutation(
        "protect-loads-everything",
        "G8: the answer of PROTECT grows with the table",
        ADOPTION,
        "[: conf.current().protect_limit]",
        "",
        (f"{PROTECT}::test_the_answer_is_asked_in_the_childs_database_and_bounded",),
    ),
    Mutation(
        "deconstruct-leak",
        "migrations see the stand-in in place of what was declared",
        ADOPTION,
        '{**kwargs, "on_delete": getattr(given, "declared", given)}',
        "kwargs",
        (
            f"{T_ADOPTION}::test_an_adopted_field_deconstructs_to_what_was_declared[blog.Post.author]",
        ),
    ),
    Mutation(
        "eager-collector",
        "the Collector looks for children in the parent's database",
        ADOPTION,
        "lazy_sub_objs: ClassVar[bool] = True",
        "lazy_sub_objs: ClassVar[bool] = False",
        (f"{T_ADOPTION}::test_every_relation_is_adopted_and_still_declares_its_policy",),
    ),
    # Capture
    Mutation(
        "log-in-default",
        "G3: the log is not in the transaction of the delete",
        CAPTURE,
        "source=source, using=using)\n    phases",
        'source=source, using="default")\n    phases',
        (f"{EVERY_WAY}::test_a_child_that_is_a_parent_elsewhere_is_recorded_beside_itself",),
    ),
    Mutation(
        "log-after-the-commit",
        "G1: a death between commit and log loses the deletion",
        CAPTURE,
        LOGGED_WITH_THE_GONE + ", using=using)",
        "transaction.on_commit(lambda: " + LOGGED_WITH_THE_GONE + ", using=using), using=using)",
        (
            f"{ONE_TRANSACTION}::test_an_outer_rollback_leaves_nothing",
            f"{T_CAPTURE}::TestCost::test_a_queryset_delete_inserts_in_batches_before_the_commit",
        ),
    ),
    Mutation(
        "announce-before-the-commit",
        "G3: workers hear of what may yet be rolled back",
        CAPTURE,
        "transaction.on_commit(announce, using=using, robust=True)",
        "announce()",
        (f"{ONE_TRANSACTION}::test_nobody_hears_of_a_deletion_before_its_commit",),
    ),
    Mutation(
        "record-copies",
        "G2: deleting a copy condemns the original",
        CAPTURE,
        "if found and is_home(relations.concrete(sender), using):",
        "if found:",
        (f"{EVERY_WAY}::test_deleting_a_copy_on_another_alias_records_nothing",),
    ),
    Mutation(
        "stale-targets",
        "G1: a value that was never saved is recorded",
        CAPTURE,
        "fresh = not isinstance(origin, sender)",
        "fresh = True",
        (f"{EVERY_WAY}::test_an_unsaved_change_of_a_target_field_is_not_what_is_recorded",),
    ),
    Mutation(
        "gathered-for-good",
        "G3: what a failed delete gathered is logged by the next one",
        CAPTURE,
        "return blocks[-1] if blocks else None",
        "return blocks[0] if blocks else None",
        (
            f"{ONE_TRANSACTION}::test_a_failed_delete_condemns_nobody_when_it_is_tried_again",
            f"{EVERY_WAY}::test_a_loop_of_deletes_in_one_transaction",
        ),
    ),
    Mutation(
        "an-insert-for-each-row",
        "the request's time grows with its deletes",
        CAPTURE,
        "BATCH = 2_000",
        "BATCH = 1",
        (
            (
                f"{T_CAPTURE}::TestCost"
                "::test_a_queryset_delete_inserts_in_batches_before_the_commit[2000-1]"
            ),
        ),
    ),
    Mutation(
        "listen-to-everybody",
        "fast deletes are off for every model of the project",
        CAPTURE,
        "pre_delete.connect(gather, sender=model, dispatch_uid=uid)",
        "pre_delete.connect(gather, dispatch_uid=uid)",
        (f"{T_ADOPTION}::test_a_model_that_is_no_parent_keeps_its_fast_delete",),
    ),
    Mutation(
        "log-the-living",
        "G2: a parent that still has a row is logged as gone",
        POSTGRESQL,
        "AS alive WHERE alive.{names['key']} =\"",
        "AS alive WHERE false AND alive.{names['key']} =\"",
        (f"{T_STATEMENTS}::TestInsertDeletions::test_it_logs_the_gone_and_leaves_out_the_living",),
    ),
    Mutation(
        "log-the-living-elsewhere",
        "G2: the same, on other databases than PostgreSQL",
        PORTABLE,
        "if key not in alive",
        "if True",
        (f"{T_STATEMENTS}::TestInsertDeletions::test_it_logs_the_gone_and_leaves_out_the_living",),
    ),
    Mutation(
        "targets-forgotten",
        "G1: keys that hold another field are never found",
        RELATIONS,
        "if each.target != pk",
        "if False",
        (f"{T_KINDS}::test_keys_that_hold_another_field",),
    ),
    # Triggers
    Mutation(
        "truncate-unseen",
        "G1: truncating a parent's table is neither refused nor recorded",
        TRIGGERS,
        'f" AND relation = {_literal(log, using)}::regclass)"',
        '")"',
        (f"{T_TRIGGERS}::TestTruncate::test_it_is_refused_with_the_remedy_and_nothing_is_lost",),
    ),
    Mutation(
        "recorded-twice",
        "G4: trigger and signal log the same deletion",
        ENTRIES,
        "if text not in there]",
        "]",
        (f"{WITH_SIGNALS}::test_a_delete_is_recorded_once_and_announced",),
    ),
    Mutation(
        "trigger-of-the-caller",
        "whoever deletes a parent needs a right to the log",
        TRIGGERS,
        " SECURITY DEFINER",
        "",
        (
            (
                f"{T_TRIGGERS}::TestWhatSendsNoSignal"
                "::test_whoever_may_delete_needs_no_right_to_the_log"
            ),
        ),
    ),
    Mutation(
        "trigger-forgets-targets",
        "G1: keys that hold another field are never found",
        TRIGGERS,
        "if held else",
        "if False else",
        (f"{T_TRIGGERS}::TestWhatSendsNoSignal::test_values_that_other_keys_hold",),
    ),
    # Wake-up
    Mutation(
        "publish-in-the-request",
        "G5: the request waits for the broker",
        WAKEUP,
        "            publisher.wake(using)",
        "            publish_dispatch(using)",
        (f"{T_WAKEUP}::TestConnected::test_a_recorded_deletion_wakes_its_log",),
    ),
    Mutation(
        "hammer-the-broker",
        "G5: a dead broker is asked for every delete",
        WAKEUP,
        "self._pause(aliases[position:])",
        "pass",
        (f"{T_WAKEUP}::test_after_a_failure_it_pauses_and_then_publishes_what_was_kept",),
    ),
    Mutation(
        "no-pause-after-a-failure",
        "G5: a dead broker is asked without a pause",
        WAKEUP,
        "self._closing.wait(conf.current().wakeup_retry_seconds)",
        "self._closing.is_set()",
        (f"{T_WAKEUP}::test_a_dead_broker_is_asked_once_per_pause_however_many_deletes_there_are",),
    ),
    Mutation(
        "dead-thread-after-a-fork",
        "G5: a forked process waits for a thread that it does not have",
        WAKEUP,
        "os.register_at_fork(after_in_child=self._reset)",
        "pass",
        (f"{T_WAKEUP}::test_a_forked_process_publishes_for_itself",),
    ),
)
