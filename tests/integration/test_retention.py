"""What ended long ago leaves the log, in batches; what is not over never does."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from apps.integrity import log
from apps.integrity.models import Cascade, Deletion

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

DAYS = 30


@pytest.fixture(autouse=True)
def _retention(tune: Tune) -> None:
    tune(retention_days=DAYS, purge_keys=3)


def deletion(state: str, *, days: float, key: str = "1", using: str = "default") -> Deletion:
    """With one cascade, recorded so many days ago."""
    at = timezone.now() - dt.timedelta(days=days)
    made = Deletion.objects.using(using).create(
        parent="auth.User", key=key, state=state, recorded_at=at
    )
    Cascade.objects.using(using).create(deletion=made, database="shop_db", recorded_at=at)
    return made


def kept(using: str = "default") -> list[str]:
    return sorted(Deletion.objects.using(using).values_list("key", flat=True))


@pytest.mark.parametrize("using", ["default", "test_lite"])
@pytest.mark.parametrize("state", ["verified", "cancelled"])
def test_what_ended_before_the_retention_goes_with_its_cascades(state: str, using: str) -> None:
    deletion(state, days=DAYS + 1, key="old", using=using)
    deletion(state, days=DAYS - 1, key="young", using=using)
    assert log.purge(using=using) == 1
    assert kept(using) == ["young"]
    assert Cascade.objects.using(using).values_list("deletion__key").get() == ("young",)
    assert log.purge(using=using) == 0


@pytest.mark.parametrize("state", ["suspect", "recorded", "dispatched", "cascaded"])
def test_what_is_not_over_stays_however_old_it_is(state: str) -> None:
    deletion(state, days=1_000)
    assert log.purge(using="default") == 0
    assert (Deletion.objects.count(), Cascade.objects.count()) == (1, 1)


def test_one_call_purges_at_most_a_batch_the_oldest_first() -> None:
    for number in range(7):
        deletion("verified", days=DAYS + 100 - number, key=str(number))
    assert log.purge(using="default") == 3
    assert kept() == ["3", "4", "5", "6"]
    assert [log.purge(using="default") for _ in range(3)] == [3, 1, 0]
    assert not Cascade.objects.exists()


def test_each_log_is_purged_for_itself() -> None:
    deletion("verified", days=DAYS + 1, using="test_left")
    assert log.purge(using="default") == 0
    assert kept("test_left") == ["1"]


def test_what_somebody_just_reads_under_a_lock_is_passed_over_without_waiting(locked: Any) -> None:
    for key in ("held", "free"):
        deletion("verified", days=DAYS + 1, key=key)
    with locked(Deletion.objects.filter(key="held")):
        assert log.purge(using="default") == 1
        assert kept() == ["held"]
    assert log.purge(using="default") == 1


def test_two_at_once_purge_everything_once(at_once: Callable[..., list[int]]) -> None:
    for number in range(12):
        deletion("verified", days=DAYS + 1, key=str(number))

    def all_of_it() -> int:
        total = 0
        while number := log.purge(using="default"):
            total += number
        return total

    numbers = at_once(all_of_it, all_of_it)
    assert sum(numbers) + log.purge(using="default") == 12
    assert (Deletion.objects.count(), Cascade.objects.count()) == (0, 0)
