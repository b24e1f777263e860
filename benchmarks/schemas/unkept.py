"""Settings with foreign keys across databases, but without the product."""

# ruff: noqa: F403 - as in bare.py

from __future__ import annotations

from . import bare
from .bare import *

INSTALLED_APPS = [*bare.INSTALLED_APPS, "apps.blog", "apps.shop"]
DATABASE_ROUTING_RULES = {"blog": "blog_db", "shop": "shop_db"}
