"""Mutations of what a read may conclude: rows that the server hides are unknown, not gone."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    BOUNDED,
    PORTABLE_ROWS,
    POSTGRESQL_ROWS,
    T_HIDDEN,
    T_PROTECTION,
    VISIBILITY,
)

MUTATIONS = (
    Mutation(
        "hidden-means-gone",
        "G2: a living parent that row security hides counts as gone",
        VISIBILITY,
        "    if None not in values:\n        return values\n",
        "    return [value for value in values if value is not None]\n",
        (f"{T_HIDDEN}::TestHiddenParents::test_a_cascade_leaves_the_rows_of_the_hidden",),
    ),
    Mutation(
        "row-security-not-looked-for",
        "G2: a table with active row security counts as fully visible",
        VISIBILITY,
        "pg_catalog.row_security_active(shown.oid)",
        "false",
        (f"{T_HIDDEN}::TestHiddenParents::test_a_scan_finds_no_orphans_among_the_hidden",),
    ),
    Mutation(
        "view-counts-as-table-elsewhere",
        "G2: a view that leaves living parents out counts as their table (other engines)",
        PORTABLE_ROWS,
        "        visibility.require_whole(using, field.model)\n        return held",
        "        return held",
        (f"{T_HIDDEN}::TestOnSQLite::test_parents_shown_by_a_view",),
    ),
    Mutation(
        "probe-of-hidden-rows",
        "G9: a cascade is verified although row security hides rows that are left",
        POSTGRESQL_ROWS,
        'f"{sql}{guard}", [as_array',
        "f\"{sql} UNION ALL SELECT NULL WHERE %s = ''\", [as_array",
        (f"{T_HIDDEN}::TestHiddenChildren::test_what_was_done_is_not_verified",),
    ),
    Mutation(
        "protect-asks-a-view",
        "G13: PROTECT is asked of a view that leaves rows out",
        BOUNDED,
        "cursor.fetchone()[-1]",
        "False",
        (
            f"{T_PROTECTION}::TestWhatCannotBeAsked::test_a_view_in_place_of_a_table_is_not_believed",
        ),
    ),
)
