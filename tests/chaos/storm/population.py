"""The users and their rows at the beginning: a function of the plan.

A row is its columns in the order of `COLUMNS`, without the time of its creation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.auth.models import User
from django.core.management.color import no_style
from django.db import connections, router
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import Model

    from .plan import Plan

Row = tuple[Any, ...]

MODELS: dict[str, type[Model]] = {"user": User, "post": Post, "comment": Comment, "order": Order}
COLUMNS = {
    "user": ("id", "username"),
    "post": ("id", "author_id", "title", "content"),
    "comment": ("id", "author_id", "post_id", "content"),
    "order": ("id", "customer_id", "order_number", "total"),
}
#: Columns that a new row needs besides; their values are of no interest.
FILLED: dict[str, dict[str, Any]] = {
    "user": {
        "password": "!",
        "is_superuser": False,
        "first_name": "",
        "last_name": "",
        "email": "",
        "is_staff": False,
        "is_active": True,
        "date_joined": timezone.now,
    },
    **{kind: {"created_at": timezone.now} for kind in ("post", "comment", "order")},
}


class Share(NamedTuple):
    """How many rows one user has; half of the comments are under posts of others."""

    posts: int
    comments: int
    orders: int


SMALL, LARGE = Share(2, 4, 2), Share(200, 300, 200)


def rows(plan: Plan) -> dict[str, dict[int, Row]]:
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


def load(found: dict[str, dict[int, Row]]) -> None:
    """Fill the three empty databases."""
    for kind, of_kind in found.items():
        _copy(kind, list(of_kind.values()))


def _copy(kind: str, values: Sequence[Row]) -> None:
    model = MODELS[kind]
    connection = connections[router.db_for_write(model)]
    names = ", ".join((*COLUMNS[kind], *FILLED[kind]))
    rest = _filling(kind)
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as stream:
            for row in values:
                stream.write_row((*row, *rest))
        for statement in connection.ops.sequence_reset_sql(no_style(), [model]):
            cursor.execute(statement)
        cursor.execute(f"ANALYZE {model._meta.db_table}")


def insert(kind: str, row: Row) -> None:
    """Insert one row as its application would, under a key that is given."""
    model = MODELS[kind]
    values = dict(zip(COLUMNS[kind], row, strict=True))
    if kind == "user":
        values["password"] = "!"
    model(**values).save(force_insert=True)


def stored(kind: str) -> dict[int, Row]:
    """All rows of a kind, as the database has them now."""
    model = MODELS[kind]
    found = model._default_manager.using(router.db_for_write(model))
    return {
        row[0]: tuple(_plain(value) for value in row)
        for row in found.values_list(*COLUMNS[kind]).iterator(chunk_size=5_000)
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else str(value)


def _filling(kind: str) -> Row:
    return tuple(value() if callable(value) else value for value in FILLED[kind].values())
