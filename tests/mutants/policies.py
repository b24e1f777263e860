"""Mutations of what a policy decides about a row."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    ADOPTION,
    DISCOVERY,
    DRY_RUN,
    PLAN,
    PROTECTED_GRAPH,
    PROTECTED_READS,
    STRATEGIES,
    T_ADOPTED,
    T_CASCADE,
    T_DECLARED,
    T_POLICIES,
    T_RELATIONS,
    T_WRAPPED_POLICIES,
)

MUTATIONS = (
    Mutation(
        "set-null-deletes",
        "G2: rows below a cascade are deleted where SET_NULL keeps them",
        PLAN,
        ", update=not policy.deletes",
        "",
        (
            f"{T_CASCADE}::TestBelowACascade::test_a_tree_goes_leaf_first_and_set_null_keeps_its_rows",
        ),
    ),
    Mutation(
        "do-nothing-cascades",
        "G2: rows of a DO_NOTHING key are deleted",
        DISCOVERY,
        "if candidate.policy.cascades",
        "if not candidate.policy.protects",
        (f"{T_RELATIONS}::test_cascades_go_along_policies_that_leave_work",),
    ),
    Mutation(
        "unknown-policy-cascades",
        "G2: a cascade deletes rows whose policy is unknown",
        STRATEGIES,
        "    require_usable(node.field, node.label, using)\n    if gatherer :=",
        "    if gatherer :=",
        (f"{T_WRAPPED_POLICIES}::TestUnknown",),
    ),
    Mutation(
        "policy-chooses-rows",
        "G2: a policy that keeps some of the rows is taken for one that deletes all",
        DRY_RUN,
        "if objs is not self.rows:",
        "if False:",
        (f"{T_POLICIES}::test_what_cannot_be_carried_out_is_refused_with_the_remedy",),
    ),
    Mutation(
        "set-to-a-missing-parent",
        "G13: SET_DEFAULT and SET make orphans: their value has no parent",
        STRATEGIES,
        "and not _lives(node.field, value)",
        "and False",
        (
            f"{T_CASCADE}::TestPolicies::test_a_value_that_was_deleted_before_is_refused_and_the_error_kept",
        ),
    ),
    Mutation(
        "protect-unchecked",
        "G13: PROTECT and RESTRICT are not asked",
        ADOPTION,
        "if self.asks:",
        "if False:",
        (f"{T_ADOPTED}::TestProtect::test_it_raises_djangos_own_error_with_the_objects",),
    ),
    Mutation(
        "unreachable-database-protects-nothing",
        "G13: a child database that cannot be asked protects nothing",
        PROTECTED_READS,
        "raise ChildDatabaseUnavailable(reason) from error",
        "pass",
        (f"{T_ADOPTED}::TestProtect::test_a_database_that_cannot_be_asked_refuses_the_delete",),
    ),
    Mutation(
        "protect-not-asked-below",
        "G13: PROTECT below a cascade is not asked",
        PROTECTED_GRAPH,
        "relation.child in self.leading",
        "False",
        (
            f"{T_ADOPTED}::TestProtect::test_it_is_asked_below_a_parent_that_nothing_protects_directly",
        ),
    ),
    Mutation(
        "declared-protect-not-asked",
        "G13: PROTECT of a declared column is not asked",
        ADOPTION,
        "if asks and not field.is_relation:",
        "if False:",
        (f"{T_DECLARED}::TestProtection::test_refuses_before_anything_is_deleted",),
    ),
)
