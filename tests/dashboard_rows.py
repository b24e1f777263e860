"""Rows, and a log that has something of all kinds, for the pages of the dashboard."""

from __future__ import annotations

import itertools
import re
from http import HTTPStatus

from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity import cascade, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions, heartbeats
from apps.integrity.dashboard.urls import urls
from apps.integrity.models import Cascade, Deletion, FailedAttempt
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from tests.log_rows import cascade_of

#: Route → the query without which it has nothing to show.
QUERIES = {"admin:integrity_dashboard_preview": "?relation=blog.Post.author"}
PASSWORD = "correct horse"
DATABASES = ("blog_db", "shop_db")
#: A reason as long as they come.
REFUSED = (
    'IntegrityError 23503: update or delete on table "blog_post" violates foreign key constraint'
    ' "newsletter_issue_post_id_7c2f9e_fk_blog_post_id" on table "newsletter_issue"'
)


def staff(name: str, *permissions: str) -> User:
    """A staff member with those permissions of the dashboard; without any, a superuser."""
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    codenames = [f"{each}_dashboard" for each in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    user.is_superuser = not permissions
    user.save()
    return user


def author(name: str) -> User:
    user = User.objects.create(username=name)
    posts = [Post.objects.create(title="t", content="c", author=user) for _ in range(12)]
    for _ in range(31):
        Comment.objects.create(post=posts[0], author=user, content="c")
    for n in range(4):
        Order.objects.create(order_number=f"{name}-{n}", customer=user, total=1)
    return user


def work(*databases: str, prove: bool = False) -> None:
    """What the workers would do now."""
    heartbeats.record("beat", using="default")
    dispatch.sweep_all()
    for database in databases or DATABASES:
        cascade.drain(database)
        if prove:
            verification.verify(database)


def scanned() -> None:
    for database in DATABASES:
        scan.scan(database)


def fill() -> None:
    """Leave a log with a verified deletion, one that waits, fails, is blocked, and suspects."""
    for key in range(9_001, 9_004):
        Post.objects.create(title="t", content="c", author_id=key)
    scanned()
    author("ann").delete()
    work(prove=True)
    for name in ("blocked", "failing"):
        author(name).delete()
        dispatch.sweep_all()
    blocked, failing = (
        cascade_of(row, "blog_db") for row in Deletion.objects.order_by("-pk")[1::-1]
    )
    work("shop_db")
    Cascade.objects.filter(pk=blocked.pk).update(
        state="blocked", attempts=8, reason=REFUSED, ended_at=None
    )
    Cascade.objects.filter(pk=failing.pk).update(state="waiting", attempts=3, reason=REFUSED)
    for batch, number in ((blocked.batch, 8), (failing.batch, 3)):
        for attempt in range(1, number + 1):
            FailedAttempt.objects.create(
                batch=batch, database="blog_db", attempt=attempt, deletions=1, reason=REFUSED
            )
    author("waiting").delete()
    heartbeats.record("worker1@application-7d9f8b6c5-x2x9q", using="default")
    actions.pause("shop_db", actor="otto", reason="index build", using="default")


def addresses() -> list[str]:
    """Return the address of every page, as the routes have them; of each deletion, one."""
    client, found = Client(), list[str]()
    client.force_login(User.objects.create_superuser("everywhere"))
    for pattern in urls(admin.site):
        name = f"admin:{pattern.name}"
        for arguments in _arguments(str(pattern.pattern)):
            address = reverse(name, kwargs=arguments) + QUERIES.get(name, "")
            response = client.get(address)
            if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                break
            assert response.status_code == HTTPStatus.OK, address
            if response["Content-Type"].startswith("text/html"):
                found.append(address)
    return found


def _arguments(route: str) -> list[dict[str, object]]:
    """Return arguments for that route."""
    values: dict[str, list[object]] = {
        "using": ["default"],
        "pk": [*Deletion.objects.values_list("pk", flat=True)],
        "kind": ["blocked"],
    }
    names = re.findall("<[a-z]+:([a-z]+)>", route)
    chosen = itertools.product(*(values[name] for name in names))
    return [dict(zip(names, each, strict=True)) for each in chosen]
