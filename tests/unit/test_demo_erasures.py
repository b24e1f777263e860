"""What the demo says of its receipts follows from them: each thing that is wrong is found."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from demo import erasures
from tests.chaos.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable

Lines = list[dict[str, Any]]


@pytest.fixture
def truth() -> Truth:
    """Account 1 is gone, with a post that has a comment of account 2, and an order; 2 lives."""
    rows = {
        "user": {1: (1, "a"), 2: (2, "b")},
        "post": {1: (1, 1, "t", "c")},
        "comment": {1: (1, 1, 1, "c"), 2: (2, 2, 1, "c")},
        "order": {1: (1, 1, "n", "1.00"), 2: (2, 2, "n", "1.00")},
    }
    return Truth(rows=rows, gone={1})


def along(relation: str, database: str, rows: int) -> dict[str, Any]:
    return {"relation": relation, "database": database, "outcome": "deleted", "rows": rows}


@pytest.fixture
def lines() -> Lines:
    return [
        {
            "statement": ["Counted again by 2026-01-31 12:00:00 UTC: …"],
            "deletion": {"id": 7, "key": "1", "state": "verified", "relation": ""},
            "cascades": [{"state": "verified"}, {"state": "verified"}],
            "scope": [
                along("blog.Post.author", "blog_db", 1),
                along("blog.Comment.author", "blog_db", 1),
                along("blog.Comment.post", "blog_db", 1),
                along("shop.Order.customer", "shop_db", 1),
                along("attachments.Attachment.post", "blog_db", 1),
                along("step:files", "step:files", 1),
            ],
        }
    ]


def held(truth: Truth, lines: Lines) -> list[bool]:
    return [proof.held for proof in erasures.of_receipts(truth, lines)]


def test_what_is_right_holds(truth: Truth, lines: Lines) -> None:
    kept = copy.deepcopy(lines[0]) | {"scope": [], "statement": ["This is no proof: …"]}
    kept["deletion"] |= {"id": 3, "state": "kept"}
    assert held(truth, [kept, *lines]) == [True, True, True]


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda lines: lines.clear(), [False, False, False]),
        (lambda lines: lines[0]["scope"].pop(3), [False, False, False]),
        (lambda lines: lines[0]["scope"][0].update(rows=0), [True, False, False]),
        (lambda lines: lines[0]["scope"][1].update(rows=2), [True, False, False]),
        (lambda lines: lines[0]["scope"][2].update(rows=0), [True, True, False]),
        (lambda lines: lines[0]["cascades"][1].update(state="done"), [False, True, True]),
        (lambda lines: lines[0]["cascades"].append({"state": "done"}), [False, True, True]),
        (lambda lines: lines[0]["statement"].insert(0, "Verified, but …"), [False, True, True]),
        (lambda lines: lines.append(lines[0]), [True, False, False]),
    ],
)
def test_each_fault_is_found(
    truth: Truth, lines: Lines, harm: Callable[[Lines], object], expected: list[bool]
) -> None:
    harm(lines)
    assert held(truth, lines) == expected
