"""What the admin says of other databases before a delete, and after it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity.contrib.admin import mixin
from apps.integrity.models import Deletion
from apps.integrity.report import limits, receipts
from apps.shop.models import Order
from tests.kinds.left.models import Protecting
from tests.kinds.parents.models import Guarded
from tests.kinds.right.models import Restricting

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpResponse

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

LIST = "admin:auth_user_changelist"


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def ann() -> User:
    return with_content("ann")


def with_content(name: str) -> User:
    """Two posts of theirs, one comment of theirs below a post of theirs, one order."""
    user = User.objects.create(username=name)
    post, _ = (Post.objects.create(title="t", content="c", author=user) for _ in range(2))
    Comment.objects.create(post=post, author=user, content="c")
    Order.objects.create(order_number=name, customer=user, total=1)
    return user


def page_of(user: User) -> str:
    return reverse("admin:auth_user_delete", args=[user.pk])


def lines(response: HttpResponse) -> list[str]:
    assert response.status_code == HTTPStatus.OK
    found = re.findall(r"<li>([^<]*)", response.content.decode())
    return [line.strip() for line in found]


def select(client: Client, users: list[User], **more: str) -> HttpResponse:
    keys = [str(each.pk) for each in users]
    data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: keys, **more}
    return client.post(reverse(LIST), data)


class TestBefore:
    def test_the_page_says_what_goes_elsewhere(self, client: Client, ann: User) -> None:
        found = lines(client.get(page_of(ann)))
        assert "Also in other databases:" in found
        assert "blog_db: 1 comment, 2 posts (CASCADE)" in found
        assert "shop_db: 1 order (CASCADE)" in found

    def test_so_does_the_page_of_a_selection(self, client: Client, ann: User) -> None:
        found = lines(select(client, [ann, with_content("bob")]))
        assert "blog_db: 2 comments, 4 posts (CASCADE)" in found
        assert "shop_db: 2 orders (CASCADE)" in found

    def test_of_a_large_selection_the_first_are_counted(
        self, client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mixin, "PREVIEWED_PARENTS", 1)
        found = lines(select(client, [ann, with_content("bob")]))
        assert "counted for the first 1 only" in found

    def test_nobody_counts_a_million_rows(
        self, client: Client, ann: User, monkeypatch: pytest.MonkeyPatch, captured: Captured
    ) -> None:
        monkeypatch.setattr(limits, "COUNT_MAX", 1)
        with captured:
            found = lines(client.get(page_of(ann)))
        assert "blog_db: 1 comment, 1+ posts (CASCADE)" in found
        counts = [sql for sql in captured["blog_db"] if "COUNT(" in sql]
        assert counts
        assert all("LIMIT 2" in sql for sql in counts)

    def test_who_has_nothing_elsewhere_reads_nothing_of_it(self, client: Client) -> None:
        found = lines(client.get(page_of(User.objects.create(username="empty"))))
        assert "Also in other databases:" not in found

    def test_a_database_that_is_down_is_said_so(
        self, client: Client, ann: User, refuse: Callable[[str], object]
    ) -> None:
        with refuse("blog_db"):
            found = lines(client.get(page_of(ann)))
            assert any(line.startswith("blog_db: cannot be counted now") for line in found)
            assert "shop_db: 1 order (CASCADE)" in found
            assert client.post(page_of(ann), {"post": "yes"}).status_code == HTTPStatus.FOUND
        assert not User.objects.filter(pk=ann.pk).exists()

    def test_nothing_is_counted_while_it_is_deleted(
        self, client: Client, ann: User, captured: Captured
    ) -> None:
        with captured:
            client.post(page_of(ann), {"post": "yes"})
        assert captured["blog_db"] == captured["shop_db"] == []


class TestAfter:
    def message(self, response: HttpResponse) -> str:
        return " | ".join(str(each) for each in response.context["messages"])

    def test_a_message_leads_to_the_deletion(self, client: Client, ann: User) -> None:
        told = self.message(client.post(page_of(ann), {"post": "yes"}, follow=True))
        deletion = Deletion.objects.get()
        link = reverse("admin:integrity_dashboard_deletion", args=["default", deletion.pk])
        assert "in blog_db and shop_db follows in the background" in told
        assert f'href="{link}"' in told
        assert client.get(link).status_code == HTTPStatus.OK

    def test_after_a_selection_to_their_list(self, client: Client, ann: User) -> None:
        bob = with_content("bob")
        data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [ann.pk, bob.pk], "post": "yes"}
        told = self.message(client.post(reverse(LIST), data, follow=True))
        assert "these 2 in blog_db and shop_db" in told
        assert reverse("admin:integrity_dashboard_deletions") + "?model=auth.User" in told

    def test_who_may_not_look_gets_no_link(self, ann: User) -> None:
        clerk = User.objects.create(username="clerk", is_staff=True)
        clerk.user_permissions.set(
            Permission.objects.filter(
                codename__in=[
                    "view_user",
                    *(f"delete_{name}" for name in ("user", "post", "comment", "order")),
                ]
            )
        )
        client = Client()
        client.force_login(clerk)
        told = self.message(client.post(page_of(ann), {"post": "yes"}, follow=True))
        assert "in other databases follows in the background" in told
        assert "href" not in told

    def test_a_role_that_cannot_read_the_log_deletes_all_the_same(
        self, client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(*_: object, **__: object) -> None:
            Deletion.objects.raw("SELECT no_such_column FROM integrity_deletion")[0]

        monkeypatch.setattr(receipts, "newest", denied)
        with pytest.raises(DatabaseError):
            denied()
        told = self.message(client.post(page_of(ann), {"post": "yes"}, follow=True))
        assert "href" not in told
        assert Deletion.objects.count() == 1
        assert not User.objects.filter(pk=ann.pk).exists()


@pytest.mark.urls("tests.kinds.admin_urls")
class TestProtected:
    LIST = "admin:parents_guarded_changelist"

    @pytest.fixture(params=[Protecting, Restricting], ids=["PROTECT", "RESTRICT"])
    def kind(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture
    def guarded(self, kind: Any) -> Guarded:
        guarded = Guarded.objects.create()
        kind.objects.create(guarded=guarded)
        return guarded

    def page(self, guarded: Guarded) -> str:
        return reverse("admin:parents_guarded_delete", args=[guarded.pk])

    def test_the_blockers_are_shown_as_django_shows_them(
        self, client: Client, guarded: Guarded, kind: Any
    ) -> None:
        for response in (
            client.get(self.page(guarded)),
            client.post(self.page(guarded), {"post": "yes"}),
        ):
            assert response.status_code == HTTPStatus.OK
            meta, blocker = kind._meta, kind.objects.get()
            link = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[blocker.pk])
            assert "protected related objects" in response.content.decode()
            assert link in response.content.decode()
        assert Guarded.objects.exists()

    def test_so_are_those_of_a_selection(self, client: Client, guarded: Guarded) -> None:
        data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [guarded.pk]}
        for more in ({}, {"post": "yes"}):
            response = client.post(reverse(self.LIST), {**data, **more})
            assert "protected related objects" in response.content.decode()
        assert Guarded.objects.exists()

    def test_a_database_that_cannot_be_asked_refuses_and_says_so(
        self, client: Client, guarded: Guarded, refuse: Callable[[str], object]
    ) -> None:
        data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [guarded.pk], "post": "yes"}
        with refuse("test_left"):
            for response in (
                client.get(self.page(guarded)),
                client.post(self.page(guarded), {"post": "yes"}),
                client.post(reverse(self.LIST), data),
            ):
                assert response.status_code == HTTPStatus.OK
                assert "cannot be asked" in response.content.decode()
        assert Guarded.objects.exists()

    def test_what_is_protected_in_between_is_a_message(
        self, client: Client, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The confirmation saw nobody, the delete meets somebody."""
        nothing = ([], {}, set(), [])
        monkeypatch.setattr(
            mixin.CrossDatabaseAdminMixin, "get_deleted_objects", lambda *_: nothing
        )
        data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [guarded.pk], "post": "yes"}
        for url, posted in ((self.page(guarded), {"post": "yes"}), (reverse(self.LIST), data)):
            response = client.post(url, posted)
            assert response.status_code == HTTPStatus.FOUND
            page = client.get(response["Location"])
            assert "Cannot delete some instances" in page.content.decode()
        assert Guarded.objects.exists()
