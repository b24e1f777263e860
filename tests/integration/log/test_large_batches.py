"""G8: what is done to batches in one transaction is bounded by their deletions."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import TYPE_CHECKING

import pytest
from django.db import connections, transaction
from django.utils import timezone

from apps.integrity.log import deletions, renames
from apps.integrity.log.parts import separate
from apps.integrity.log.renaming import Kind, Renaming
from apps.integrity.models import Cascade, Deletion
from apps.integrity.report import lists
from tests.log_rows import check_partitions, make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

#: A log on SQLite.
LITE = "test_lite"
DAYS = 30
#: More batches than one transaction takes, and the deletions of each.
BATCHES, SIZE = 60, 10


@pytest.fixture
def _few_parameters(committed: None) -> Iterator[None]:
    """A server that takes as many parameters as the deletions of one transaction, and some."""
    connections[LITE].ensure_connection()
    number = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER
    before = connections[LITE].connection.setlimit(number, 20 * SIZE + 10)
    yield
    connections[LITE].connection.setlimit(number, before)


def batches(parent: str, database: str) -> None:
    for number in range(BATCHES):
        keys = range(number * SIZE, (number + 1) * SIZE)
        make(parent, keys, [database], using=LITE)


@pytest.mark.usefixtures("_few_parameters")
def test_many_whole_batches_are_renamed() -> None:
    batches("auth.Gone", "shop_db")
    change = Renaming(kind=Kind.MODEL, old="auth.Gone", new="auth.User")
    assert renames.rename(change, using=LITE, apply=True) == BATCHES * SIZE
    for rows in (Cascade.objects.using(LITE), Deletion.objects.using(LITE)):
        assert {*rows.values_list("parent", flat=True)} == {"auth.User"}
    check_partitions(using=LITE)


def test_the_purge_counts_all_parts_of_a_batch(tune: Tune) -> None:
    """A small part of each batch ended first."""
    tune(retention_days=DAYS, purge_keys=3)
    early, late = (timezone.now() - dt.timedelta(days=DAYS + more) for more in (9, 1))
    for number in range(4):
        made = make("auth.User", range(number * 5, number * 5 + 5), ["shop_db"], state="verified")
        named = Cascade.objects.filter(batch=made[0].pk)
        with transaction.atomic():
            part, *_ = separate(named, [made[0].pk], using="default", holder=False)
        named.update(ended_at=late)
        named.filter(pk=part).update(ended_at=early)
    assert [deletions.purge(using="default") for _ in range(5)] == [5, 5, 5, 5, 0]
    assert not Cascade.objects.exists()


def test_what_ended_under_an_old_name_is_listed_under_the_new_one() -> None:
    (one,) = make("auth.Gone", [1], ["shop_db"], state="kept")
    change = Renaming(kind=Kind.MODEL, old="auth.Gone", new="auth.User")
    assert renames.rename_history(change, using="default", apply=False) == 1
    assert Cascade.objects.get().parent == "auth.Gone"
    assert renames.rename_history(change, using="default", apply=True) == 1
    page = lists.deletions(lists.Wanted(using="default", model="auth.User", shown="kept"))
    assert [row.pk for row in page.rows] == [one.pk]
