"""A part of a claim's deletions goes another way than the others of their batch."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from apps.integrity import backends
from apps.integrity.backends.portable.log import PortableLog
from apps.integrity.log import claims, deletions, kept, outcomes, proofs
from apps.integrity.models import Cascade
from tests.log_rows import cascade_of, cascade_states, check_partitions, in_database, make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apps.integrity.log.values import Claim

DATABASE = "test_right"
LEAF = "right.Leaf.owner"

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(params=["PostgreSQL", "portable"], autouse=True)
def form(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, committed: None
) -> Iterator[None]:
    """Once in each form of the statements. However it ends, the parts are a partition."""
    if request.param == "portable":
        monkeypatch.setattr(backends, "log_backend", lambda _: PortableLog())
    yield
    check_partitions()


@pytest.fixture
def ids() -> list[int]:
    return [row.pk for row in make("parents.Owner", range(1, 9), [DATABASE])]


def claimed(limit: int = 100) -> Claim:
    found = claims.claim(DATABASE, using="default", limit=limit, lease_seconds=60)
    assert found is not None
    return found


def lease_over() -> None:
    Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))


def counts(ids: list[int], number: int = 1) -> dict[int, dict[str, int]]:
    return {pk: {LEAF: number} for pk in ids}


def counted() -> int:
    return sum(
        sum(rows.values())
        for cascade in Cascade.objects.all()
        for rows in (cascade.rows or {}).values()
    )


def test_a_part_of_a_claim_finishes_nothing_but_itself(ids: list[int]) -> None:
    claim = claimed()
    for part in (ids[:4], ids[4:6]):
        assert outcomes.finish(claim.only(part), counts(part), barrier=None) == part
    assert cascade_states() == ["done"] * 6 + ["running"] * 2
    assert counted() == 6


def test_a_part_of_a_claim_that_failed_postpones_nothing_but_itself(ids: list[int]) -> None:
    claim = claimed()
    outcomes.postpone(claim.only(ids[3:4]), "it fails", {LEAF: "it fails"})
    assert cascade_states() == ["running"] * 7 + ["waiting"]
    assert in_database("4", DATABASE).reason == "it fails"
    assert outcomes.finish(claim, counts(ids), barrier=None) == [*ids[:3], *ids[4:]]
    assert counted() == 7


def test_what_is_put_back_has_the_rows_of_its_own_deletions_only(ids: list[int]) -> None:
    claim = claimed()
    outcomes.finish(claim, counts(ids[:4]), barrier=None)
    outcomes.release(claim.with_rows(counts(ids, 2)))
    assert cascade_states() == ["done"] * 4 + ["pending"] * 4
    assert counted() == 4 + 4 * 2


def test_one_with_kept_rows_is_finished_with_the_others(ids: list[int]) -> None:
    claim = claimed()
    kept.note(claim, {ids[2]: {"left.Badge.person": 3}})
    assert sorted(outcomes.finish(claim, counts(ids), barrier=None)) == ids
    assert cascade_states() == ["done"] * 8
    assert in_database("3", DATABASE).kept == {"left.Badge.person": 3}
    assert in_database("4", DATABASE).kept == {}


def test_one_is_kept_and_the_others_are_finished(ids: list[int]) -> None:
    claim = claimed()
    assert kept.keep(claim.with_rows(counts(ids)), {ids[2]: {LEAF: 3}}) == [ids[2]]
    rest = [pk for pk in ids if pk != ids[2]]
    assert outcomes.finish(claim, counts(rest), barrier=None) == rest
    assert cascade_states() == ["done"] * 7 + ["kept"]
    assert (in_database("3", DATABASE).rows, counted()) == ({LEAF: 1}, 8)


def test_a_worker_whose_lease_is_over_ends_nothing_that_another_has_split(ids: list[int]) -> None:
    slow = claimed()
    lease_over()
    other = claimed(limit=4)
    assert len(other.deletions) == 2
    assert outcomes.finish(slow, counts(ids), barrier=None) == []
    assert cascade_states() == ["pending"] * 6 + ["running"] * 2
    assert outcomes.finish(other, counts(other.ids, 5), barrier=None) == other.ids
    assert counted() == 10


def test_a_worker_loses_the_cascade_of_which_a_part_was_cancelled(ids: list[int]) -> None:
    claim = claimed()
    assert deletions.cancel(ids[:1], "enough", using="default")
    assert outcomes.finish(claim, counts(ids), barrier=None) == []
    assert outcomes.renew(claim, lease_seconds=60) == 0
    assert cascade_states() == ["cancelled"] + ["pending"] * 7
    assert counted() == 0


def test_a_part_of_a_probe_is_reopened_and_the_others_are_verified(ids: list[int]) -> None:
    claim = claimed()
    outcomes.finish(claim, counts(ids), barrier=None)
    lease_over()
    probe = proofs.due_done(DATABASE, now=None, using="default", limit=100)
    assert probe is not None
    assert outcomes.reopen(probe, ids[:3], "rows came after the cascade") == 3
    assert kept.keep(probe, {ids[3]: {LEAF: 1}}) == [ids[3]]
    assert outcomes.verify(probe, ids[4:]) == 4
    assert cascade_states() == ["kept"] + ["pending"] * 3 + ["verified"] * 4
    assert cascade_of("8", DATABASE).due_at is None
    assert counted() == 8


def test_a_probe_whose_lease_is_over_verifies_nothing_that_another_has_split(
    ids: list[int],
) -> None:
    outcomes.finish(claimed(), counts(ids), barrier=None)
    lease_over()
    slow = proofs.due_done(DATABASE, now=None, using="default", limit=100)
    lease_over()
    other = proofs.due_done(DATABASE, now=None, using="default", limit=3)
    assert slow is not None
    assert other is not None
    outcomes.verify(other, other.ids)
    assert outcomes.verify(slow, ids[:1]) == 0
    assert cascade_states().count("verified") == len(other.deletions)
