"""The users and their rows at the beginning: a function of the plan. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.truth import Row, Rows

    from .plan import Plan


class Share(NamedTuple):
    """How many rows one user has; half of the comments are under posts of others."""

    posts: int
    comments: int
    orders: int


SMALL, LARGE = Share(2, 4, 2), Share(200, 300, 200)


def rows(plan: Plan) -> Rows:
    """Kind → key → row."""
    draw = plan.draw("population")
    large = set(draw.sample(range(1, plan.users + 1), max(3, plan.users // 60)))
    shares = {key: LARGE if key in large else SMALL for key in range(1, plan.users + 1)}
    posts = _numbered(
        (key, f"Post {n} of {key}", f"What {key} says about {n}.")
        for key, share in shares.items()
        for n in range(share.posts)
    )
    mine: dict[int, list[int]] = {}
    for post, (_, author, *_) in posts.items():
        mine.setdefault(author, []).append(post)
    comments = _numbered(
        (key, draw.choice(mine[key]) if n % 2 else draw.randint(1, len(posts)), f"Comment {n}.")
        for key, share in shares.items()
        for n in range(share.comments)
    )
    orders = _numbered(
        (key, f"{key}-{n}", f"{n}.90") for key, share in shares.items() for n in range(share.orders)
    )
    users = {key: (key, name_of(key)) for key in shares}
    return {"user": users, "post": posts, "comment": comments, "order": orders}


def name_of(key: int) -> str:
    """The name of the user with that key."""
    return f"user-{key}"


def _numbered(found: Iterable[Row]) -> dict[int, Row]:
    return {key: (key, *row) for key, row in enumerate(found, 1)}
