"""Mutations of the work in child databases: cascade, steps, statements, verification, control."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CASCADE,
    CLAIMS,
    CONTROL,
    EXITS,
    GENERIC,
    PACE,
    PLAN,
    PORTABLE,
    POSTGRESQL,
    REPORT,
    ROWS,
    SQL,
    STATEMENTS,
    STEPS,
    T_ATTACKS,
    T_CAME_BACK,
    T_CASCADE,
    T_COLLECTOR,
    T_COMMAND,
    T_DECISIONS,
    T_FAILURES,
    T_HOSTILE,
    T_INTERRUPTED,
    T_KINDS,
    T_LOG,
    T_MOVED,
    T_PAUSE,
    T_PLAN,
    T_PRIMARIES,
    T_REPORT,
    T_STATEMENTS,
    T_TASKS,
    T_VERIFY,
    VERIFY,
)

LIVING = f"{T_CASCADE}::TestLivingParents"
BOUNDS = f"{T_CASCADE}::TestBounds"
AT_ONCE = f"{T_CASCADE}::TestAgainAndAtOnce"
POISON = f"{T_FAILURES}::TestPoison"
AWAY = f"{T_FAILURES}::TestUnreachable"
BELOW_HELD = (
    f"{AT_ONCE}::test_a_row_below_that_somebody_holds_keeps_what_is_above_it_and_nothing_else"
)
HELD = f"{AT_ONCE}::test_rows_that_somebody_holds_are_done_when_they_are_let_go"
OPEN_ALL_THE_WHILE = f"{T_VERIFY}::test_a_row_of_a_transaction_that_was_open_all_the_while_is_found"

MUTATIONS = (
    # Claims at hand
    Mutation(
        "a-claim-reads-the-log",
        "G8: to name hundreds of rows, statements read the whole log",
        POSTGRESQL,
        'IDS = hidden("bigint")',
        'IDS = "%s::bigint[]"',
        (
            (
                "tests/integration/test_log_bounds.py"
                "::test_no_statement_of_a_claim_reads_the_whole_log"
            ),
        ),
    ),
    Mutation(
        "locks-beyond-the-key",
        "G2: rows of every later key are locked as this one's, and deleted by their primary key",
        ROWS,
        "BETWEEN wanted.key AND wanted.key{rest}",
        ">= wanted.key{rest}",
        (f"{T_STATEMENTS}::TestLockRows::test_it_gives_rows_with_their_keys_up_to_the_limit",),
    ),
    Mutation(
        "a-look-reads-the-table",
        "G8: to see that nothing is left, it reads all that was deleted",
        ROWS,
        "BETWEEN wanted.key AND wanted.key{rest} ORDER BY {key}",
        "= wanted.key{rest}",
        (
            (
                "tests/integration/test_statements.py"
                "::test_so_does_a_look_which_forbids_its_transaction_nothing"
            ),
        ),
    ),
    Mutation(
        "a-look-at-parents-reads-all-of-them",
        "G8: to see that hundreds of parents are gone, it reads all that are there",
        ROWS,
        "= ANY({hidden(type_of(field, using))})",
        "= ANY(%s::{type_of(field, using)}[])",
        (f"{T_STATEMENTS}::test_so_does_a_look_for_parents",),
    ),
    Mutation(
        "all-of-a-giant-for-each-step",
        "G8: to find the rows that were picked, a step walks all rows of the key",
        ROWS,
        "{also(field, 'child', using)}) IS TRUE\"",
        "{also(field, 'child', using)})\"",
        (f"{T_STATEMENTS}::test_a_giant_that_nobody_has_counted_is_not_walked_for_each_step",),
    ),
    Mutation(
        "all-however-many",
        "G8: a statement takes all rows of its keys, beyond its limit",
        ROWS,
        "(SELECT number FROM few) BETWEEN 1 AND %s {counts}",
        "(SELECT number FROM few) >= 0 * %s {counts}",
        ("tests/integration/test_statements.py::TestDeleteRows",),
    ),
    Mutation(
        "taken-over-values",
        "G2: a parent that took a value over loses the rows that hold it",
        CLAIMS,
        "if taken := self._taken[target]:",
        "if (taken := self._taken[target]) is None:",
        (f"{LIVING}::test_a_value_that_another_living_parent_took_over_keeps_its_rows",),
    ),
    Mutation(
        "primary-key-for-every-key",
        "G2: rows are found by a field that they do not hold",
        CLAIMS,
        "each.key if target == self.pk else each.targets.get(target.name)",
        "each.key",
        (f"{T_KINDS}::test_keys_that_hold_another_field",),
    ),
    Mutation(
        "nothing-is-ever-left",
        "G1: locked rows are passed over and forgotten",
        CLAIMS,
        "unfinished |= {owner for owner, key in gone.items() if key in held}",
        "pass",
        (HELD,),
    ),
    Mutation(
        "proof-of-a-key-deleted-twice",
        "G9: of two deletions of one key, one is proven while rows are left",
        CLAIMS,
        "unfinished |= {owner for owner, key in gone.items() if key in held}",
        "unfinished |= {{key: owner for owner, key in gone.items()}[key] for key in held}",
        (f"{T_ATTACKS}::TestAKeyDeletedTwice",),
    ),
    Mutation(
        "finish-by-an-old-look",
        "G2: a parent that came back after the last step is told to be gone",
        CLAIMS,
        "self._taken.clear()",
        "pass",
        (f"{T_ATTACKS}::test_a_parent_that_comes_back_after_the_last_step",),
    ),
    # The turn
    Mutation(
        "no-last-look-between-steps",
        "G2: a parent that comes back between two steps loses its rows",
        CASCADE,
        "raise _CameBack",
        "pass",
        (f"{T_ATTACKS}::test_a_parent_that_comes_back_between_two_steps",),
    ),
    Mutation(
        "texts-of-a-collation",
        "G11: rows that only a collation takes for a key are tried for ever, and nobody is told",
        CASCADE,
        "if not touched <= set(keys):",
        "if False:",
        (f"{T_ATTACKS}::test_texts_that_only_a_collation_takes_for_a_key_are_kept_and_told",),
    ),
    Mutation(
        "no-last-look",
        "G2: a parent that comes back before the commit loses its new rows",
        CASCADE,
        "raise _CameBack",
        "pass",
        (f"{T_CAME_BACK}::test_rows_old_and_new_are_kept",),
    ),
    Mutation(
        "finish-what-is-left",
        "G1: a turn that is over counts as done",
        CASCADE,
        "for pk in self.held.cascades if pk not in unfinished}",
        "for pk in self.held.cascades}",
        (f"{T_CASCADE}::TestFairness::test_the_small_are_done_while_the_giant_is_still_pending",),
    ),
    Mutation(
        "endless-turn",
        "G7: a giant keeps its turn until it is done",
        CASCADE,
        "if time.monotonic() >= self.until:",
        "if False:",
        (f"{T_CASCADE}::TestFairness::test_the_small_are_done_while_the_giant_is_still_pending",),
    ),
    Mutation(
        "run-past-a-pause",
        "a pause takes effect when nothing is left to pause",
        CASCADE,
        "if control.is_paused(done.database, using=using):",
        "if False:",
        (f"{T_CASCADE}::TestFairness::test_the_small_are_done_while_the_giant_is_still_pending",),
    ),
    Mutation(
        "endless-run",
        "G7: a task never hands over",
        CASCADE,
        "done.more = time.monotonic() >= deadline",
        "done.more = False",
        (f"{T_TASKS}::TestCascade::test_it_hands_over_to_the_next_message_when_its_time_is_up",),
    ),
    Mutation(
        "one-fails-all-fail",
        "G1: a poison row postpones its companions",
        CASCADE,
        "if len(claim.cascades) == 1 or isinstance(error, ProgrammingError):",
        "if True:",
        (f"{POISON}::test_only_the_one_that_fails_waits_and_all_others_are_done",),
    ),
    Mutation(
        "outage-forgets-the-rows",
        "receipts do not tell what went before an outage",
        CASCADE,
        "log.hand_back(log.with_rows(claim, removed))",
        "pass",
        (f"{T_INTERRUPTED}::test_rows_of_the_turn_that_was_cut_off_are_counted",),
    ),
    Mutation(
        "halves-forget-what-was-removed",
        "G4: rows that went before a failure are missing in the receipt when an outage follows",
        CASCADE,
        "_narrow_down(error, log.with_rows(claim, removed), until",
        "_narrow_down(error, claim, until",
        (
            (
                f"{T_ATTACKS}"
                "::test_rows_counted_before_a_failure_are_kept_for_the_half_that_was_not_begun"
            ),
        ),
    ),
    Mutation(
        "outage-keeps-the-claim",
        "G6: what was not begun when a database went away waits for its lease",
        CASCADE,
        "log.hand_back(claim)",
        "pass",
        (f"{AWAY}::test_a_database_lost_while_a_failure_is_narrowed_down_burns_no_attempt",),
    ),
    Mutation(
        "locked-rows-are-a-failure",
        "G4: a lock of somebody else burns attempts",
        CASCADE,
        "if not (self.patient and is_lock_failure(error)):",
        "if True:",
        (HELD,),
    ),
    Mutation(
        "reckless-pace",
        "G8: a quick database gets statements without a bound",
        PACE,
        "self.rows = min(self.most, int(self.rows * times))",
        "self.rows = int(self.rows * times)",
        (
            f"{T_DECISIONS}::TestPace::test_after_a_quick_statement_as_many_as_fit_but_not_above_the_most",
            f"{BOUNDS}::test_the_limit_holds_for_a_leaf_by_what_the_server_says",
        ),
    ),
    Mutation(
        "pace-without-measure",
        "G8: one quick step, and the next one takes all that may be taken",
        PACE,
        "self.seconds / max(seconds, 1e-9), LEAP)",
        "self.seconds / max(seconds, 1e-9), 1e9)",
        (f"{T_DECISIONS}::TestPace::test_no_more_at_once_than_a_leap",),
    ),
    Mutation(
        "pace-by-an-easy-step",
        "G8: steps that found few rows make those that find many longer than they may take",
        PACE,
        "elif full and seconds",
        "elif seconds",
        (
            f"{T_DECISIONS}::TestPace::test_one_that_had_fewer_rows_than_it_might_proves_nothing_for_more",
        ),
    ),
    Mutation(
        "head-start-without-end",
        "G8: what was quick for leaves is tried at once on rows that take ten times as long",
        PACE,
        "min(slowest, self._rows * HEAD_START)",
        "slowest",
        (f"{T_DECISIONS}::TestPaces",),
    ),
    Mutation(
        "tables-for-each-refusal",
        "G8: for each of many refused rows, all tables of its databases are listed",
        CLAIMS,
        " and not isinstance(error, IntegrityError | DataError)",
        "",
        (
            (
                "tests/integration/test_failures.py::TestPoison"
                "::test_rows_that_are_refused_are_no_reason_to_look_for_tables"
            ),
        ),
    ),
    Mutation(
        "no-barrier-noted",
        "G9: the cascade forgets which transactions were open",
        CASCADE,
        "log.finish(claim, complete, barrier=barrier)",
        "log.finish(claim, complete, barrier=None)",
        (OPEN_ALL_THE_WHILE,),
    ),
    Mutation(
        "look-in-one-home-only",
        "G2: a parent in its second database counts as gone",
        CLAIMS,
        "for home in relation.parent_databases if values else ():",
        "for home in relation.parent_databases[:1] if values else ():",
        (f"{T_PRIMARIES}::test_a_parent_that_lives_in_another_of_its_homes_is_alive",),
    ),
    # Steps
    Mutation(
        "delete-above-a-held-leaf",
        "G4: a row goes although somebody holds what refers to it",
        STEPS,
        "if not self.patient and roots:",
        "if False:",
        (BELOW_HELD,),
    ),
    Mutation(
        "uncounted-allowance",
        "G8: a tree's transaction has no bound",
        STEPS,
        "self.allowance -= changed.total()",
        "pass",
        (f"{BOUNDS}::test_no_statement_touches_more_rows_than_the_limit",),
    ),
    Mutation(
        "collector-loads-all",
        "G8: Django's Collector loads a whole table",
        CASCADE,
        "pace.rows = min(pace.rows, COLLECTOR_ROWS)",
        "pass",
        (f"{BOUNDS}::test_a_collector_loads_a_bounded_batch",),
    ),
    Mutation(
        "collector-without-a-limit",
        "G8: Django's Collector takes more rows than a statement may",
        STEPS,
        "node.field.model, allowed.rows",
        "node.field.model, COLLECTOR_ROWS",
        (f"{T_COLLECTOR}::test_it_starts_from_no_more_rows_than_a_statement_may_touch",),
    ),
    Mutation(
        "set-to-what-is-gone",
        "a policy's value is set although no parent has it",
        STEPS,
        "if value is not None and not _lives(node.field, value):",
        "if False:",
        (
            (
                f"{T_CASCADE}::TestPolicies"
                "::test_a_value_that_was_deleted_before_is_refused_and_the_error_kept"
            ),
        ),
    ),
    Mutation(
        "set-null-deletes",
        "G2: rows go that should keep a NULL",
        PLAN,
        "below.append(Node(key, update=policy is not Policy.CASCADE))",
        "below.append(Node(key))",
        (
            (
                f"{T_CASCADE}::TestBelowACascade"
                "::test_a_tree_goes_leaf_first_and_set_null_keeps_its_rows"
            ),
        ),
    ),
    Mutation(
        "signals-unheard",
        "a project's own delete receivers are passed over",
        PLAN,
        "if pre_delete.has_listeners(model) or post_delete.has_listeners(model):",
        "if False:",
        (f"{T_PLAN}::test_a_signal_receiver_on_any_level_is_seen_when_it_is_connected",),
    ),
    # Statements
    Mutation(
        "delete-without-a-limit",
        "G8: one DELETE takes every row of its keys",
        ROWS,
        "{_of_keys(field, 'one', using)} LIMIT %s",
        "{_of_keys(field, 'one', using)} OFFSET 0 * %s",
        (
            f"{T_STATEMENTS}::TestDeleteRows::test_it_touches_at_most_the_limit",
            f"{T_STATEMENTS}::TestDeleteNumber::test_it_touches_at_most_the_limit",
        ),
    ),
    Mutation(
        "update-without-a-limit",
        "G8: one UPDATE takes every row of its keys",
        ROWS,
        '" AS found LIMIT %s"\n    )',
        '" AS found OFFSET 0 * %s"\n    )',
        (f"{T_STATEMENTS}::TestUpdateRows::test_of_several_keys_as_well",),
    ),
    Mutation(
        "delete-without-skipping",
        "G4: a hurried DELETE waits for somebody's lock",
        ROWS,
        '"" if patient else " FOR UPDATE SKIP LOCKED"',
        '""',
        (HELD,),
    ),
    Mutation(
        "row-and-key-unchecked",
        "G2: rows are deleted on account of another's key",
        ROWS,
        " AND child.ctid = picked.row AND child.{names['key']} = picked.key",
        " AND picked.key IS NOT NULL",
        (
            f"{T_MOVED}::test_it_is_left_alone",
            (f"{T_STATEMENTS}::TestUpdateRows::test_it_sets_the_value_and_counts_by_the_old_key"),
        ),
    ),
    Mutation(
        "key-checked-once",
        "G2: a row that moved to a living parent meanwhile is deleted (not on PostgreSQL)",
        PORTABLE,
        'filter(**{"pk__in": pks, f"{field.attname}__in": keys})',
        "filter(pk__in=pks)",
        (f"{T_STATEMENTS}::TestTheKeyIsCheckedTwice::test_where_rows_cannot_be_locked",),
    ),
    Mutation(
        "hidden-behind-many",
        "G9: a key with very many rows hides that another one has some (not on PostgreSQL)",
        PORTABLE,
        "if len(present) == ROWS_SEEN or not exact:",
        "if not exact:",
        (f"{T_STATEMENTS}::TestKeysWithRows::test_one_that_has_very_many_hides_no_other",),
    ),
    Mutation(
        "found-and-not-locked",
        "G2: rows above go on moving while those below are removed",
        ROWS,
        " LIMIT %s FOR UPDATE OF child SKIP LOCKED",
        " LIMIT %s",
        (f"{T_STATEMENTS}::TestLockRows::test_rows_that_somebody_else_holds_are_passed_over",),
    ),
    Mutation(
        "lock-without-a-limit",
        "G8: all rows of the keys are locked at once",
        ROWS,
        "{lock}) AS found LIMIT %s",
        "{lock}) AS found OFFSET 0 * %s",
        (f"{T_STATEMENTS}::TestLockRows::test_it_gives_rows_with_their_keys_up_to_the_limit",),
    ),
    Mutation(
        "lock-all-of-one-key",
        "G8: all rows of a giant are locked at once",
        ROWS,
        " LIMIT %s FOR UPDATE OF child",
        " OFFSET 0 * %s FOR UPDATE OF child",
        (f"{T_STATEMENTS}::TestLockRows::test_so_it_does_for_one_key",),
    ),
    Mutation(
        "statements-without-keys",
        "G2: no keys mean all rows",
        STATEMENTS,
        "if not keys:",
        "if False:",
        (f"{T_STATEMENTS}::TestDeleteRows::test_it_refuses_to_run_without_keys",),
    ),
    Mutation(
        "keys-cut-short",
        "G2: a key that is too long stands for another",
        SQL,
        'plain = re.sub(r"\\(.*\\)", "", ',
        'plain = re.sub(r"never", "", ',
        (
            f"{LIVING}::test_a_text_longer_than_the_key_never_stands_for_a_living_parent",
            (
                f"{T_STATEMENTS}::TestKeysOfEveryType"
                "::test_a_text_longer_than_the_column_is_not_taken_for_its_beginning"
            ),
        ),
    ),
    Mutation(
        "managers-hide-the-living",
        "G2: a parent that a manager hides counts as gone",
        GENERIC,
        "= QuerySet(model=field.model, using=using)",
        "= field.model._base_manager.using(using)",
        (f"{LIVING}::test_a_parent_hidden_by_its_managers_is_alive",),
    ),
    Mutation(
        "unquoted-names",
        "a name with a blank or a keyword in it is no name",
        SQL,
        'quote(str(name)).replace("%", "%%")',
        "str(name)",
        (f"{T_HOSTILE}::test_every_way_of_a_cascade",),
    ),
    Mutation(
        "barrier-too-young",
        "G9: the oldest open transaction is taken for the next one",
        POSTGRESQL,
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
        "SELECT pg_current_xact_id()::text::bigint",
        (OPEN_ALL_THE_WHILE,),
    ),
    # Verification
    Mutation(
        "proof-without-a-look",
        "G9: verified without counting",
        VERIFY,
        "leftover = held.with_rows(held.relations)",
        "leftover: set[int] = set()",
        (f"{T_CASCADE}::TestLateRows::test_it_is_removed_before_the_proof_is_given",),
    ),
    Mutation(
        "failed-probe-goes-unseen",
        "G11: what cannot be verified shows nowhere",
        VERIFY,
        "done.reopened += log.reopen(claim, [each.id for each in claim.cascades], reason)",
        "return",
        (
            (
                f"{T_FAILURES}::TestVerification::test_what_cannot_be_verified_goes_back_to_work"
                "_and_waits_there_with_the_reason"
            ),
        ),
    ),
    # Control
    Mutation(
        "no-breaker",
        "G6: everybody asks a database that is away, all the time",
        CONTROL,
        "probe = bool(rows.filter(probe_at__lte=Now()).update(probe_at=again))",
        "probe = bool(rows.update(probe_at=again))",
        (
            f"{T_LOG}::TestUnreachable::test_one_caller_per_interval_may_probe",
            f"{AWAY}::test_it_waits_with_the_reason_burns_no_attempt_and_touches_no_other",
        ),
    ),
    Mutation(
        "breaker-never-closes",
        "G6: a database that answers again is not worked on",
        CONTROL,
        "unreachable_since=None, probe_at=None, reason=",
        "probe_at=None, reason=",
        (f"{T_LOG}::TestUnreachable::test_it_keeps_since_when_and_the_latest_reason",),
    ),
    Mutation(
        "no-pause",
        "a paused database is worked on",
        CONTROL,
        "known.paused_at is None and known.unreachable_since is None",
        "known.unreachable_since is None",
        (f"{T_PAUSE}::test_a_paused_database_gets_no_statement",),
    ),
    Mutation(
        "pause-without-audit",
        "nobody knows who paused",
        CONTROL,
        'audit("pause", database, actor=actor, reason=reason, using=using)',
        "pass",
        (f"{T_COMMAND}::TestOperator::test_what_an_operator_does_is_audited",),
    ),
    Mutation(
        "outage-is-a-failure",
        "G6: a connection that breaks counts as an attempt",
        CONTROL,
        "    except Error:\n        reach(database)",
        "    except Error:\n        pass",
        (f"{AWAY}::test_a_database_lost_in_the_middle_of_a_claim_burns_no_attempt",),
    ),
    Mutation(
        "outage-untold",
        "G11: a database is away and nothing says so",
        CONTROL,
        "unreachable(raised, using=using)",
        "pass",
        (f"{AWAY}::test_it_waits_with_the_reason_burns_no_attempt_and_touches_no_other",),
    ),
    Mutation(
        "one-log-stops-all",
        "G6: a log that cannot be reached keeps the others waiting",
        CONTROL,
        "if silent and not answering:",
        "if silent:",
        (f"{T_FAILURES}::TestALogThatCannotBeReached::test_cascades_of_the_other_logs_go_on",),
    ),
    Mutation(
        "rollback-into-the-void",
        "G6: a rollback waits for a database that froze",
        CONTROL,
        "    except away:\n        connections[database].close()",
        "    except away:\n        pass",
        (f"{AWAY}::test_one_that_freezes_within_a_transaction_is_given_up_at_the_time_limit",),
        own_servers=True,
    ),
    # What shows
    Mutation(
        "blocked-looks-idle",
        "G11: status shows a database with blocked cascades as idle",
        REPORT,
        "    if blocked:\n",
        "    if False:\n",
        (f"{T_REPORT}::TestStatus::test_a_blocked_cascade_shows",),
    ),
    Mutation(
        "undispatched-is-no-backlog",
        "G11: status shows no backlog while dispatch stands still",
        REPORT,
        "(open_cascades(cascades), _undispatched(alias, using))",
        "(open_cascades(cascades),)",
        (f"{T_REPORT}::TestStatus::test_what_is_recorded_is_backlog_before_it_is_dispatched",),
    ),
    Mutation(
        "blocked-exits-clean",
        "G11: a script does not hear of blocked cascades",
        EXITS,
        'return Exit.FINDINGS if any(row["blocked"] for row in rows) else Exit.CLEAN',
        "return Exit.CLEAN",
        (f"{T_COMMAND}::TestStatus::test_only_blocked_cascades_are_findings",),
    ),
)
