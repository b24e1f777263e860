"""The app's place in the project."""

from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users of the project."""

    name = "apps.accounts"
