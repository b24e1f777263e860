"""Mutations of order: what happens one after the other instead of at once."""

from __future__ import annotations

from .mutation import Mutation
from .paths import ENTRIES, T_ATTACKS_LOG

MUTATIONS = (
    Mutation(
        "dispatched-before-its-cascades",
        "G1: a death between two commits leaves a deletion that no cascade belongs to",
        ENTRIES,
        "statements.on(using).insert_cascades(found, databases, using=using)",
        "transaction.on_commit(\n"
        "                    lambda ids=found, into=databases: statements.on(\n"
        "                        using\n"
        "                    ).insert_cascades(ids, into, using=using),\n"
        "                    using=using,\n"
        "                )",
        (f"{T_ATTACKS_LOG}::TestDispatch::test_no_deletion_is_dispatched_without_its_cascades",),
    ),
)
