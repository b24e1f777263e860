"""Compare the receipts of all deleted accounts with the rows that they had. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from .proof import Proof

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.chaos.truth import Truth

    #: Account → label → rows that its receipts count.
    Counts = Mapping[int, Mapping[str, int]]

POSTS, ORDERS = "blog.Post.author", "shop.Order.customer"
RELATIONS = {POSTS, ORDERS, "blog.Comment.author"}
#: A comment may go along either, because it may be on a post of an account that goes as well.
COMMENTS = ("blog.Comment.author", "blog.Comment.post")
COUNTED = RELATIONS | {*COMMENTS}
#: Where the account of a row stands in it, and the post of a comment: tests/chaos/rows.py.
ACCOUNT, POST = 1, 2
PROVEN = "Counted again by "


def of_receipts(truth: Truth, lines: Sequence[Mapping[str, Any]]) -> list[Proof]:
    """Check every receipt of an export against what was deleted."""
    counts = counted(lines)
    wrong, differ = _unproven(truth, lines), _differences(truth, counts)
    doomed = Counter(kind for kind, _ in truth.doomed(truth.gone))
    expected = sum(number for kind, number in doomed.items() if kind != "user")
    total = sum(sum(of_account.values()) for of_account in counts.values())
    return [
        Proof(
            claim="every deleted account has a receipt that proves it",
            held=not wrong,
            figure=len(truth.gone) - len(wrong),
        ),
        Proof(
            claim="each of these receipts counts exactly the posts and orders of its account",
            held=not differ,
            figure=len(truth.gone) - len(differ),
        ),
        Proof(
            claim="together they count every row that was deleted, once",
            held=total == expected,
            figure=total,
        ),
    ]


def is_proof(line: Mapping[str, Any]) -> bool:
    """Return whether a receipt says that no row was left along all that it had to follow."""
    followed = {each["relation"] for each in line["scope"] if each["outcome"] == "deleted"}
    wanted = {line["deletion"]["relation"]} if line["deletion"]["relation"] else RELATIONS
    verified = {each["state"] for each in line["cascades"]} == {"verified"}
    return verified and followed >= wanted and line["statement"][0].startswith(PROVEN)


def counted(lines: Iterable[Mapping[str, Any]]) -> Counts:
    """Return the rows that the receipts of each account count, under each label of `Truth`.

    Rows that name files, and the files, have labels of their own: restoring.py looks at them.
    """
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for line in lines:
        for each in line["scope"]:
            if each["relation"] in COUNTED:
                counts[int(line["deletion"]["key"])][each["relation"]] += each["rows"] or 0
    return counts


def _unproven(truth: Truth, lines: Iterable[Mapping[str, Any]]) -> set[int]:
    """Return the deleted accounts without a receipt that proves it.

    Kept ones are of an account that came back, and was deleted again. A scan's are of one relation
    each, and there may be several.
    """
    receipts: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["deletion"]["state"] != "kept":
            receipts[int(line["deletion"]["key"])].append(line)
    return {key for key in truth.gone if not receipts[key] or not all(map(is_proof, receipts[key]))}


def _differences(truth: Truth, counts: Counts) -> set[int]:
    """Return the deleted accounts whose receipts count other rows than they had."""
    had: dict[str, Counter[int]] = {
        kind: Counter(row[ACCOUNT] for row in truth.rows[kind].values())
        for kind in ("post", "order", "comment")
    }
    authors = {key: row[ACCOUNT] for key, row in truth.rows["post"].items()}
    on_posts = Counter(authors[row[POST]] for row in truth.rows["comment"].values())
    mine, below = COMMENTS
    return {
        key
        for key in truth.gone
        if (rows := counts.get(key, {})).get(POSTS, 0) != had["post"][key]
        or rows.get(ORDERS, 0) != had["order"][key]
        or rows.get(mine, 0) > had["comment"][key]
        or rows.get(below, 0) > on_posts[key]
    }
