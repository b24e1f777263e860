from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from safedelete.models import SOFT_DELETE_CASCADE, SafeDeleteModel


class Letter(SafeDeleteModel):
    _safedelete_policy = SOFT_DELETE_CASCADE

    author = models.ForeignKey(User, models.CASCADE, db_constraint=False)


class Stamp(SafeDeleteModel):
    letter = models.ForeignKey(Letter, models.CASCADE)
