"""Lists of deletions: by id, without gaps or doubles, however batches overlap and are split."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.utils import timezone

from apps.integrity.log import deletions as log_deletions
from apps.integrity.log import parts
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.report import limits, lists, receipts
from apps.integrity.report.deletion_counts import SUSPECT, deletion_counts
from apps.integrity.report.work import work_of
from tests import log_rows

if TYPE_CHECKING:
    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

LOGS = ("default", "test_lite")
PLACES = ("blog_db", "shop_db")
CASCADE_STATES = [*map(str, Cascade.State), *["kept"] * 4]
#: State of deletions → that of their cascades.
IN_CASCADES = {"dispatched": "pending", "cascaded": "done"}
STATES = ["", Cascade.State.BLOCKED, *Deletion.State]


def history(using: str, seed: int) -> None:
    """Two batches whose ids alternate, split at random into cascades of any state; and others."""
    chance = random.Random(seed)  # noqa: S311 (decides nothing)
    made = log_rows.make("auth.User", range(12), [], using=using)
    for group in (made[:9:2], made[1:9:2]):
        ids = [row.pk for row in group]
        Deletion.objects.using(using).filter(pk__in=ids).update(batch=ids[0])
        for database in PLACES:
            cut = chance.randrange(len(ids))
            for part in filter(None, (ids[:cut], ids[cut:])):
                of_state(chance.choice(CASCADE_STATES), ids[0], database, part, using)
    log_deletions.cancel([made[chance.randrange(9)].pk, made[9].pk], "a reason", using=using)


def of_state(state: str, batch: int, database: str, ids: list[int], using: str) -> None:
    over, now = state in log_rows.ENDED, timezone.now()
    Cascade.objects.using(using).create(
        batch=batch,
        database=database,
        parent="auth.User",
        deletions=ids,
        size=len(ids),
        state=state,
        recorded_at=now,
        dispatched_at=now,
        due_at=None if over or state == "blocked" else now,
        ended_at=now if over else None,
    )


def expected(state: str, using: str) -> list[int]:
    rows = Deletion.objects.using(using).order_by("-pk")
    if state == Cascade.State.BLOCKED:
        return [row.pk for row in rows if any(one.is_blocked for one in row.databases)]
    return [row.pk for row in rows if not state or row.state == state]


def listed(state: str, using: str) -> list[int]:
    """Ids on all pages of the list."""
    seen, before = list[int](), None
    for _ in range(500):
        page = lists.deletions(using=using, state=state, before=before)
        seen += [row.pk for row in page.rows]
        if page.older is None:
            return seen
        assert before is None or page.older < before
        before = page.older
    raise AssertionError("the list has no end")


@pytest.mark.parametrize("using", LOGS)
@pytest.mark.parametrize("bound", ["", "PAGE_CASCADES", "PAGE_LOOKED"])
def test_pages_have_neither_gaps_nor_doubles(
    monkeypatch: pytest.MonkeyPatch, using: str, bound: str
) -> None:
    """Whether the ids of a state's cascades are few enough to be sorted or not."""
    for name, value in {"PAGE_ROWS": 2, "PAGE_CHUNK": 2, "PAGE_IDS": 50}.items():
        monkeypatch.setattr(limits, name, value)
    if bound:
        monkeypatch.setattr(limits, bound, 1)
        monkeypatch.setattr(limits, "PAGE_IDS", 7)
    for seed in range(3):
        history(using, seed)
    for state in STATES:
        assert listed(state, using) == expected(state, using), state


@pytest.mark.parametrize("using", LOGS)
@pytest.mark.parametrize("state", [*lists._CASCADES])
def test_however_many_finished_before_them_the_first_page_has_the_newest(
    monkeypatch: pytest.MonkeyPatch, using: str, state: str
) -> None:
    for name, value in {"PAGE_CASCADES": 1, "PAGE_IDS": 5}.items():
        monkeypatch.setattr(limits, name, value)
    held = IN_CASCADES.get(state, state)
    oldest, _, newest, _ = (
        [row.pk for row in log_rows.make("auth.User", range(number), PLACES, state=of, using=using)]
        for number, of in ((4, held), (20, "verified"), (4, held), (20, "verified"))
    )
    assert [row.pk for row in lists.deletions(using=using, state=state).rows] == newest[::-1]
    page = lists.deletions(using=using, state=state, before=newest[0])
    assert [row.pk for row in page.rows] == ([] if state == "cancelled" else oldest[::-1])


def counts(using: str) -> dict[str, int]:
    """Return the numbers of deletions by state, but for zeros."""
    found = deletion_counts({using: work_of(using)})
    return {state: number for state, number in found.items() if number}


@pytest.mark.parametrize("using", LOGS)
def test_each_deletion_is_counted_once(using: str) -> None:
    for seed in range(8):
        history(using, seed)
        assert counts(using) == Counter(log_rows.states(using=using)), seed


def test_a_batch_that_is_cancelled_as_a_whole_is_counted_once() -> None:
    made = log_rows.make("auth.User", range(3), PLACES)
    log_rows.make("auth.User", ["other"], PLACES, state="verified")
    log_deletions.cancel([row.pk for row in made], "a reason", using="default")
    Suspect.objects.create(parent="auth.User", relation="blog.Post.author", value="7")
    assert counts("default") == {"cancelled": 3, "verified": 1, SUSPECT: 1}


def test_receipts_read_their_cascades_in_one_statement(captured: Captured) -> None:
    first, second = (log_rows.make("auth.User", [1, 2], PLACES) for _ in range(2))
    with transaction.atomic():
        some = Cascade.objects.filter(batch=first[0].pk)
        parts.separate(some, [first[0].pk], using="default", holder=False)
    with captured:
        found = receipts.receipts_of("auth.User", "1")
    assert {proof["deletion"]["id"] for proof in found} == {first[0].pk, second[0].pk}
    assert [[each["database"] for each in proof["cascades"]] for proof in found] == [[*PLACES]] * 2
    sent = [sql for sql in captured["default"] if "integrity_cascade" in sql]
    assert len(sent) == 1
    with captured:
        receipts.receipt_of(receipts.deletion(first[0].pk, using="default") or first[0])
    assert len([sql for sql in captured["default"] if "integrity_cascade" in sql]) == 1
