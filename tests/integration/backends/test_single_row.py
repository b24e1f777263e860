"""A row that is read by its primary key is the one that the ORM reads."""

from __future__ import annotations

import pytest
from django.forms.models import model_to_dict
from django.utils import timezone

from apps.integrity.backends.single_row import row_with_pk
from apps.integrity.models import ChildDatabase, Identity

pytestmark = pytest.mark.usefixtures("committed")


@pytest.mark.parametrize("using", ["default", "test_lite"])
def test_its_values_are_those_of_the_orm(using: str) -> None:
    columns = {"paused_at": timezone.now(), "step_rows": {"blog.Post.author": 7}, "reason": "%s'"}
    kept = ChildDatabase.objects.using(using).create(alias="b'%s", **columns)
    kept.refresh_from_db(using=using)
    ChildDatabase.objects.using(using).create(alias="another")
    found = row_with_pk(ChildDatabase, "b'%s", using=using)
    assert found is not None
    assert model_to_dict(found) == model_to_dict(kept)
    assert row_with_pk(ChildDatabase, "none", using=using) is None
    own = Identity.objects.using(using).create(alias="own")
    assert getattr(row_with_pk(Identity, "own", using=using), "uuid", None) == own.uuid
