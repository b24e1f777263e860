"""One task for each deleted user and database, at its best, and one that does nothing.

At its best: statements without objects, one transaction, and connections that survive the task.
"""

from __future__ import annotations

import socket

from celery import shared_task
from django.db import transaction

from apps.blog.models import Comment, Post
from apps.shop.models import Order
from sandbox.servers import LOOPBACK


def queue_of(database: str) -> str:
    """The queue of today's tasks in one child database."""
    return f"today.{database}"


@shared_task(name="today.nothing", ignore_result=True)
def nothing(port: int) -> None:
    """Tell that port that a task has begun."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as teller:
        teller.sendto(b"begun", (LOOPBACK, port))


@shared_task(name="today.blog_db", ignore_result=True)
def remove_from_blog(user: int) -> None:
    """Remove what the user has in `blog_db`."""
    with transaction.atomic(using="blog_db"):
        Comment.objects.filter(author_id=user)._raw_delete("blog_db")
        Post.objects.filter(author_id=user)._raw_delete("blog_db")


@shared_task(name="today.shop_db", ignore_result=True)
def remove_from_shop(user: int) -> None:
    """Remove what the user has in `shop_db`."""
    Order.objects.filter(customer_id=user)._raw_delete("shop_db")


TASKS = {"blog_db": remove_from_blog, "shop_db": remove_from_shop}
