"""The admin of orders, whose customers live in another database, and of products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from apps.integrity.admin import CrossDatabaseAdminMixin

from .models import Category, Order, Product

if TYPE_CHECKING:
    OrderModelAdmin = admin.ModelAdmin[Order]
    ProductModelAdmin = admin.ModelAdmin[Product]
    CategoryModelAdmin = admin.ModelAdmin[Category]
else:
    OrderModelAdmin = ProductModelAdmin = CategoryModelAdmin = admin.ModelAdmin


@admin.register(Order)
class OrderAdmin(CrossDatabaseAdminMixin, OrderModelAdmin):
    """Orders, by number or customer."""

    list_display = ("order_number", "customer", "total", "created_at")
    list_filter = ("created_at",)
    search_fields = ("order_number", "customer__username", "customer__email")
    autocomplete_fields = ("customer",)


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
