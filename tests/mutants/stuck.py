"""Mutations of what the status says of work that waits, although its database answers."""

from __future__ import annotations

from .mutation import Mutation
from .paths import PROGRESS

STUCK = "apps/integrity/report/stuck.py"
WAITS = "tests/integration/test_status.py::TestWorkThatWaits"

MUTATIONS = (
    Mutation(
        "what-waits-says-nothing",
        "G11: cascades wait for a lock or a hidden table, and the status does not say why",
        PROGRESS,
        'hindrance or (stuck.reasons_of(open_in_logs) if backlog else "")',
        "hindrance",
        (f"{WAITS}::test_the_row_says_why_and_how_often",),
    ),
    Mutation(
        "what-waits-is-not-on-its-card",
        "G11: work waits for a cause, and the first page calls it at work",
        "apps/integrity/report/cards.py",
        'waiting_reason="" if hindrances else',
        'waiting_reason="" if True else',
        (f"{WAITS}::test_the_first_page_says_why_as_well",),
    ),
    Mutation(
        "what-waits-is-not-asked",
        "G11: a database with work that waits is away, and nobody looks",
        PROGRESS,
        'if row["state"] not in {"waiting", "unknown"}',
        'if not row["reason"]',
        (f"{WAITS}::test_it_is_asked_whether_it_answers_all_the_same",),
    ),
    Mutation(
        "blocked-without-a-reason",
        "G11: the status counts what is blocked and does not say why",
        STUCK,
        "STUCK = (*TRIED, Cascade.State.BLOCKED)",
        "STUCK = TRIED",
        (f"{WAITS}::test_what_is_blocked_says_why",),
    ),
)
