"""The app shop: a sample whose rows live in `shop_db`."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Label `shop`, which `settings.DATABASE_ROUTING_RULES` sends to `shop_db`."""

    name = "apps.shop"
    label = "shop"
