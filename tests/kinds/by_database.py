# ruff: noqa: DJ008 (nobody looks at these rows)
"""Keys that a constraint carries out, which Django has since 6.1. Else nothing is here."""

from __future__ import annotations

from django.db import models

#: The parent of the rows whose database sets a default.
SPARE = 901

if hasattr(models, "DB_CASCADE"):

    class Hive(models.Model):
        """Parent of a tree that its database deletes."""

        class Meta:
            app_label = "parents"

    class Comb(models.Model):
        hive = models.ForeignKey(Hive, models.CASCADE, db_constraint=False, related_name="+")

        class Meta:
            app_label = "left"

    class Cell(models.Model):
        comb = models.ForeignKey(Comb, models.DB_CASCADE)

        class Meta:
            app_label = "left"

    class Egg(models.Model):
        cell = models.ForeignKey(Cell, models.DB_CASCADE)

        class Meta:
            app_label = "left"

    class Drone(models.Model):
        comb = models.ForeignKey(Comb, models.DB_SET_NULL, null=True)

        class Meta:
            app_label = "left"

    class Helper(models.Model):
        comb = models.ForeignKey(Comb, models.DB_SET_DEFAULT, db_default=SPARE)

        class Meta:
            app_label = "left"

    class Firm(models.Model):
        """Nothing elsewhere points to it."""

        class Meta:
            app_label = "parents"

    class Clerk(models.Model):
        """A parent that its database deletes."""

        firm = models.ForeignKey(Firm, models.DB_CASCADE)

        class Meta:
            app_label = "parents"

    class Memo(models.Model):
        clerk = models.ForeignKey(Clerk, models.CASCADE, db_constraint=False, related_name="+")

        class Meta:
            app_label = "left"

    class Keeper(models.Model):
        """Parent of keys that no constraint can carry out: they lead to another database."""

        class Meta:
            app_label = "parents"

    class Supervised(models.Model):
        cascading = models.ForeignKey(
            Keeper, models.DB_CASCADE, db_constraint=False, related_name="+"
        )
        emptied = models.ForeignKey(
            Keeper, models.DB_SET_NULL, db_constraint=False, related_name="+", null=True
        )
        reset = models.ForeignKey(
            Keeper, models.DB_SET_DEFAULT, db_constraint=False, related_name="+", db_default=SPARE
        )

        class Meta:
            app_label = "left"
