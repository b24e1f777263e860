"""Children, in `blog_db`."""

# ruff: noqa: D101, DJ008 - models for benchmarks; their names are enough

from __future__ import annotations

from typing import Any

from django.db import models

from benchmarks.schemas.parents.models import Account, FewMember, Guest, HalfMember, Member


def across(to: type[models.Model]) -> Any:
    """Return a foreign key to a parent in another database."""
    return models.ForeignKey(to, models.CASCADE, db_constraint=False, related_name="+")


class Post(models.Model):
    parent = across(Member)
    title = models.TextField()


class FewPost(models.Model):
    parent = across(FewMember)
    title = models.TextField()


class HalfPost(models.Model):
    parent = across(HalfMember)
    title = models.TextField()


class Note(models.Model):
    parent = across(Account)
    title = models.TextField()


class Visit(models.Model):
    parent = across(Guest)
    title = models.TextField()
