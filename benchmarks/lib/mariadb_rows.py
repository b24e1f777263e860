"""One user's rows in MariaDB, and three ways to delete them, in the process of a client."""

# ruff: noqa: S608 - names are ours

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.queues import dispatch

from .rows import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable

DATABASE = "blog_db"
#: The user whose rows are deleted, and one whose rows are between them and stay.
GONE, OTHER = 5, 77
#: Seconds for the server to clean up after the rows before, so that nothing else is measured.
REST_SECONDS = 3.0

POSTS = """
INSERT INTO blog_post (author_id, title, content, created_at)
SELECT CASE WHEN MOD(seq, 3) = 0 THEN %s ELSE %s END, CONCAT('Post ', seq), %s, NOW(6)
FROM seq_1_to_{number}
"""
COMMENTS = """
INSERT INTO blog_comment (author_id, post_id, content, created_at)
SELECT author_id, blog_post.id, %s, NOW(6) FROM blog_post, seq_1_to_{number}
"""


def beside(*, posts: int, comments: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way, which take turns."""
    call_command("migrate", verbosity=0, database=DATABASE)
    ways: dict[str, Callable[[], None]] = {"giant": _giant, "orm": _orm, "ours": _ours}
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, delete in ways.items():
            _load(posts, comments)
            if way == "ours":
                User.objects.create(pk=GONE, username="gone").delete()
                dispatch.sweep("default")
            started = time.perf_counter()
            delete()
            took[way].append(time.perf_counter() - started)
            _require_gone(posts, comments)
    return took


def _load(posts: int, comments: int) -> None:
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for model in (Comment, Post):
            cursor.execute(f"TRUNCATE {model._meta.db_table}")
        cursor.execute("SET foreign_key_checks = 1")
        cursor.execute(POSTS.format(number=posts * 3 // 2), [OTHER, GONE, TEXT])
        cursor.execute(COMMENTS.format(number=comments), [TEXT])
        cursor.execute("ANALYZE TABLE blog_post, blog_comment")
        cursor.fetchall()
    time.sleep(REST_SECONDS)


def _require_gone(posts: int, comments: int) -> None:
    """Raise AssertionError unless exactly the user's rows are gone."""
    others = posts * 3 // 2 - posts
    for model, number in ((Post, others), (Comment, others * comments)):
        left = [model.objects.filter(author_id=key).count() for key in (GONE, OTHER)]
        if left != [0, number]:
            raise AssertionError(f"{model.__name__}: {left} rows are left, not {[0, number]}")


def _giant() -> None:
    with transaction.atomic(DATABASE), connections[DATABASE].cursor() as cursor:
        for model in (Comment, Post):
            cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE author_id IN (%s)", [GONE])


def _orm() -> None:
    Post.objects.filter(author_id=GONE).delete()


def _ours() -> None:
    cascade.drain(DATABASE, seconds=600)
