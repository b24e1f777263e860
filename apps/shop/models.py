"""Orders and products: rows of `shop_db`; customers are users of `default`."""

# The models stand as their documentation prints them.
# ruff: noqa: D101, DJ008, Q000
# fmt: off

from django.contrib.auth import get_user_model
from django.db import models

User = get_user_model()


class Order(models.Model):
    order_number = models.CharField(max_length=50, unique=True)

    # Cross-database ForeignKey to User
    customer = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        related_name='orders',
        db_constraint=False  # REQUIRED
    )

    total = models.DecimalField(max_digits=10, decimal_places=2)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = 'shop_order'


class Product(models.Model):
    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=10, decimal_places=2)

    # Same database - no db_constraint=False needed
    category = models.ForeignKey(
        'Category',
        on_delete=models.CASCADE,
    )


class Category(models.Model):
    name = models.CharField(max_length=200)

    class Meta:
        verbose_name_plural = 'categories'
