"""What the admin says of other databases before a delete, and after it."""

from __future__ import annotations

import re
from html import unescape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError
from django.db.models import Max
from django.db.models.expressions import RawSQL
from django.test import Client
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity.contrib.admin import mixin, recorded
from apps.integrity.models import Deletion
from apps.integrity.report import limits
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


def address_in(message: str) -> str:
    (address,) = re.findall('href="([^"]*)"', message)
    return unescape(address)


def shown(client: Client, message: str) -> set[int]:
    """The deletions of the list that a message links to."""
    response = client.get(address_in(message))
    assert response.status_code == HTTPStatus.OK
    return {row.pk for row in response.context["page"].rows}


def deletions_of(*users: User) -> set[int]:
    keys = [str(user.pk) for user in users]
    return {*Deletion.objects.filter(key__in=keys).values_list("pk", flat=True)}


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

    def test_relations_of_one_model_read_apart(self, client: Client, ann: User) -> None:
        bob = User.objects.create(username="bob")
        Comment.objects.create(post=Post.objects.first(), author=bob, content="c")
        found = lines(client.get(page_of(ann)))
        own, under = (
            "1 comment whose author is this user",
            "1 comment whose post is one of those posts",
        )
        assert f"blog_db: {own}, 2 posts, {under} (CASCADE)" in found
        both = lines(select(client, [ann, User.objects.create(username="cid")]))
        assert f"blog_db: {own.replace('this user', 'one of these users')}" in " ".join(both)

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

    def test_after_a_selection_to_exactly_their_deletions(self, client: Client, ann: User) -> None:
        other, bob, cid = (with_content(name) for name in ("other", "bob", "cid"))
        other.delete()
        data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [ann.pk, bob.pk], "post": "yes"}
        told = self.message(client.post(reverse(LIST), data, follow=True))
        cid.delete()
        assert "these 2 in blog_db and shop_db" in told
        assert shown(client, told) == deletions_of(ann, bob)

    def test_of_thousands_the_address_stays_short(self, client: Client, ann: User) -> None:
        User.objects.bulk_create(User(username=f"u{n}") for n in range(3_000))
        data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [ann.pk], "post": "yes"}
        data |= {"select_across": "1"}
        ordinary = f"{reverse(LIST)}?is_superuser__exact=0"
        told = self.message(client.post(ordinary, data, follow=True))
        assert "these 3,001" in told
        assert len(address_in(told)) < 1_500
        page = client.get(address_in(told)).context["page"]
        assert len(page.rows) == limits.PAGE_ROWS

    def test_a_delete_that_records_nothing_is_no_success(
        self, client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As of an admin that marks rows as deleted. An older deletion of the key is not its."""
        Deletion.objects.create(parent="auth.User", key=str(ann.pk), source="api")
        monkeypatch.setattr(ModelAdmin, "delete_model", lambda *_: None)
        told = self.message(client.post(page_of(ann), {"post": "yes"}, follow=True))
        assert (
            "No deletion of it was recorded: what refers to it in blog_db and shop_db stays" in told
        )
        assert "href" not in told

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
        monkeypatch.setattr(recorded, "Max", lambda _: Max(RawSQL("no_such_column", [])))
        with pytest.raises(DatabaseError):
            recorded.Deletion.objects.aggregate(last=recorded.Max("pk"))
        told = self.message(client.post(page_of(ann), {"post": "yes"}, follow=True))
        assert "href" not in told
        assert Deletion.objects.count() == 1
        assert not User.objects.filter(pk=ann.pk).exists()


class TestPagesOfARow:
    """An id in an old address, or one that was used again, leads to its deletion."""

    def told(self, client: Client, key: object, page: str = "change") -> str:
        response = client.get(reverse(f"admin:auth_user_{page}", args=[key]), follow=True)
        assert response.status_code == HTTPStatus.OK
        return " | ".join(f"{each.level_tag} {each}" for each in response.context["messages"] or ())

    @pytest.mark.parametrize("page", ["change", "history", "delete"])
    def test_a_key_without_a_row(self, client: Client, ann: User, page: str) -> None:
        key = ann.pk
        ann.delete()
        told = self.told(client, key, page)
        assert "Perhaps it was deleted?" in told
        link = reverse(
            "admin:integrity_dashboard_deletion", args=["default", Deletion.objects.get().pk]
        )
        assert "It is recorded, and not over." in told
        assert f'href="{link}"' in told

    def test_a_key_that_was_used_again(
        self, client: Client, ann: User, converge: Callable[[], object]
    ) -> None:
        key = ann.pk
        assert not self.told(client, key)
        ann.delete()
        User.objects.create(pk=key, username="bob")
        assert self.told(client, key).startswith("warning A deletion of this key was recorded at 2")
        converge()
        assert self.told(client, key).startswith("info A deletion of this key was recorded at 2")

    def test_others_read_nothing_of_it_and_cost_nothing(
        self, ann: User, captured: Captured
    ) -> None:
        ann.delete()
        User.objects.create(pk=1_000_000, username="bob")
        Deletion.objects.update(key="1000000")
        clerk = User.objects.create(username="clerk", is_staff=True)
        clerk.user_permissions.set(Permission.objects.filter(codename="view_user"))
        client = Client()
        client.force_login(clerk)
        with captured:
            assert not self.told(client, 1_000_000)
        assert not [sql for sql in captured["default"] if "integrity_deletion" in sql]

    def test_who_may_look_pays_a_bounded_number_of_statements(
        self, client: Client, ann: User, captured: Captured
    ) -> None:
        Deletion.objects.bulk_create(
            Deletion(parent="auth.User", key=str(ann.pk), source="api") for _ in range(50)
        )
        with captured:
            assert self.told(client, ann.pk)
        found = [sql for sql in captured["default"] if 'FROM "integrity_deletion"' in sql]
        assert len(found) == 1
        assert "LIMIT 1" in found[0]

    def test_what_is_no_key_is_left_to_django(self, client: Client) -> None:
        assert "Perhaps it was deleted?" in self.told(client, "no-number")


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
