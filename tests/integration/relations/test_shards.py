"""Parents in several databases: what is shown before a delete is what the delete then removes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client, RequestFactory
from django.urls import path, reverse

from apps.integrity.admin import DashboardAdmin
from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.models import Dashboard, Deletion
from apps.integrity.relations import discovery
from apps.integrity.report import preview
from tests.kinds.admin_urls import MixedAdmin
from tests.kinds.left.models import Badge, Invoice
from tests.kinds.parents.models import Person
from tests.kinds.right.models import Locker

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest
    from pytest_django.fixtures import Settings

pytestmark = pytest.mark.usefixtures("sharded")

FIRST, SECOND = "default", "test_left"
BADGE, INVOICE, LOCKER = "left.Badge.person", "left.Invoice.person", "right.Locker.person"


class Sharded:
    """Persons live in two databases; each is written where it is."""

    def databases_for(self, model: type[Model]) -> tuple[str, ...]:
        return (FIRST, SECOND) if model is Person else ()

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        row = hints.get("instance")
        return row._state.db if model is Person and isinstance(row, Person) else None


class ShardAdmin(MixedAdmin):
    """An admin of the second shard."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(SECOND)


class BadgeAdmin(MixedAdmin):
    """Searches in the parents."""

    search_fields = ("person__code",)


site = AdminSite(name="admin")
site.register(Person, ShardAdmin)
site.register(Dashboard, DashboardAdmin)
urlpatterns = [path("admin/", site.urls)]


@pytest.fixture
def sharded(committed: None, settings: Settings) -> Iterator[None]:
    routers = settings.DATABASE_ROUTERS
    with connections[SECOND].schema_editor() as editor:
        editor.create_model(Person)
    settings.DATABASE_ROUTERS = [f"{__name__}.Sharded", *routers]
    discovery.forget()
    yield
    settings.DATABASE_ROUTERS = routers
    discovery.forget()
    with connections[SECOND].schema_editor() as editor:
        editor.delete_model(Person)


@pytest.fixture(params=[FIRST, SECOND])
def home(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def person_in(home: str, code: str = "a") -> Person:
    """Two badges by their code, three invoices by their number, a locker by their key."""
    person = Person(code=code, number="1.50")
    person.save(using=home)
    Badge.objects.bulk_create(Badge(person_id=code) for _ in range(2))
    Invoice.objects.bulk_create(Invoice(person_id="1.50") for _ in range(3))
    Locker.objects.create(person_id=person.pk)
    return person


def test_the_preview_shows_what_the_delete_removes(
    home: str, converge: Callable[[], Counter[str]]
) -> None:
    person = person_in(home)
    effects = preview.preview_of("parents.Person", str(person.pk))
    shown = {each["relation"]: each["rows"] for each in effects}
    assert shown == {BADGE: 2, INVOICE: 3, LOCKER: 1}
    assert preview.exists("parents.Person", str(person.pk))
    person.delete()
    assert converge() == shown
    assert Deletion.objects.using(home).count() == 1


@pytest.mark.urls(__name__)
def test_the_page_of_the_admin_shows_it_and_links_to_the_deletion(
    converge: Callable[[], Counter[str]],
) -> None:
    client, person = Client(), person_in(SECOND)
    client.force_login(User.objects.create_superuser("root"))
    address = reverse("admin:parents_person_delete", args=[person.pk])
    found = re.findall(r"<li>([^<]*)", client.get(address).content.decode())
    assert "test_left: 2 badges, 3 invoices (CASCADE)" in [line.strip() for line in found]
    client.post(address, {"post": "yes"})
    deletion = Deletion.objects.using(SECOND).get()
    page = client.get(reverse("admin:parents_person_changelist")).content.decode()
    link = reverse("admin:integrity_dashboard_deletion", args=[SECOND, deletion.pk])
    assert link in page
    assert converge() == {BADGE: 2, INVOICE: 3, LOCKER: 1}


def test_a_search_finds_parents_in_each_shard(home: str) -> None:
    person_in(home)
    admin, request = BadgeAdmin(Badge, site), RequestFactory().get("/")
    rows, _ = admin.get_search_results(request, Badge.objects.all(), "a")
    assert rows.count() == 2


def test_a_preview_that_cannot_ask_each_shard_says_so(refuse: Callable[[str], Any]) -> None:
    person = person_in(FIRST)
    with refuse(SECOND), pytest.raises(DatabaseUnreachable):
        preview.preview_of("parents.Person", str(person.pk))
