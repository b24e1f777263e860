"""The brake says the same wherever it is asked: repair, command, pages, metrics, alarms."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from apps.integrity import cascade, relations, scan
from apps.integrity.checks import doctor
from apps.integrity.models import Identity
from apps.integrity.report import limits, metrics, overview, scans, status
from apps.integrity.scan import repair
from tests.kinds.left.models import Profile
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

LEAF, PROFILE = "right.Leaf.owner", "left.Profile.owner"
BASE = 1_000_000


@pytest.fixture
def orphans() -> Callable[[int], None]:
    """That many leaves without owners among ten that have them, seen by a scan."""

    def make(number: int) -> None:
        Leaf.objects.bulk_create(
            Leaf(owner=owner) for owner in Owner.objects.bulk_create(Owner() for _ in range(10))
        )
        Leaf.objects.bulk_create(Leaf(owner_id=BASE + n) for n in range(number))
        scan.scan("test_right", labels=[LEAF])

    return make


def told() -> str:
    """Return what the repair says of it; the report has to agree, at every place that shows it."""
    reason = repair.outlook(relations.catalogue().relation(LEAF)).brake
    seen = {LEAF: reason} if reason else {}
    assert {row["relation"]: row["brake"] for row in scans.scan_rows() if row["brake"]} == seen
    assert dict(overview.collect_overview().brakes) == seen
    _, faults = status.of_log("default")  # what the alarms look at
    assert {each.subject: each.cause for each in faults if each.kind == "brake"} == seen
    gauge = f'integrity_brake_engaged{{relation="{LEAF}"}} {float(bool(reason))}'
    assert gauge in metrics.exposition().decode()
    checks = [each for each in doctor.examine(None) if each.name == f"brake {LEAF}"]
    assert [each.ok for each in checks] == [not reason]
    return reason


def test_few_orphans(orphans: Callable[[int], None]) -> None:
    orphans(3)
    assert told() == ""


def test_an_absurd_share(orphans: Callable[[int], None], tune: Tune) -> None:
    tune(brake_keys=2)
    orphans(3)
    assert told().startswith("3 of 13 keys have no parent")


def test_an_empty_table_of_parents(orphans: Callable[[int], None]) -> None:
    orphans(3)
    Owner.objects.all()._raw_delete("default")
    assert told() == "the parent's table is empty"


def test_another_identity(orphans: Callable[[int], None]) -> None:
    orphans(3)
    Identity.objects.filter(alias="default").update(uuid=uuid.uuid4())
    cascade.drain("test_right")
    assert told().startswith("paused: it belongs to another database")


def test_more_suspects_than_a_page_counts(
    orphans: Callable[[int], None], tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one relation hide no other's, and counting stops above what the brake tolerates."""
    tune(brake_keys=20, brake_share=0.001)
    Profile.objects.bulk_create(Profile(owner_id=BASE + n) for n in range(5))
    scan.scan("test_left", labels=[PROFILE])
    orphans(30)
    monkeypatch.setattr(limits, "COUNT_MAX", 3)
    assert told().startswith("30 of 40 keys have no parent")
    assert overview.collect_overview().missing_parents > limits.COUNT_MAX
