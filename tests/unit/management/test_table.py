"""Tables of the commands fit a terminal of 80 columns, and no name or number is ever cut."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management.color import no_style
from hypothesis import given
from hypothesis import strategies as st

from apps.integrity.management import table


def printed(rows: list[dict[str, Any]], *, width: int | None = table.WIDTH) -> list[str]:
    return [*table.lines([*rows[0]], rows, no_style(), empty="Nothing.", width=width)]


def test_what_fits_stays_a_plain_table() -> None:
    assert printed([{"relation": "blog.Post.author", "rows": 1234, "reason": ""}]) == [
        "RELATION          ROWS   REASON",
        "blog.Post.author  1,234",
    ]


def test_it_gets_narrower_no_further_than_it_has_to() -> None:
    row: dict[str, Any] = {
        "database": "notes_db",
        "state": "working",
        "backlog": 1,
        "blocked": 0,
        "lag_seconds": 1.5,
        "unproven": 0,
        "unproven_seconds": None,
        "rate": 2.0,
        "reason": "",
    }
    assert printed([row]) == [
        "DATABASE  STATE    BACKLOG  BLOCKED  LAG_     UNPROVEN  UNPROVEN_  RATE",
        "                                     SECONDS            SECONDS",
        "notes_db  working  1        0        1.5      0         -          2.0",
    ]
    reason = "paused: the index of the largest table is built anew tonight by the owner"
    assert printed([{**row, "reason": reason}])[2:] == [
        "notes_db  working  1        0        1.5      0         -          2.0",
        "  reason: paused: the index of the largest table is built anew tonight by the",
        "    owner",
    ]


def test_wide_tables_have_all_in_one_line() -> None:
    row = {"relation": "a" * 50, "plan": "b" * 50, "last_full_scan": None, "reason": "one two"}
    assert printed([row], width=None) == [
        f"RELATION{' ' * 44}PLAN{' ' * 48}LAST_FULL_SCAN  REASON",
        f"{'a' * 50}  {'b' * 50}  -               one two",
    ]


@pytest.mark.parametrize("label", ["a" * 70, "a" * 100])
def test_a_long_name_gets_a_line_of_its_own_and_is_not_cut(label: str) -> None:
    row = {"relation": label, "child_database": "shop_db", "parent": "auth.User", "rows": 12_345}
    first, *others = printed([row])[-2:]
    assert label in first
    assert all(len(line) <= table.WIDTH for line in others)
    assert "shop_db" in "".join(others)


NAMES = st.text("abcdefgh._", min_size=1, max_size=40)
WORDS = st.lists(st.text("abcdefgh._", min_size=1, max_size=10), max_size=30).map(" ".join)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "relation": NAMES,
            "database": st.text("abc_", min_size=1, max_size=12),
            "lag_seconds": st.none() | st.floats(0, 10**7),
            "rows_scanned": st.integers(0, 10**10),
            "orphans_of_pass": st.integers(0, 10**6),
            "complete": st.booleans(),
            "reason": WORDS,
        }
    ).map(lambda row: {"relation": row["relation"]} | row),  # a name always comes first
    min_size=1,
    max_size=4,
)


@given(ROWS)
def test_it_fits_and_nothing_is_lost(rows: list[dict[str, Any]]) -> None:
    lines = printed(rows)
    assert max(map(len, lines)) <= table.WIDTH
    words = " ".join(lines).split()
    for row in rows:
        for value in row.values():
            assert {*table._cell(value).split()} <= {*words}
    assert len(printed(rows, width=None)) == len(rows) + 1
