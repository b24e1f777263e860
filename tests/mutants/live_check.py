"""Mutations of the live check: rows of a parent that exists are never touched."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CLAIMS,
    GENERIC,
    POSTGRESQL_ROWS,
    STEPS,
    STORED,
    T_ATTACKS,
    T_CAME_BACK,
    T_CASCADE,
    T_CODED,
    T_FIRST_STEP,
    T_PRIMARIES,
)

MUTATIONS = (
    Mutation(
        "no-live-check",
        "G2: a parent that was created again loses its rows",
        CLAIMS,
        "= self._living(relation, target)",
        "= set()",
        (f"{T_CASCADE}::TestLivingParents::test_a_parent_that_came_back_keeps_every_row",),
    ),
    Mutation(
        "no-live-check-before-the-commit",
        "G2: a parent that is created again before the commit loses its rows",
        STEPS,
        "raise CameBack",
        "pass",
        (f"{T_CAME_BACK}::test_rows_old_and_new_are_kept",),
    ),
    Mutation(
        "first-step-without-live-check",
        "G2: the first step removes rows of a parent that came back meanwhile",
        STEPS,
        "if touched - gone.keys():",
        "if touched - gone.keys() and not done[1:]:",
        (f"{T_FIRST_STEP}::test_parents_that_come_back_meanwhile_keep_all_their_rows",),
    ),
    Mutation(
        "finishes-by-an-earlier-live-check",
        "G2: a cascade finishes on the word of an earlier live check",
        CLAIMS,
        "self._taken.clear()",
        "pass",
        (f"{T_ATTACKS}::test_a_parent_that_comes_back_after_the_last_step",),
    ),
    Mutation(
        "taken-over-values",
        "G2: a living parent that took over a unique value loses its rows",
        CLAIMS,
        " if owner not in taken}",
        "}",
        (
            f"{T_CASCADE}::TestLivingParents::test_a_value_that_another_living_parent_took_over_keeps_its_rows",
        ),
    ),
    Mutation(
        "live-check-in-one-database",
        "G2: a parent in its second database counts as gone",
        CLAIMS,
        "for home in relation.parent_databases:\n            keys",
        "for home in relation.parent_databases[:1]:\n            keys",
        (f"{T_PRIMARIES}::test_a_parent_that_lives_in_another_of_its_homes_is_alive",),
    ),
    Mutation(
        "live-check-on-the-replica",
        "G10: a parent that a replica does not have yet counts as gone",
        CLAIMS,
        "for home in relation.parent_databases:\n            keys",
        "from django.db import router\n\n"
        "        for home in [router.db_for_read(relation.parent)]:\n            keys",
        (f"{T_PRIMARIES}::test_a_parent_is_looked_up_on_its_primary_whatever_the_reader_says",),
    ),
    Mutation(
        "live-check-through-a-manager",
        "G2: a parent that a manager leaves out counts as gone",
        GENERIC,
        "QuerySet(model=field.model, using=using)",
        "field.model._base_manager.using(using)",
        (f"{T_CASCADE}::TestLivingParents::test_a_parent_hidden_by_its_managers_is_alive",),
    ),
    Mutation(
        "keys-not-prepared",
        "G2: a living parent whose key is an object counts as gone",
        STORED,
        "field.get_db_prep_value(value, connections[using])",
        "value",
        (f"{T_CODED}::test_who_came_back_keeps_all_rows",),
    ),
    Mutation(
        "keys-in-another-form",
        "G2: a living parent whose key the server returns in another form counts as gone",
        POSTGRESQL_ROWS,
        "if not held <= wanted:",
        "if False:",
        (f"{T_CODED}::test_what_a_server_returns_in_another_form_proves_nothing",),
    ),
)
