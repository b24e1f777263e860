"""Users with known content, made by the servers. Keys are given, so that a user can come again."""

from __future__ import annotations

from django.db import connections

#: A post's text: about as long as a remark.
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
#: What a user has in each child database: the limit of every way to remove it.
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
    """Make users with the keys from `first` on, which have none; gives the keys."""
    _run("default", USERS, first, first + number - 1)
    return range(first, first + number)


def content(keys: range, *, posts: int, comments: int, orders: int) -> None:
    """Give each of those users so many posts, comments under each of them, and orders."""
    within = keys[0], keys[-1]
    _run("blog_db", POSTS, TEXT, posts, *within)
    _run("blog_db", COMMENTS, TEXT, comments, *within)
    _run("shop_db", ORDERS, orders, *within)


def analyze() -> None:
    """Vacuum the content and tell the planner about it, as autovacuum would in a while."""
    for alias, tables in CONTENT.items():
        for table in tables:
            _run(alias, f"VACUUM (ANALYZE) {table}")


def left(keys: range) -> int:
    """Rows that still refer to those users."""
    return sum(_count(alias, table, keys) for alias, tables in CONTENT.items() for table in tables)


def remove(keys: range) -> None:
    """Remove those users and their content, whatever is there of it."""
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
