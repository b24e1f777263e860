"""Mutations of the triggers: what they refuse, whose rights they have, how they are judged."""

from __future__ import annotations

from .mutation import Mutation

POSTGRESQL = "apps/integrity/backends/postgresql"
T_ATTACK = "tests/security/test_attack_triggers.py"
NOBODY = f"{T_ATTACK}::TestARoleWithNothing"
TAMPERED = (
    f"{T_ATTACK}::TestWhatWasTamperedWith::test_is_named_by_the_check_and_the_doctor_and_healed"
)

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
)
