from __future__ import annotations

from typing import Any

import reversion
from django.db import router

from .models import Sketch


def fill(user: Any) -> None:
    """A sketch with a version, beside it."""
    using = router.db_for_write(Sketch)
    with reversion.create_revision(using=using):
        Sketch.objects.create(author=user)
        reversion.set_user(user)
