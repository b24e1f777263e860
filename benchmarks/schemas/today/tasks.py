"""One task for each deleted user and database, optimised, and an empty task.

The tasks delete without loading objects, in one transaction, and reuse connections.
"""

from __future__ import annotations

import socket

from celery import shared_task
from django.db import transaction

from apps.blog.models import Comment, Post
from apps.shop.models import Order
from sandbox.servers import LOOPBACK


def queue_of(database: str) -> str:
    """Return the queue of these tasks for one child database."""
    return f"today.{database}"


@shared_task(name="today.nothing", ignore_result=True)
def nothing(port: int) -> None:
    """Report to a UDP port that the task has started."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"begun", (LOOPBACK, port))


@shared_task(name="today.blog_db", ignore_result=True)
def remove_from_blog(user: int) -> None:
    """Delete the user's rows in `blog_db`."""
    with transaction.atomic(using="blog_db"):
        Comment.objects.filter(author_id=user)._raw_delete("blog_db")
        Post.objects.filter(author_id=user)._raw_delete("blog_db")


@shared_task(name="today.shop_db", ignore_result=True)
def remove_from_shop(user: int) -> None:
    """Delete the user's rows in `shop_db`."""
    Order.objects.filter(customer_id=user)._raw_delete("shop_db")


TASKS = {"blog_db": remove_from_blog, "shop_db": remove_from_shop}
