"""The admin of orders, whose customers live in another database, and of products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from apps.remote_user import RemoteUserAdmin, name_of

from .models import Category, Order, Product

if TYPE_CHECKING:
    ProductModelAdmin = admin.ModelAdmin[Product]
    CategoryModelAdmin = admin.ModelAdmin[Category]
else:
    ProductModelAdmin = CategoryModelAdmin = admin.ModelAdmin


@admin.register(Order)
class OrderAdmin(RemoteUserAdmin):
    """Orders, by number or customer."""

    user_field = "customer"
    list_display = ("order_number", "customer_name", "total", "created_at")
    list_filter = ("created_at",)
    search_fields = ("order_number",)
    autocomplete_fields = ("customer",)

    @admin.display(description="customer", ordering="customer_id")
    def customer_name(self, order: Order) -> str:
        """The customer's name, sorted by the key: a local column."""
        return name_of(order, "customer")


@admin.register(Product)
class ProductAdmin(ProductModelAdmin):
    """Products; their category lives beside them."""

    list_display = ("name", "price", "category__name")
    list_select_related = ("category",)
    search_fields = ("name", "category__name")
    autocomplete_fields = ("category",)


@admin.register(Category)
class CategoryAdmin(CategoryModelAdmin):
    """Categories of products."""

    list_display = ("name",)
    search_fields = ("name",)
