from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from mptt.models import MPTTModel, TreeForeignKey


class Folder(MPTTModel):
    owner = models.ForeignKey(User, models.CASCADE, db_constraint=False)
    parent = TreeForeignKey("self", models.CASCADE, null=True, related_name="children")
