from __future__ import annotations

from typing import Any

import reversion

from .models import Draft


def fill(user: Any) -> None:
    """A draft with a version."""
    with reversion.create_revision():
        Draft.objects.create(author=user)
        reversion.set_user(user)
