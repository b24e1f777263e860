"""W019: which values people choose, so that a deleted one may be somebody else's tomorrow."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.core import checks
from django.db import models
from django.db.models.functions import Now

from apps.integrity import relations
from apps.integrity.checks import natural
from apps.integrity.relations import Catalogue, discovery, relation
from tests.kinds.left.models import Badge
from tests.kinds.parents.models import Restaurant, Token, Word


@pytest.mark.parametrize(
    ("field", "is_natural"),
    [
        (models.CharField(max_length=20), True),
        (models.CharField(max_length=20, default=""), True),
        (models.CharField(max_length=20, editable=False), True),
        (models.SlugField(), True),
        (models.EmailField(), True),
        (models.IntegerField(), True),
        (models.DateField(), True),
        (models.UUIDField(), True),
        (models.AutoField(primary_key=True), False),
        (models.BigAutoField(primary_key=True), False),
        (models.SmallAutoField(primary_key=True), False),
        (models.UUIDField(default=uuid.uuid4), False),
        (models.CharField(max_length=40, default=uuid.uuid4), False),
        (models.BigIntegerField(editable=False), False),
        (models.DateTimeField(db_default=Now()), False),
    ],
)
def test_what_people_choose_is_natural(field: Any, is_natural: bool) -> None:  # noqa: FBT001
    assert natural.is_natural(field) is is_natural


def test_keys_of_the_parents_of_these_tests() -> None:
    assert natural.is_natural(relation.primary_key(Word))
    assert not natural.is_natural(relation.primary_key(Token))
    assert not natural.is_natural(relation.primary_key(Restaurant))  # its parent's


def test_it_is_said_once_for_a_field_with_its_remedy() -> None:
    key: Any = Badge._meta.get_field("person")
    [warning] = [each for each in natural.chosen() if each.obj == key.target_field]
    assert (warning.id, warning.level) == ("integrity.W019", checks.WARNING)
    assert warning.msg.startswith("left.Badge.person refers to parents.Person.code, a value")
    assert 'capture.pending(Person, value, field="code")' in str(warning.hint)


def test_a_primary_key_is_asked_for_without_a_field() -> None:
    [warning] = [each for each in natural.chosen() if each.obj == relation.primary_key(Word)]
    assert "capture.pending(Word, value)." in str(warning.hint)


def test_the_sample_project_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    every = relations.catalogue().relations
    ours = Catalogue(tuple(each for each in every if each.label.startswith(("blog.", "shop."))))
    monkeypatch.setattr(discovery, "_known", [ours])
    assert natural.chosen() == []


def test_it_is_a_check_and_can_be_silenced(settings: Any) -> None:
    ids = [each.id for each in checks.run_checks(databases=[]) if each.id == "integrity.W019"]
    assert ids
    settings.SILENCED_SYSTEM_CHECKS = ["integrity.W019"]
    assert all(each.is_silenced() for each in checks.run_checks(databases=[]) if each.id in ids)
