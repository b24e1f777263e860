"""Mutations of the triggers: what they refuse, whose rights they have, how they are judged."""

from __future__ import annotations

from .mutation import Mutation

POSTGRESQL = "apps/integrity/backends/postgresql"
T_ATTACK = "tests/security/test_attack_triggers.py"
NOBODY = f"{T_ATTACK}::TestARoleWithNothing"
TAMPERED = (
    f"{T_ATTACK}::TestWhatWasTamperedWith::test_is_named_by_the_check_and_the_doctor_and_healed"
)

INSTALLING = "tests/integration/test_triggers_installing.py"
BUSY = f"{INSTALLING}::TestABusyTable"
DEFINERS = "tests/unit/test_definers.py"

MUTATIONS = (
    Mutation(
        "triggers-on-any-table",
        "a role with a temporary table runs its code with the rights of the functions' owner",
        f"{POSTGRESQL}/functions.py",
        "TG_TABLE_SCHEMA <> {literal(table.schema)} OR TG_TABLE_NAME <> {literal(table.name)}",
        "FALSE",
        (f"{NOBODY}::test_runs_no_code_by_a_cast_even_where_it_may_execute_it",),
    ),
    Mutation(
        "triggers-for-any-event",
        "G2: a role with TRIGGER on a parent's table logs deletions of living rows",
        f"{POSTGRESQL}/functions.py",
        " OR TG_OP <> '{event}' OR TG_WHEN <> '{moment}' OR TG_LEVEL <> 'STATEMENT'",
        "",
        (f"{NOBODY}::test_forges_none_by_another_event_of_the_parents_table",),
    ),
    Mutation(
        "functions-for-everybody",
        "everybody may put the functions of the triggers on a table of their own",
        f"{POSTGRESQL}/changes.py",
        "FROM {', '.join(['PUBLIC', *others])} CASCADE",
        "FROM {', '.join([quoted(owner), *others])} CASCADE",
        (f"{NOBODY}::test_cannot_execute_a_function_of_ours",),
    ),
    Mutation(
        "functions-of-a-superuser",
        "what a parent's table brings along runs with the rights of whoever installed the triggers",
        f"{POSTGRESQL}/changes.py",
        "if found is None or found.owner != owner:",
        "if False:",
        (f"{T_ATTACK}::TestTheDefiner::test_is_a_role_that_may_only_insert_into_the_log",),
    ),
    Mutation(
        "functions-of-strangers",
        "a function that somebody made beforehand stays theirs, and the trigger calls it",
        f"{POSTGRESQL}/changes.py",
        "if there is not None and there.owner not in ours:",
        "if False:",
        (f"{T_ATTACK}::TestWhatWasTamperedWith::test_one_made_beforehand_is_refused",),
    ),
    Mutation(
        "replica-counts-as-on",
        "G1: deletions pass unrecorded, and no check says so",
        f"{POSTGRESQL}/installed.py",
        "if found.state != FIRES:",
        'if found.state == "D":',
        (f"{TAMPERED}[enabled for replication]",),
    ),
    Mutation(
        "any-body-will-do",
        "G1: a function that records nothing counts as installed",
        f"{POSTGRESQL}/installed.py",
        "(found.body, found.language) != (wanted.body, LANGUAGE),",
        "False,",
        (f"{TAMPERED}[a body that records nothing]",),
    ),
    Mutation(
        "granted-later",
        "a right to execute the functions that was granted later stays, and no check says so",
        f"{POSTGRESQL}/installed.py",
        "if EVERYBODY in found.executors:",
        "if False:",
        (f"{TAMPERED}[open to everybody]",),
    ),
    # Whose rights they have
    Mutation(
        "a-superuser-will-do",
        "the functions run as a superuser, if a setting names one",
        f"{POSTGRESQL}/definers.py",
        "if roles.is_superuser:",
        "if False:",
        (f"{DEFINERS}::test_a_superuser_never_does",),
    ),
    Mutation(
        "the-owner-whoever-it-is",
        "the functions run as a superuser where one owns the log",
        f"{POSTGRESQL}/definers.py",
        "if not roles.owned_by_superuser and roles.as_owner:",
        "if roles.as_owner:",
        (f"{DEFINERS}::test_nobody_else_does_and_the_remedy_is_named",),
    ),
    Mutation(
        "lent-for-ever",
        "the role of the log may create tables and functions in its schema from then on",
        f"{POSTGRESQL}/changes.py",
        "yield from (*definer.lend, *sql, *definer.take)",
        "yield from (*definer.lend, *sql)",
        (f"{INSTALLING}::TestWhoseRightsTheyHave::test_the_narrowest_that_can_be_had",),
    ),
    Mutation(
        "granted-by-default",
        "privileges by default let others execute the functions",
        "apps/integrity/triggers.py",
        "for _ in range(2):",
        "for _ in range(1):",
        (
            (
                "tests/integration/test_triggers_tables.py"
                "::test_privileges_that_each_new_function_is_given_are_taken_back"
            ),
        ),
    ),
    # Installing on a site in use
    Mutation(
        "deletes-queue-behind-it",
        "G5: while triggers are installed, every delete waits behind one long transaction",
        f"{POSTGRESQL}/attempts.py",
        "_waiting(using, lock_seconds * WAIT_SHARE)",
        "_waiting(using, lock_seconds * 10)",
        (f"{BUSY}::test_a_write_waits_no_longer_than_a_try",),
    ),
    Mutation(
        "one-try",
        "G1: a trigger is not installed because somebody wrote to the table at that moment",
        f"{POSTGRESQL}/attempts.py",
        "tries = 1 if connections[using].in_atomic_block else TRIES",
        "tries = 1",
        (f"{BUSY}::test_it_tries_again_and_others_write_meanwhile",),
    ),
    Mutation(
        "migrate-in-silence",
        "G1: `migrate` succeeds, and deletions pass unrecorded",
        "apps/integrity/triggers.py",
        "(held := install(using).held)",
        "(held := install(using).held) and False",
        (f"{BUSY}::test_migrate_fails_with_the_same_words",),
    ),
    Mutation(
        "held-and-clean",
        "G11: the command ends with 0 although a table was held",
        "apps/integrity/management/commands/integrity.py",
        "code = Exit.INCOMPLETE if any(each.held for each in changes) else Exit.CLEAN",
        "code = Exit.CLEAN",
        (f"{BUSY}::test_the_command_says_so_by_its_exit_code",),
    ),
)
