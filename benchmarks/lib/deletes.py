"""What clients do that delete users, in each of the ways. See `clients`."""

# ruff: noqa: ARG001 - names are ours; a receiver takes what the signal gives

from __future__ import annotations

import time
from typing import Any

from django.contrib.auth.models import User
from django.db import connections, models
from django.db.models.signals import pre_delete

from . import rows


def delete(key: int, times: int) -> list[float]:
    """Milliseconds of `user.delete()`, of one user again and again, who comes back in between."""
    took = list[float]()
    for _ in range(times):
        rows.users(key)
        user = User.objects.get(pk=key)
        started = time.perf_counter()
        user.delete()
        took.append((time.perf_counter() - started) * 1_000)
    return took


def delete_all(first: int, number: int) -> float:
    """Seconds of `queryset.delete()`, of so many users that are made before."""
    keys = rows.users(first, number)
    started = time.perf_counter()
    User.objects.filter(pk__in=keys).delete()
    return time.perf_counter() - started


def listen_to_nothing() -> None:
    """A receiver that does nothing: what the signal itself costs."""
    pre_delete.connect(_nothing, sender=User, weak=False)


def _nothing(sender: Any, **_: Any) -> None: ...


def insert_for_each() -> None:
    """A receiver that writes a row for each user: the obvious way to record deletions."""
    pre_delete.connect(_insert, sender=User, weak=False)


def _insert(sender: Any, instance: User, using: str, **_: Any) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(
            "INSERT INTO integrity_deletion (parent, key, source, state)"
            " VALUES ('auth.User', %s, 'signal', 'recorded')",
            [str(instance.pk)],
        )


def delete_content_at_once() -> None:
    """The handler of the documentation that many projects follow.

    With its models every delete fails before the handler is called: Django looks for posts in the
    database of users. So its keys are made DO_NOTHING here, which lets the handler do its work.
    """
    from apps.blog.models import Comment, Post
    from apps.shop.models import Order

    for model, name in ((Post, "author"), (Comment, "author"), (Order, "customer")):
        model._meta.get_field(name).remote_field.on_delete = models.DO_NOTHING
    pre_delete.connect(delete_user_content, sender=User, weak=False)


def delete_user_content(sender: Any, instance: User, **kwargs: Any) -> None:
    """Delete user's content when user is deleted."""
    instance.blog_posts.all().delete()
    instance.blog_comments.all().delete()
    instance.orders.all().delete()


def remove_posts(author: int) -> float:
    """Seconds of Django's own `queryset.delete()` on the posts of a user."""
    from apps.blog.models import Post

    connections["blog_db"].close()  # the database is another one each time
    connections["blog_db"].ensure_connection()
    started = time.perf_counter()
    Post.objects.filter(author_id=author).delete()
    return time.perf_counter() - started
