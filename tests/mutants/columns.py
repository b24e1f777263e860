"""Mutations of declared relations: plain columns that stand for foreign keys."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    ADMIN,
    ADOPTION,
    COLUMNS,
    KEYS,
    NAMING,
    RELATIONS,
    RIGHTS_COLLECTOR,
    STEPS,
    T_COLUMNS,
    T_DECLARED,
)

REFUSED = f"{T_COLUMNS}::test_what_no_foreign_key_could_be_is_refused"
CASCADES = f"{T_DECLARED}::TestCascade"
PROTECTION = f"{T_DECLARED}::TestProtection"

MUTATIONS = (
    Mutation(
        "any-text-is-a-key",
        "G2: rows with 007 go with the parent 7",
        RELATIONS,
        "return key if fits and format_key(field.target_field, key) == value else None",
        "return key",
        (
            f"{T_COLUMNS}::test_another_text_is_no_key",
            f"{T_DECLARED}::TestText::test_a_scan_takes_no_other_text_for_a_key",
        ),
    ),
    Mutation(
        "generic-rows-are-all-of-one-parent",
        "G2: an object_id is a user's key in one row and a post's in the next",
        NAMING,
        "return str(each.name)",
        'return ""',
        (REFUSED,),
    ),
    Mutation(
        "declared-inside-one-database",
        "a declared relation that nobody carries out",
        RELATIONS,
        "if (relation := _relation(field)) is not None:\n"
        "        _require_its_content_types(relation)\n        return relation",
        "if True:\n        return _relation(field)",
        (REFUSED,),
    ),
    Mutation(
        "texts-in-their-own-order",
        "G2: a parent between two bounds in the wrong order is not seen",
        KEYS,
        "keys = sorted(key for value in values if (key := as_key(field, value)) is not None)",
        "keys = [key for value in values if (key := as_key(field, value)) is not None]",
        (f"{T_DECLARED}::TestText::test_keys_that_sort_otherwise_as_text",),
    ),
    Mutation(
        "a-narrow-column",
        "G1: a key that the column is too narrow for blocks its cascade",
        COLUMNS,
        "return models.BigIntegerField().db_type(connection)",
        "return super().rel_db_type(connection)",
        (f"{CASCADES}::test_a_key_that_the_column_is_too_narrow_for_is_nobodys_failure",),
    ),
    Mutation(
        "a-word-needs-a-parent",
        "SET_DEFAULT to a text that is no key is blocked for ever",
        STEPS,
        "return key is None or any(",
        "return any(",
        (f"{T_DECLARED}::TestPolicies::test_set_default_to_a_text_that_refers_to_nobody",),
    ),
    Mutation(
        "a-guard-that-sleeps",
        "PROTECT and RESTRICT of a column let the parent go",
        ADOPTION,
        "if asks and not field.is_relation:",
        "if False:",
        (f"{PROTECTION}::test_refuses_before_anything_is_deleted",),
    ),
    Mutation(
        "no-guard-on-multi-table-children",
        "PROTECT of a column lets go what a multi-table child takes along",
        ADOPTION,
        "if issubclass(model, relation.parent):",
        "if model._meta.concrete_model is relation.parent:",
        (f"{PROTECTION}::test_refuses_for_what_a_multi_table_child_takes_along",),
    ),
    Mutation(
        "columns-are-prefetched",
        "the admin's list of a declared column's model fails",
        ADMIN,
        "relations.catalogue().relations if each.field.is_relation}",
        "relations.catalogue().relations}",
        (f"{T_DECLARED}::TestSurfaces",),
    ),
    Mutation(
        "a-guard-without-a-right",
        "a web role may not ask what protects a parent",
        RIGHTS_COLLECTOR,
        "        yield from asked_at_once(table, database, found)\n",
        "",
        (f"{T_DECLARED}::TestSurfaces::test_roles_are_granted_what_their_cascades_need",),
    ),
)
