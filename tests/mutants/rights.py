"""Mutations of rights: nobody gets rows, or rights to rows, that are not theirs."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    ADMIN,
    DEFINERS,
    PERMISSIONS,
    RIGHTS_LOG,
    T_ACCOUNTS,
    T_ATTACK_ROLES,
    T_ATTACK_TRIGGERS,
    T_DEFINERS,
    T_PRIVILEGE,
    TRIGGERS,
)

TAMPERED = (
    f"{T_ATTACK_TRIGGERS}::TestWhatWasTamperedWith"
    "::test_is_named_by_the_check_and_the_doctor_and_healed"
)

MUTATIONS = (
    Mutation(
        "worker-changes-whose-deletion-it-is",
        "a worker's role can point a deletion at another parent",
        RIGHTS_LOG,
        "field.name not in fixed and ",
        "",
        (f"{T_PRIVILEGE}::TestTheStatements::test_the_worker_cannot_change_whose_deletion_it_is",),
    ),
    Mutation(
        "roles-date-and-cancel-what-they-insert",
        "a role of workers or of the pages dates a deletion, or records one that has ended",
        RIGHTS_LOG,
        '    Deletion: CAPTURED | {"relation"},\n',
        "",
        (f"{T_ATTACK_ROLES}::test_the_server_refuses",),
    ),
    Mutation(
        "pages-end-deletions",
        "G1: the role of the pages ends deletions that are not done",
        RIGHTS_LOG,
        "    Deletion: (SELECT, INSERT),\n",
        "    Deletion: (SELECT, INSERT, UPDATE),\n",
        (f"{T_ATTACK_ROLES}::test_the_server_refuses[dashboard]",),
    ),
    Mutation(
        "trigger-functions-on-any-table",
        "a role with a temporary table runs code as the functions' owner",
        TRIGGERS,
        "TG_TABLE_SCHEMA <> {literal(table.schema)} OR TG_TABLE_NAME <> {literal(table.name)}",
        "FALSE",
        (
            f"{T_ATTACK_TRIGGERS}::TestARoleWithNothing::test_runs_no_code_by_a_cast_even_where_it_may_execute_it",
        ),
    ),
    Mutation(
        "trigger-functions-for-any-event",
        "G2: a role with TRIGGER on a parent's table logs deletions of living parents",
        TRIGGERS,
        " OR TG_OP <> '{event}' OR TG_WHEN <> '{moment}' OR TG_LEVEL <> 'STATEMENT'",
        "",
        (
            f"{T_ATTACK_TRIGGERS}::TestARoleWithNothing::test_forges_none_by_another_event_of_the_parents_table",
        ),
    ),
    Mutation(
        "trigger-functions-without-search-path",
        "the trigger functions search the schemas of whoever deletes",
        TRIGGERS,
        " SET search_path = pg_catalog, pg_temp AS",
        " AS",
        (f"{TAMPERED}[a search path of the caller's]",),
    ),
    Mutation(
        "superuser-as-definer",
        "the trigger functions run as a superuser",
        DEFINERS,
        "if roles.is_superuser:",
        "if False:",
        (f"{T_DEFINERS}::test_a_superuser_never_does",),
    ),
    Mutation(
        "permissions-not-asked-elsewhere",
        "staff delete rows in other databases without the permission to",
        ADMIN,
        "lacking |= self._lacking(objs, request)",
        "pass",
        (f"{T_ACCOUNTS}::TestDeleting::test_one_permission_less_refuses",),
    ),
    Mutation(
        "unreachable-database-needs-no-permission",
        "staff delete rows of a database that cannot be asked",
        PERMISSIONS,
        "Lacking(frozenset(map(_name, doubtful)), unknown=True)",
        "Lacking(frozenset(), unknown=True)",
        (
            f"{T_ACCOUNTS}::TestDeleting::test_what_cannot_be_asked_is_refused_and_says_nothing_of_the_server",
        ),
    ),
)
