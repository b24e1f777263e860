"""Functions that clients call to delete users, in all variants. See `clients`."""

# ruff: noqa: ARG001 - receivers must accept the signal's arguments

from __future__ import annotations

import io
import time
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, models
from django.db.models.signals import pre_delete

from . import rows


def delete(key: int, times: int) -> list[float]:
    """Delete a user `times` times and insert it again before each; return the milliseconds."""
    took = list[float]()
    for _ in range(times):
        rows.users(key)
        user = User.objects.get(pk=key)
        started = time.perf_counter()
        user.delete()
        took.append((time.perf_counter() - started) * 1_000)
    return took


def delete_all(first: int, number: int) -> float:
    """Create `number` users and delete them with `queryset.delete()`; return its seconds."""
    keys = rows.users(first, number)
    started = time.perf_counter()
    User.objects.filter(pk__in=keys).delete()
    return time.perf_counter() - started


def install_triggers() -> None:
    """Install the triggers that record deletions."""
    call_command("integrity", "install-triggers", "--json", stdout=io.StringIO())


def recorded() -> int:
    """Return how many deletions this client's log holds."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM integrity_deletion")
        return int(cursor.fetchone()[0])


def listen_to_nothing() -> None:
    """Connect a receiver that does nothing, to measure the cost of the signal itself."""
    pre_delete.connect(_nothing, sender=User, weak=False)


def _nothing(sender: Any, **_: Any) -> None: ...


def insert_for_each() -> None:
    """Connect a receiver that inserts a row for each user, the naive way to record deletions."""
    pre_delete.connect(_insert, sender=User, weak=False)


def _insert(sender: Any, instance: User, using: str, **_: Any) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(
            "INSERT INTO integrity_deletion (parent, key, source)"
            " VALUES ('auth.User', %s, 'signal')",
            [str(instance.pk)],
        )


def delete_content_at_once() -> None:
    """Connect a handler that deletes the content at once, as many projects do.

    The foreign keys are set to DO_NOTHING. Otherwise every delete would fail before the handler is
    called, because Django looks for the posts in the database of the users.
    """
    from apps.blog.models import Comment, Post
    from apps.shop.models import Order

    for model, name in ((Post, "author"), (Comment, "author"), (Order, "customer")):
        model._meta.get_field(name).remote_field.on_delete = models.DO_NOTHING
    pre_delete.connect(delete_user_content, sender=User, weak=False)


def delete_user_content(sender: Any, instance: User, **kwargs: Any) -> None:
    """Delete the user's content."""
    instance.blog_posts.all().delete()
    instance.blog_comments.all().delete()
    instance.orders.all().delete()


def remove_posts(author: int) -> float:
    """Delete a user's posts with Django's `queryset.delete()`; return the seconds."""
    from apps.blog.models import Post

    connections["blog_db"].close()  # the database is restored from a copy each time
    connections["blog_db"].ensure_connection()
    started = time.perf_counter()
    Post.objects.filter(author_id=author).delete()
    return time.perf_counter() - started
