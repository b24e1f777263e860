"""Mutations of declared GenericForeignKeys: rows of another model hold the same key."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CLAIMS,
    COLUMNS,
    EFFECTS,
    GENERIC,
    KEYS,
    PORTABLE,
    PROTECTED_READS,
    READING,
    ROWS,
    SQL,
    T_COLUMNS,
    T_GENERIC,
    T_MOVED,
)

CASCADE = f"{T_GENERIC}::TestCascade"
CONTENT_TYPES = f"{T_GENERIC}::TestContentTypes"
STATEMENTS = f"{T_GENERIC}::TestStatements"
SURFACES = f"{T_GENERIC}::TestSurfaces"
ALONE = f"{STATEMENTS}::test_each_sees_and_deletes_rows_of_that_model_alone"
PROPERTY = f"{T_GENERIC}::test_whatever_the_rows_hold_only_those_of_the_parent_go"
ONE_MODEL = f"{STATEMENTS}::test_a_step_has_keys_of_that_model_alone"

MUTATIONS = (
    Mutation(
        "a-key-is-a-key-of-anything",
        "G2: rows of another model go, and orphans of one are another's",
        GENERIC,
        "return {generic.column: generic.id}",
        "return {}",
        (
            f"{CASCADE}::test_rows_of_another_model_with_the_same_key_stay",
            f"{CASCADE}::test_on_sqlite",
            f"{T_GENERIC}::TestScan::test_orphans_of_that_model_are_found_and_repaired",
        ),
    ),
    Mutation(
        "sql-of-all-models",
        "G2: a DELETE takes rows of another model (PostgreSQL)",
        SQL,
        "in condition(field).items()",
        "in {each: 0 for each in ()}.items()",
        (f"{CASCADE}::test_rows_of_another_model_with_the_same_key_stay", PROPERTY),
    ),
    Mutation(
        "all-rows-of-all-models",
        "G2: a row that moved to another model meanwhile is deleted with those that fit",
        ROWS,
        "{also(field, row, using)}",
        "",
        (f"{T_MOVED}::test_so_is_one_that_moves_to_a_parent_of_another_model", ALONE),
    ),
    Mutation(
        "picked-of-any-model",
        "G1: rows of another model stand in the way of those that have to go",
        ROWS,
        """f"{also(field, 'one', using)} LIMIT""",
        'f" LIMIT',
        (f"{STATEMENTS}::test_rows_of_other_models_take_no_place_of_those_to_empty",),
    ),
    Mutation(
        "locked-of-any-model",
        "G2: rows of another model are taken for roots and deleted by their primary key",
        ROWS,
        "AND wanted.key{rest} ORDER",
        "AND wanted.key ORDER",
        (ALONE, PROPERTY),
    ),
    Mutation(
        "moved-where-none-can-be-locked",
        "G2: a row that moved to another model meanwhile is deleted (not on PostgreSQL)",
        PORTABLE,
        "rows = rows_of(field, using).filter(with_keys(",
        "rows = field.model._base_manager.using(using).filter(with_keys(",
        (f"{STATEMENTS}::test_a_row_that_moved_to_another_model_where_none_can_be_locked",),
    ),
    Mutation(
        "a-scan-of-all-models",
        "G2: keys of other models are suspected, and repaired as this one's",
        KEYS,
        """{also(field, names['table'], child)}"\n            " GROUP""",
        '"\n            " GROUP',
        (ONE_MODEL,),
    ),
    Mutation(
        "a-scan-of-all-models-on-sqlite",
        "G2: keys of other models are suspected, and repaired as this one's (SQLite)",
        KEYS,
        """{also(field, names['table'], child)}"\n                    " GROUP""",
        '"\n                    " GROUP',
        (ONE_MODEL,),
    ),
    Mutation(
        "a-portable-scan-of-all-models",
        "G2: keys of other models are suspected, and repaired as this one's (elsewhere)",
        KEYS,
        "rows, name = rows_of(field, child), field.attname",
        "rows, name = field.model._base_manager.using(child), field.attname",
        (ONE_MODEL,),
    ),
    Mutation(
        "a-content-type-for-life",
        "G1: rows with the new id stay, those with the old one go",
        GENERIC,
        "def _id(",
        "@__import__('functools').cache\ndef _id(",
        (f"{CONTENT_TYPES}::test_one_that_was_made_anew_before_the_cascade",),
    ),
    Mutation(
        "content-types-of-the-first-database",
        "G2: the id of another model, where the databases' ids differ",
        GENERIC,
        "using=generic.content_types)",
        'using="default")',
        (f"{CASCADE}::test_ids_of_the_child_s_database_and_keys_as_text",),
    ),
    Mutation(
        "no-content-type-no-rows",
        "G11: a receipt proves that there are no rows, and nobody could tell",
        GENERIC,
        "raise MissingContentType(relation, meta.label, generic.content_types)",
        "return -1",
        (f"{CONTENT_TYPES}::test_one_that_is_missing_is_no_proof_that_there_are_no_rows",),
    ),
    Mutation(
        "a-claim-that-is-not-narrowed",
        "every cascade into a generic relation fails",
        CLAIMS,
        "tuple(map(narrowed, relations_of(claim)))",
        "relations_of(claim)",
        (f"{CASCADE}::test_rows_of_another_model_with_the_same_key_stay",),
    ),
    Mutation(
        "half-of-it-is-null",
        "a row without a key still says of which model it is",
        ROWS,
        "        columns = columns_of(field)\n",
        "        columns = columns_of(field)[-1:]\n",
        (f"{CASCADE}::test_set_null_empties_both_columns",),
    ),
    Mutation(
        "another-model-protects",
        "a parent is kept by rows of another model",
        PROTECTED_READS,
        '"{edge.key}__in": held}, **_lookups(edge))',
        '"{edge.key}__in": held})',
        (f"{T_GENERIC}::TestProtection::test_rows_of_that_model_protect_their_parent",),
    ),
    Mutation(
        "effects-on-all-models",
        "a preview counts rows that stay",
        EFFECTS,
        " & Q(**lookups(key, path))",
        "",
        (f"{SURFACES}::test_preview_counts_rows_of_that_model_and_what_hangs_on_them",),
    ),
    Mutation(
        "hidden-with-another-model",
        "rows of living parents are hidden",
        READING,
        ", **lookups(field))",
        ")",
        (f"{SURFACES}::test_rows_about_to_go_are_hidden",),
    ),
    Mutation(
        "a-save-that-asks-the-wrong-parent",
        "a row that refers to another model cannot be saved",
        READING,
        "return  # it refers to a row of another model",
        "pass",
        (f"{SURFACES}::test_a_reference_to_a_missing_parent_of_that_model_is_refused",),
    ),
    Mutation(
        "proxies-are-their-models",
        "G1: rows that hold a proxy's content type stay",
        COLUMNS,
        "(parent._meta.concrete_model or parent) if named.for_concrete_model else parent",
        "parent._meta.concrete_model or parent",
        (f"{T_COLUMNS}::test_unless_its_proxies_have_content_types_of_their_own",),
    ),
)
