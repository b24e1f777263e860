from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from polymorphic.models import PolymorphicModel


class Item(PolymorphicModel):
    owner = models.ForeignKey(User, models.CASCADE, db_constraint=False)


class Book(Item):
    pages = models.IntegerField(default=1)


class Loan(PolymorphicModel):
    item = models.ForeignKey(Item, models.CASCADE)
    reader = models.ForeignKey(User, models.SET_NULL, null=True, db_constraint=False)
