"""Create users and content in SQL. Keys are given, so that a user can be created again."""

from __future__ import annotations

from django.db import OperationalError, connections, transaction

from apps.integrity import relations
from sandbox.processes import ProcessError, eventually

#: The log's tables that hold deletions.
LOG = ("integrity_cascade", "integrity_deletion", "integrity_suspect")
#: The text of a post.
TEXT = "Something that somebody has said, and that somebody else is going to answer. "

USERS = """
INSERT INTO auth_user (id, username, password, is_superuser, first_name, last_name, email,
                       is_staff, is_active, date_joined)
SELECT number, 'user-' || number, '!', false, '', '', '', false, true, now()
FROM generate_series(%s::int, %s) AS number
"""
POSTS = """
INSERT INTO blog_post (author_id, title, content, created_at)
SELECT author, 'Post ' || number, %s, now()
FROM generate_series(1, %s) AS number, generate_series(%s::int, %s) AS author
"""
COMMENTS = """
INSERT INTO blog_comment (author_id, post_id, content, created_at)
SELECT author_id, id, %s, now()
FROM generate_series(1, %s) AS number, blog_post WHERE author_id BETWEEN %s AND %s
"""
ORDERS = """
INSERT INTO shop_order (customer_id, order_number, total, created_at)
SELECT customer, gen_random_uuid(), 9.90, now()
FROM generate_series(1, %s) AS number, generate_series(%s::int, %s) AS customer
"""
#: Statements that delete users' rows in each child database: the upper limit of speed.
GIANT = {
    "blog_db": (
        "DELETE FROM blog_comment WHERE author_id BETWEEN %s AND %s",
        "DELETE FROM blog_post WHERE author_id BETWEEN %s AND %s",
    ),
    "shop_db": ("DELETE FROM shop_order WHERE customer_id BETWEEN %s AND %s",),
}
CONTENT = {"blog_db": ("blog_comment", "blog_post"), "shop_db": ("shop_order",)}
COLUMNS = {"blog_comment": "author_id", "blog_post": "author_id", "shop_order": "customer_id"}


def users(first: int, number: int = 1) -> range:
    """Create users with `number` consecutive keys from `first`; return the keys."""
    _run("default", USERS, first, first + number - 1)
    return range(first, first + number)


def content(keys: range, *, posts: int, comments: int, orders: int) -> None:
    """Create posts and orders for each user, and comments on each post."""
    within = keys[0], keys[-1]
    _run("blog_db", POSTS, TEXT, posts, *within)
    _run("blog_db", COMMENTS, TEXT, comments, *within)
    _run("shop_db", ORDERS, orders, *within)


def analyze() -> None:
    """Vacuum and analyze the content, as autovacuum would do later."""
    for alias, tables in CONTENT.items():
        for table in tables:
            _run(alias, f"VACUUM (ANALYZE) {table}")


def left(keys: range) -> int:
    """Return the number of rows that still refer to these users."""
    return sum(_count(alias, table, keys) for alias, tables in CONTENT.items() for table in tables)


def remove(keys: range) -> None:
    """Delete these users and their remaining content."""
    _run("default", "DELETE FROM auth_user WHERE id BETWEEN %s AND %s", keys[0], keys[-1])
    for alias, statements in GIANT.items():
        for statement in statements:
            _run(alias, statement, keys[0], keys[-1])


def _count(alias: str, table: str, keys: range) -> int:
    with connections[alias].cursor() as cursor:
        column = COLUMNS[table]
        cursor.execute(
            f"SELECT count(*) FROM {table} WHERE {column} BETWEEN %s AND %s",  # noqa: S608 (ours)
            [keys[0], keys[-1]],
        )
        return int(cursor.fetchone()[0])


def _run(alias: str, statement: str, *values: object) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, values)


def empty_log(*others: str) -> None:
    """Empty the log's tables, and `others`, at a moment when no worker uses them; and the tallies.

    Without them, the log would look like one that was restored from a backup, and work on the child
    databases would be paused. A TRUNCATE that waits for a table while it holds another may deadlock
    with a worker. Raises ProcessError if there is no such moment for 10 s.
    """
    if not eventually(lambda: _emptied([*LOG, *others]), timeout=10, pause=0.01):
        raise ProcessError(f"{', '.join(LOG)} were in use for 10 s")
    for alias in relations.catalogue().child_databases:
        _run(alias, "DELETE FROM integrity_tally")


def _emptied(tables: list[str]) -> bool:
    names = ", ".join(tables)
    try:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE NOWAIT")
            cursor.execute(f"TRUNCATE {names}")
    except OperationalError:  # lock_not_available
        return False
    return True
