"""Mutations of the differential test itself, and of what it has found."""

from __future__ import annotations

from .mutation import Mutation
from .paths import ADOPTION, T_COLUMNS, T_PLAN

DIFFERENCES = "tests/differential/differences.py"
T_DIFFERENTIAL = "tests/unit/test_random_histories.py"

MUTATIONS = (
    Mutation(
        "rows-are-not-compared",
        "G13: only what became of a delete is compared, and not the rows",
        DIFFERENCES,
        'if one["outcome"] == spread["outcome"] and one["rows"] == spread["rows"]:',
        'if one["outcome"] == spread["outcome"]:',
        (f"{T_DIFFERENTIAL}::test_any_difference_is_one",),
    ),
    Mutation(
        "outcomes-are-not-compared",
        "G13: only rows are compared, and not the refusals",
        DIFFERENCES,
        'if one["outcome"] == spread["outcome"] and one["rows"] == spread["rows"]:',
        'if one["rows"] == spread["rows"]:',
        (f"{T_DIFFERENTIAL}::test_any_difference_is_one",),
    ),
    Mutation(
        "documented-is-wider",
        "G13: whatever one database refuses for a constraint counts as documented",
        DIFFERENCES,
        'refused = one["outcome"] == "IntegrityError" and spread["outcome"] == "goes"',
        'refused = one["outcome"] == "IntegrityError"',
        (f"{T_DIFFERENTIAL}::test_what_is_documented_is_nothing_wider",),
    ),
    Mutation(
        "a-uuid-stays-text",
        "G13: SET to a UUID that is declared as text ends blocked",
        "apps/integrity/plan.py",
        "return None if value is None else field.target_field.to_python(value)",
        "return value",
        (f"{T_PLAN}::test_a_replacement_is_as_rows_hold_it",),
    ),
    Mutation(
        "a-guard-without-an-attribute",
        "G11: `check` ends in a traceback where a declared column protects its parent",
        ADOPTION,
        "self.name = self.attname = (",
        "self.name = self.label = (",
        (f"{T_COLUMNS}::test_django_checks_a_guarded_parent",),
    ),
    Mutation(
        "a-composite-key-is-one-column",
        "G1: rows with a composite primary key are never removed",
        "apps/integrity/stored.py",
        "if isinstance(pk, models.CompositePrimaryKey):",
        "if False:",
        ("tests/integration/test_composite_keys.py::test_their_rows_go_and_each_is_counted",),
    ),
)
