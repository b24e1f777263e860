"""Mutations of what a read may conclude: rows that the server hides are unknown, not gone."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    BRAKE,
    D_DATABASES,
    D_EXAMINATION,
    EFFECTS,
    KEYS,
    PORTABLE,
    ROWS,
    T_HIDDEN,
    VISIBILITY,
)

PARENTS, CHILDREN = f"{T_HIDDEN}::TestHiddenParents", f"{T_HIDDEN}::TestHiddenChildren"
CHEAP, SQLITE = f"{T_HIDDEN}::TestWhatIsCheap", f"{T_HIDDEN}::TestOnSQLite"
TOLD = f"{T_HIDDEN}::TestWhoTellsOfIt"

MUTATIONS = (
    Mutation(
        "hidden-means-gone",
        "G2: a living parent that row security hides loses its rows",
        VISIBILITY,
        "    if None not in found:\n        return found\n",
        "    return [each for each in found if each is not None]\n",
        (f"{PARENTS}::test_a_cascade_leaves_the_rows_of_the_hidden",),
    ),
    Mutation(
        "policies-are-not-asked-about",
        "G2: row security is taken for a table that shows all",
        VISIBILITY,
        "WHEN pg_catalog.row_security_active(shown.oid)",
        "WHEN false",
        (f"{PARENTS}::test_a_scan_finds_no_orphans_among_the_hidden",),
    ),
    Mutation(
        "views-are-tables",
        "G2: a view that leaves living parents out makes orphans of their rows",
        VISIBILITY,
        "WHEN shown.relkind NOT IN {KINDS}",
        "WHEN shown.relkind NOT IN ('v', 'm', 'r', 'p', 'f')",
        (f"{PARENTS}::test_a_scan_finds_no_orphans_among_the_hidden",),
    ),
    Mutation(
        "temporary-tables-count",
        "G2: an empty temporary table hides all parents",
        VISIBILITY,
        "WHEN shown.relpersistence = 't'",
        "WHEN false",
        (f"{CHEAP}::test_a_temporary_table_of_that_name",),
    ),
    Mutation(
        "seen-and-still-refused",
        "a parent that is seen to be alive is not enough to cancel its deletion",
        VISIBILITY,
        "if len(seen) != every or cause not in ONLY_HIDES:",
        "if True:",
        (f"{PARENTS}::test_those_that_are_seen_are_alive",),
    ),
    Mutation(
        "the-orm-is-not-asked",
        "G2: what SQLite's view hides is gone",
        VISIBILITY,
        "            if cause:\n                raise refusal(model, using, cause, role)",
        "            del cause, role",
        (f"{SQLITE}::test_children_shown_by_a_view",),
    ),
    Mutation(
        "a-temporary-view-of-sqlite",
        "G2: a temporary view of SQLite hides the rows",
        VISIBILITY,
        "SELECT 1 FROM sqlite_temp_master WHERE name",
        "SELECT 1 FROM sqlite_temp_master WHERE 0 AND name",
        (f"{SQLITE}::test_children_shown_by_a_view",),
    ),
    Mutation(
        "a-probe-that-is-filtered",
        "G1: rows of a child that row security hides are verified to be gone",
        ROWS,
        'f"{sql}{guard}", [as_array',
        "f\"{sql} UNION ALL SELECT NULL WHERE %s = ''\", [as_array",
        (
            f"{CHILDREN}::test_what_was_done_is_not_verified",
            f"{PARENTS}::test_a_cascade_leaves_the_rows_of_the_hidden",
        ),
    ),
    Mutation(
        "a-scan-of-what-is-shown",
        "G11: a scan of a child that row security hides finds nothing and is complete",
        KEYS,
        "    if hidden:\n        raise visibility.refusal(field.model, child)\n",
        "",
        (f"{CHILDREN}::test_nothing_is_done_verified_or_scanned_and_others_go_on",),
    ),
    Mutation(
        "a-scan-of-parents-that-are-shown",
        "G2: parents that row security hides make orphans of their rows",
        KEYS,
        "return visibility.without_guard(absent, target.model, parent, every=0)",
        "return [each for each in absent if each is not None]",
        (f"{PARENTS}::test_a_scan_finds_no_orphans_among_the_hidden",),
    ),
    Mutation(
        "portable-looks-are-filtered",
        "G2: on other databases a view's rows are all that there are",
        PORTABLE,
        "        held = set[Any]()\n        with visibility.whole(using, field.model):",
        "        held = set[Any]()\n        with visibility.whole(using):",
        (f"{SQLITE}::test_parents_shown_by_a_view",),
    ),
    Mutation(
        "hidden-parents-are-none",
        "G11: the brake calls a table empty whose rows it was not shown",
        BRAKE,
        "with visibility.whole(home, parent):",
        "with visibility.whole(home):",
        (f"{PARENTS}::test_a_table_of_parents_that_shows_no_row_is_not_called_empty",),
    ),
    Mutation(
        "a-preview-of-nothing",
        "G12: a preview says 0 of rows that it was not shown",
        EFFECTS,
        "with visibility.whole(database, model):",
        "with visibility.whole(database):",
        (f"{CHILDREN}::test_nothing_is_done_verified_or_scanned_and_others_go_on",),
    ),
    Mutation(
        "doctor-takes-a-part-for-all",
        "G11: doctor calls a table readable of which it sees a part",
        D_EXAMINATION,
        "        hidden = visibility.reason(model, alias)",
        "",
        (f"{TOLD}::test_doctor_and_check",),
    ),
    Mutation(
        "doctor-looks-at-the-ends-only",
        "G11: nobody says that rows below the children, or of the log, are hidden",
        D_EXAMINATION,
        "    checks += [each for alias in up for each in _hidden(alias)]\n",
        "",
        (f"{TOLD}::test_doctor_and_check",),
    ),
    Mutation(
        "check-takes-a-part-for-all",
        "G11: `check --database` is silent about hidden rows",
        D_DATABASES,
        "LOOKS = (captured, logged, haunted, shown, ruled)",
        "LOOKS = (captured, logged, haunted, ruled)",
        (f"{TOLD}::test_doctor_and_check",),
    ),
    Mutation(
        "rules-pass-unseen",
        "G11: nobody is told of a rule that swallows deletes",
        VISIBILITY,
        "ev_type IN ('2', '4')",
        "ev_type IN ('2')",
        (f"{TOLD}::test_a_rule_is_warned_of",),
    ),
)
