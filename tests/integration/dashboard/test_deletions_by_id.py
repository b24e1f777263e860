"""The list of deletions, of some ids."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.integrity.contrib.admin import recorded
from apps.integrity.models import Deletion
from apps.integrity.report import limits

if TYPE_CHECKING:
    from django.http import HttpResponse

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def deletions(number: int) -> list[int]:
    rows = (Deletion(parent="auth.User", key=str(n), source="api") for n in range(number))
    Deletion.objects.bulk_create(rows)
    return [*Deletion.objects.order_by("pk").values_list("pk", flat=True)]


def listed(client: Client, query: str) -> HttpResponse:
    response = client.get(f"{reverse('admin:integrity_dashboard_deletions')}?{query}")
    assert response.status_code == HTTPStatus.OK
    return response


def shown(response: HttpResponse) -> list[int]:
    return [row.pk for row in response.context["page"].rows]


def test_only_those_are_listed_page_by_page(client: Client) -> None:
    ids = deletions(90)
    wanted = [*ids[10:75], ids[80]]
    query, found = f"log=default&ids={ids[10]}-{ids[74]},{ids[80]}", list[int]()
    while query:
        response = listed(client, query)
        found += shown(response)
        query = response.context["older"]
    assert found == wanted[::-1]


def test_together_with_the_other_filters(client: Client) -> None:
    ids = deletions(5)
    Deletion.objects.filter(pk=ids[1]).update(cancelled_at="2026-01-01T00:00:00Z")
    some = f"ids={ids[0]}-{ids[2]}"
    assert shown(listed(client, f"{some}&state=cancelled")) == [ids[1]]
    assert shown(listed(client, f"{some}&state=recorded")) == [ids[2], ids[0]]
    assert shown(listed(client, f"{some}&key=2")) == [ids[2]]
    assert shown(listed(client, f"{some}&key=4")) == []


def test_what_is_no_list_of_ids_is_said(client: Client) -> None:
    deletions(1)
    response = listed(client, "ids=1;DROP")
    assert "These are not ids" in response.content.decode()
    assert response.context["page"] is None


def test_the_deletions_of_others_meanwhile_are_not_taken_for_ones_own(client: Client) -> None:
    deletions(3)
    newest = recorded.newest_ids(User)
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    keys = {user.pk: user.delete() for user in (ann, bob) if user.pk}
    assert len(keys) == 2
    first, second = keys
    own = Deletion.objects.get(key=str(first), pk__gt=newest["default"] if newest else 0)
    assert recorded.recorded_since(newest, User, [first]) == {"default": [own.pk]}
    assert recorded.recorded_since(None, User, [second]) is None


def test_old_ones_are_found_at_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_IDS", 10)
    ids = deletions(50)
    assert shown(listed(client, f"ids={ids[0]}-{ids[3]}")) == ids[3::-1]
