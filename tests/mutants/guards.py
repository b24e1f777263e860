"""Mutations of who belongs to whom, and who may do what: identity and grants."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    GRANTS,
    IDENTITY,
    PRIVILEGES,
    RIGHTS_COLLECTOR,
    RIGHTS_LOG,
    RIGHTS_ROWS,
    T_IDENTITY,
    T_PRIVILEGE,
    T_TASKS,
)

STATEMENTS = f"{T_PRIVILEGE}::TestTheStatements"

MUTATIONS = (
    # Identity
    Mutation(
        "strangers-welcome",
        "G10: a child database is worked on for whatever database the alias points to",
        IDENTITY,
        "if known.uuid == own.uuid:",
        "if True:",
        (f"{T_IDENTITY}::test_other_parents_are_refused_and_nothing_is_touched",),
    ),
    Mutation(
        "an-identity-of-its-own",
        "G10: a child database never learns whose children it holds",
        IDENTITY,
        "known = _identity(database, of=using, new=own)",
        "known = _identity(database, of=using)",
        (f"{T_TASKS}::TestCascade::test_it_removes_what_is_due_in_its_database_and_shows_itself",),
    ),
    Mutation(
        "nobody-is-accepted",
        "G11: an operator's word that the parents are right is not remembered",
        IDENTITY,
        ".filter(alias=using).update(uuid=own.uuid)",
        ".filter(alias=using).update(alias=using)",
        (f"{T_IDENTITY}::test_an_operator_who_resumes_accepts_them",),
    ),
    Mutation(
        "no-table-no-work",
        "G1: a child database without the table is asked for it, and nothing is done there",
        IDENTITY,
        "if not _has_table(database):",
        "if False:",
        (f"{T_IDENTITY}::test_a_child_without_the_table_is_warned_of_and_worked_on",),
    ),
    # Grants
    Mutation(
        "worker-re-aims-deletions",
        "G2: whoever takes a worker over points its deletions at the living",
        RIGHTS_LOG,
        "if field.name not in fixed and not field.primary_key:",
        "if not field.primary_key:",
        (f"{STATEMENTS}::test_the_worker_cannot_change_whose_deletion_it_is",),
    ),
    Mutation(
        "worker-reads-parents",
        "a worker reads more of the parents than their keys",
        RIGHTS_ROWS,
        "yield column(home, relation.target, SELECT)",
        "yield from on(home, relation.parent, SELECT)",
        (f"{STATEMENTS}::test_the_worker_where_the_parents_are",),
    ),
    Mutation(
        "worker-reads-children",
        "a worker reads what the rows say that it deletes",
        RIGHTS_ROWS,
        "    yield Need(database, key.model._meta.db_table, SELECT, CTID)\n",
        "    yield from on(database, key.model, SELECT)\n",
        (f"{STATEMENTS}::test_the_worker_in_the_child_databases",),
    ),
    Mutation(
        "worker-updates-every-column",
        "a worker that sets one key to NULL may change the whole row",
        RIGHTS_ROWS,
        "yield column(database, each, UPDATE)",
        "yield from on(database, node.field.model, UPDATE)",
        (f"{STATEMENTS}::test_the_worker_sets_a_key_and_no_other_column",),
    ),
    Mutation(
        "reported-means-readable",
        "rows that are only reported may be read and deleted",
        GRANTS,
        "if relation.policy.cascades:\n            for database",
        "if True:\n            for database",
        (f"{STATEMENTS}::test_what_is_only_reported_is_seen_by_its_key",),
    ),
    Mutation(
        "web-blind-to-triggers",
        "a delete fails for want of a right where a trigger records",
        RIGHTS_COLLECTOR,
        'if capture == "both":',
        "if False:",
        (f"{STATEMENTS}::test_the_web_reads_what_a_trigger_recorded_before_it",),
    ),
    Mutation(
        "web-writes-where-a-trigger-does",
        "the site may forge deletions although a trigger records them",
        RIGHTS_COLLECTOR,
        'if capture not in {"signal", "both"}:',
        "if False:",
        (f"{STATEMENTS}::test_the_web_writes_no_log_where_a_trigger_does",),
    ),
    Mutation(
        "forged-audit",
        "a worker says when an operator did something",
        RIGHTS_LOG,
        'Audit: frozenset({"actor", "verb", "target", "reason"}),',
        'Audit: frozenset({"actor", "verb", "target", "reason", "at"}),',
        (f"{STATEMENTS}::test_what_is_inserted_into_the_log_is_named",),
    ),
    Mutation(
        "granted-to-everybody",
        "`integrity grants public` grants to whoever can log in",
        PRIVILEGES,
        "if role.strip().strip('\"').casefold() in NO_ROLES:",
        "if role in NO_ROLES:",
        (f"{T_PRIVILEGE}::TestTheRole::test_what_is_no_role_of_its_own_is_refused",),
    ),
    Mutation(
        "granted-to-another",
        "a name that PostgreSQL cuts means another role",
        PRIVILEGES,
        'if len(role.encode(errors="replace")) > ROLE_BYTES:',
        "if len(role) > ROLE_BYTES:",
        (f"{T_PRIVILEGE}::TestTheRole::test_a_name_that_is_cut_is_refused",),
    ),
)
