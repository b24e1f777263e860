"""Users with known content: made by the database, deleted by Django, and how long that took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import connections

from apps.integrity.models import Deletion
from tests.chaos import log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Any

    from apps.integrity.models import InDatabase

#: Rows of one INSERT: the project's statement timeout holds for us as well.
ROWS = 50_000

USERS = """
INSERT INTO auth_user (username, password, is_superuser, first_name, last_name, email, is_staff,
                       is_active, date_joined)
SELECT 'user-' || gen_random_uuid(), '!', false, '', '', '', false, true, now()
FROM generate_series(1, %s) RETURNING id
"""
POSTS = """
INSERT INTO blog_post (author_id, title, content, created_at)
SELECT author, 'Post ' || number, 'What is said.', now()
FROM unnest(%s::int[]) AS author, generate_series(1, %s) AS number
"""
COMMENTS = """
INSERT INTO blog_comment (author_id, post_id, content, created_at)
SELECT author_id, id, 'To myself.', now() FROM blog_post WHERE author_id = ANY(%s)
"""
ORDERS = """
INSERT INTO shop_order (customer_id, order_number, total, created_at)
SELECT customer, gen_random_uuid(), 9.90, now()
FROM unnest(%s::int[]) AS customer, generate_series(1, %s) AS number
"""


def born(number: int, *, posts: int = 2, orders: int = 2) -> list[int]:
    """Make users, each with posts, a comment under each post, and orders; gives their keys."""
    with connections["default"].cursor() as cursor:
        cursor.execute(USERS, [number])
        keys = [key for (key,) in cursor.fetchall()]
    _fill("blog_db", POSTS, keys, posts)
    _fill("blog_db", COMMENTS, keys)
    _fill("shop_db", ORDERS, keys, orders)
    return keys


def born_giant(posts: int) -> int:
    """Make a user with so many posts, and nothing else; gives its key."""
    (key,) = born(1, posts=0, orders=0)
    for start in range(0, posts, ROWS):
        _fill("blog_db", POSTS, [key], min(ROWS, posts - start))
    with connections["blog_db"].cursor() as cursor:
        cursor.execute("ANALYZE blog_post")
    return key


def _fill(alias: str, statement: str, *values: Any) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, values)


def delete(keys: Iterable[int]) -> None:
    """Delete users, one after the other, as an application does."""
    for key in keys:
        User.objects.get(pk=key).delete()


def delete_at_once(keys: Collection[int]) -> None:
    """Delete users in one transaction."""
    User.objects.filter(pk__in=keys).delete()


def delete_steadily(keys: Sequence[int], per_second: float) -> None:
    """Delete so many users each second, however long one takes."""
    begin = time.monotonic()
    for position, key in enumerate(keys):
        time.sleep(max(0.0, begin + position / per_second - time.monotonic()))
        delete([key])


def outcomes(keys: Iterable[int], *databases: str) -> Iterator[tuple[Deletion, InDatabase]]:
    """Yield the deletions of those users, with what came of them in each of those databases."""
    for deletion in log.of_users(keys):
        for outcome in deletion.databases:
            if outcome.database in databases:
                yield deletion, outcome


def delays(keys: Collection[int], *databases: str) -> list[float]:
    """Seconds from each delete until the last of those databases was done with it.

    Both moments are by the clock of the log's database.
    """
    longest: dict[int, float] = {}
    for deletion, outcome in outcomes(keys, *databases):
        if outcome.done_at is not None:
            seconds = (outcome.done_at - deletion.recorded_at).total_seconds()
            longest[deletion.pk] = max(longest.get(deletion.pk, 0.0), seconds)
    return list(longest.values())


def unlogged(keys: Collection[int]) -> int:
    """How many of those users have no row in the deletion log."""
    logged = set(Deletion.objects.values_list("key", flat=True))
    return sum(str(key) not in logged for key in keys)
