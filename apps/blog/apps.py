"""The app blog: a sample whose rows live in `blog_db`."""

from __future__ import annotations

from django.apps import AppConfig


class BlogConfig(AppConfig):
    """Label `blog`, which `settings.DATABASE_ROUTING_RULES` sends to `blog_db`."""

    name = "apps.blog"
    label = "blog"
