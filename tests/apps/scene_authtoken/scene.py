from __future__ import annotations

from typing import Any

from rest_framework.authtoken.models import Token

from .models import Device


def fill(user: Any) -> None:
    """A device and a token, whose key is not random here."""
    Device.objects.create(owner=user)
    Token.objects.create(user=user, key=f"{user.pk:040}")
