"""Mutations of order and time that no single scene shows: the state machine finds them."""

from __future__ import annotations

from .mutation import Mutation
from .paths import ENTRIES, T_MACHINE

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
        (f"{T_MACHINE}::test_no_order_of_events_breaks_an_invariant",),
    ),
)
