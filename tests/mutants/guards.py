"""Mutations of who belongs to whom, and who may do what: identity and grants."""

from __future__ import annotations

from .mutation import Mutation
from .paths import GRANTS, IDENTITY, T_IDENTITY, T_PRIVILEGE, T_TASKS

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
        GRANTS,
        "if field.name not in FIXED and not field.primary_key:",
        "if not field.primary_key:",
        (f"{STATEMENTS}::test_the_worker_cannot_change_whose_deletion_it_is",),
    ),
    Mutation(
        "worker-reads-parents",
        "a worker reads more of the parents than their keys",
        GRANTS,
        "yield _column(home, relation.target, SELECT)",
        "yield from _on(home, relation.parent, SELECT)",
        (f"{STATEMENTS}::test_the_worker_where_the_parents_are",),
    ),
    Mutation(
        "worker-updates-every-column",
        "a worker that sets one key to NULL may change the whole row",
        GRANTS,
        "yield _column(database, column, UPDATE)",
        "yield from _on(database, key.model, UPDATE)",
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
        GRANTS,
        'if conf.current().capture_of(model._meta.label) != "signal":',
        "if False:",
        (f"{STATEMENTS}::test_the_web_reads_what_a_trigger_recorded_before_it",),
    ),
)
