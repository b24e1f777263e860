from __future__ import annotations

from django.db import models
from safedelete.models import SOFT_DELETE_CASCADE, SafeDeleteModel

from .accounts.models import Account


class Parcel(SafeDeleteModel):
    _safedelete_policy = SOFT_DELETE_CASCADE

    account = models.ForeignKey(Account, models.CASCADE, db_constraint=False)


class Seal(SafeDeleteModel):
    parcel = models.ForeignKey(Parcel, models.CASCADE)
