from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from safedelete.models import SOFT_DELETE_CASCADE, SafeDeleteModel


class Account(SafeDeleteModel):
    _safedelete_policy = SOFT_DELETE_CASCADE

    owner = models.ForeignKey(User, models.CASCADE)
