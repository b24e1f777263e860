"""The admin deletes users as ever, and what they wrote elsewhere follows."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.urls import reverse

from apps.blog.models import Post
from apps.integrity.models import Deletion
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Counter

    from django.test import Client

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

LIST = "admin:auth_user_changelist"


@pytest.fixture
def client(client: Client, committed: None) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def users() -> list[User]:
    users = [User.objects.create(username=f"user-{n}") for n in range(3)]
    for user in users:
        Post.objects.create(title="t", content="c", author=user)
        Order.objects.create(order_number=user.username, customer=user, total=1)
    return users


def action(client: Client, users: list[User], **more: str) -> int:
    data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [str(each.pk) for each in users]}
    return client.post(reverse(LIST), data | more).status_code


def test_looking_at_the_confirmation_page_deletes_nothing(
    client: Client, users: list[User], converge: Converge
) -> None:
    url = reverse("admin:auth_user_delete", args=[users[0].pk])
    assert client.get(url).status_code == HTTPStatus.OK
    assert action(client, users) == HTTPStatus.OK
    assert converge() == {}
    assert Deletion.objects.count() == 0
    assert (Post.objects.count(), Order.objects.count()) == (3, 3)


def test_the_delete_button(client: Client, users: list[User], converge: Converge) -> None:
    gone, *kept = users
    url = reverse("admin:auth_user_delete", args=[gone.pk])
    assert client.post(url, {"post": "yes"}).status_code == HTTPStatus.FOUND
    assert list(Deletion.objects.values_list("parent", "key")) == [("auth.User", str(gone.pk))]
    assert Post.objects.count() == 3
    assert converge() == {"blog.Post.author": 1, "shop.Order.customer": 1}
    assert {each.author for each in Post.objects.all()} == set(kept)


def test_the_delete_action(client: Client, users: list[User], converge: Converge) -> None:
    *gone, kept = users
    assert action(client, gone, post="yes") == HTTPStatus.FOUND
    assert Deletion.objects.count() == 2
    assert converge() == {"blog.Post.author": 2, "shop.Order.customer": 2}
    assert Post.objects.get().author == Order.objects.get().customer == kept
