"""The shop: its models, pages and admin, with customers in another database."""

from __future__ import annotations

from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.shop.models import Category, Order, Product

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db(databases=["default", "blog_db", "shop_db"])

ORDERS = "admin:shop_order_changelist"
MISSING = 987_654


@pytest.fixture
def ann() -> User:
    return User.objects.create(username="ann", email="ann@example.org")


@pytest.fixture
def order(ann: User) -> Order:
    return Order.objects.create(order_number="ORD-001", customer=ann, total=Decimal("99.99"))


@pytest.fixture
def orphan() -> Order:
    return Order.objects.create(order_number="ORD-404", customer_id=MISSING, total=Decimal(1))


def test_rows_live_in_shop_db_and_their_customer_in_default(order: Order, ann: User) -> None:
    found = Order.objects.get(pk=order.pk)
    assert found._state.db == "shop_db"
    assert found.customer._state.db == "default"
    assert list(ann.orders.all()) == [order]
    assert connections["shop_db"].introspection.table_names() == [
        "django_migrations", "integrity_finding", "integrity_identity", "integrity_tally",
        "shop_category", "shop_order", "shop_product",
    ]  # fmt: skip


class TestOrders:
    @pytest.mark.usefixtures("order", "orphan")
    def test_users_see_their_own(self, client: Client, ann: User) -> None:
        client.force_login(ann)
        page = client.get("/shop/orders/").content.decode()
        assert "ORD-001" in page
        assert "ORD-404" not in page

    def test_strangers_log_in_first(self, client: Client) -> None:
        assert client.get("/shop/orders/")["Location"].startswith(reverse("login"))


class TestAdmin:
    @pytest.fixture
    def admin_client(self, client: Client) -> Client:
        client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
        return client

    @pytest.mark.usefixtures("order", "orphan")
    def test_the_list_names_customers_and_shows_orphans(self, admin_client: Client) -> None:
        page = admin_client.get(reverse(ORDERS)).content.decode()
        assert ">ann<" in page
        assert f">{MISSING} (missing)<" in page

    @pytest.mark.usefixtures("order")
    def test_the_list_costs_the_same_for_many_rows(self, admin_client: Client) -> None:
        def count() -> tuple[int, int]:
            with (
                CaptureQueriesContext(connections["default"]) as default,
                CaptureQueriesContext(connections["shop_db"]) as shop,
            ):
                assert admin_client.get(reverse(ORDERS)).status_code == HTTPStatus.OK
            return len(default), len(shop)

        few = count()
        for number in range(20):
            customer = User.objects.create(username=f"user{number}")
            Order.objects.create(order_number=f"N{number}", customer=customer, total=Decimal(1))
        assert count() == few

    @pytest.mark.parametrize("column", ["1", "2", "3", "4", "-2"])
    @pytest.mark.usefixtures("order", "orphan")
    def test_the_list_can_be_sorted_by_every_column(
        self, admin_client: Client, column: str
    ) -> None:
        assert admin_client.get(reverse(ORDERS), {"o": column}).status_code == HTTPStatus.OK

    @pytest.mark.parametrize(
        ("term", "found"),
        [("001", ["ORD-001"]), ("ann", ["ORD-001"]), ("bob", []), ("404", ["ORD-404"])],
    )
    @pytest.mark.usefixtures("order", "orphan")
    def test_search_finds_by_number_and_by_customer(
        self, admin_client: Client, term: str, found: list[str]
    ) -> None:
        response = admin_client.get(reverse(ORDERS), {"q": term})
        assert [row.order_number for row in response.context["cl"].result_list] == found

    @pytest.mark.parametrize("fixture", ["order", "orphan"])
    def test_an_order_is_opened_and_deleted(
        self, admin_client: Client, request: pytest.FixtureRequest, fixture: str
    ) -> None:
        key = request.getfixturevalue(fixture).pk
        change = reverse("admin:shop_order_change", args=[key])
        assert admin_client.get(change).status_code == HTTPStatus.OK
        delete = reverse("admin:shop_order_delete", args=[key])
        assert admin_client.get(delete).status_code == HTTPStatus.OK
        assert admin_client.post(delete, {"post": "yes"}).status_code == HTTPStatus.FOUND
        assert not Order.objects.exists()

    def test_selected_orders_are_deleted(
        self, admin_client: Client, order: Order, orphan: Order
    ) -> None:
        data = {"action": "delete_selected", "_selected_action": [order.pk, orphan.pk]}
        assert admin_client.post(reverse(ORDERS), data).status_code == HTTPStatus.OK
        admin_client.post(reverse(ORDERS), data | {"post": "yes"})
        assert not Order.objects.exists()

    @pytest.mark.usefixtures("order")
    def test_a_customer_with_orders_is_deleted(self, admin_client: Client, ann: User) -> None:
        url = reverse("admin:auth_user_delete", args=[ann.pk])
        assert admin_client.get(url).status_code == HTTPStatus.OK
        assert admin_client.post(url, {"post": "yes"}).status_code == HTTPStatus.FOUND
        assert not User.objects.filter(pk=ann.pk).exists()

    def test_products_and_categories_are_listed_searched_and_deleted(
        self, admin_client: Client
    ) -> None:
        books = Category.objects.create(name="Books")
        Product.objects.create(name="Atlas", price=Decimal(20), category=books)
        for model in ("product", "category"):
            url = reverse(f"admin:shop_{model}_changelist")
            page = admin_client.get(url, {"q": "Books"})
            assert page.context["cl"].result_count == 1
        delete = reverse("admin:shop_category_delete", args=[books.pk])
        assert admin_client.get(delete).status_code == HTTPStatus.OK
        admin_client.post(delete, {"post": "yes"})
        assert not Product.objects.exists()
