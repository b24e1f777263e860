"""Lists of deletions: by id, without gaps or doubles, however batches overlap and are split."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from apps.integrity.log import deletions as log_deletions
from apps.integrity.log import parts
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.report import limits, lists, overview, receipts
from apps.integrity.report.deletion_counts import SUSPECT, deletion_counts
from apps.integrity.report.filters import Shown
from apps.integrity.report.work import work_of
from tests import log_rows, superuser

if TYPE_CHECKING:
    from apps.integrity.models.outcome import InDatabase
    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

LOGS = ("default", "test_lite")
PLACES = ("blog_db", "shop_db")
CASCADE_STATES = [*map(str, Cascade.State), *["kept"] * 4]
SHOWN = ["", *Shown]
LONG_AGO = timezone.now() - dt.timedelta(days=2)


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
        attempts=len(ids) % 3,
        recorded_at=now,
        dispatched_at=now,
        due_at=None if over or state == "blocked" else now + dt.timedelta(hours=1),
        ended_at=now if over else None,
    )


def in_one(shown: str, one: InDatabase) -> bool:
    """What each filter promises of one child database."""
    kept = one.kept_at is not None and one.acknowledged_at is None
    return {
        "": True,
        "recorded": False,
        "pending": one.state == "pending",
        "working": one.state == "running",
        "failing": one.state == "waiting" or (one.state == "running" and one.attempts > 1),
        "waiting": one.state == "waiting" and one.attempts == 0,
        "blocked": one.state == "blocked",
        "unproven": one.state == "done",
        "late": one.state in {"pending", "running", "waiting", "blocked"},
        "kept": one.state == "kept" or kept,
        "cancelled": one.state == "cancelled",
        "verified": one.state == "verified",
    }[shown]


def expected(shown: str, database: str, using: str) -> list[int]:
    """Ids of the filter, the newest first, from all rows of the log."""
    found = list[int]()
    for row in Deletion.objects.using(using).order_by("-pk"):
        fitting = [one for one in row.databases if database in {"", one.database}]
        alone = {
            "": True,
            "recorded": row.state == "recorded",
            "late": row.state == "recorded",
            "cancelled": row.cancelled_at is not None,
            "verified": row.state == "verified",
        }
        if not database and shown in {"", "recorded", "verified"}:
            wanted = alone[shown]
        else:
            wanted = any(in_one(shown, one) for one in fitting)
            wanted = wanted or (not database and alone.get(shown, False))
        found += [row.pk] if wanted else []
    return found


def pages(wanted: lists.Wanted, link: str) -> list[list[int]]:
    """Ids on the page that is wanted, and on those that follow by its link."""
    found = list[list[int]]()
    for _ in range(500):
        page = lists.deletions(wanted)
        found.append([row.pk for row in page.rows])
        there = getattr(page, link)
        if there is None:
            return found
        at = {"before" if link == "older" else "after": there}
        place = lists.Place(**at, oldest_first=wanted.place.oldest_first)
        assert place != wanted.place
        wanted = dataclasses.replace(wanted, place=place)
    raise AssertionError("the list has no end")


def listed(wanted: lists.Wanted) -> list[int]:
    """Ids on all pages, in either direction from the first one."""
    forth, back = "older", "newer"
    if wanted.place.oldest_first:
        forth, back = back, forth
    rest, other = pages(wanted, forth), pages(wanted, back)
    return [pk for page in [*other[:0:-1], *rest] for pk in page]


@pytest.mark.parametrize("using", LOGS)
@pytest.mark.parametrize("bound", ["", "PAGE_CASCADES", "PAGE_LOOKED", "COUNT_MAX"])
def test_pages_have_neither_gaps_nor_doubles(
    monkeypatch: pytest.MonkeyPatch, using: str, bound: str
) -> None:
    """Whether the ids of a filter are few enough to be sorted or not."""
    for name, value in {"PAGE_ROWS": 2, "PAGE_CHUNK": 2, "PAGE_IDS": 50}.items():
        monkeypatch.setattr(limits, name, value)
    if bound:
        monkeypatch.setattr(limits, bound, 1)
        monkeypatch.setattr(limits, "PAGE_IDS", 7)
    for seed in range(2):
        history(using, seed)
    Deletion.objects.using(using).update(recorded_at=LONG_AGO)
    Cascade.objects.using(using).update(recorded_at=LONG_AGO)
    for shown in SHOWN:
        for database in ("", "blog_db"):
            newest_first = expected(shown, database, using)
            wanted = lists.Wanted(using=using, shown=shown, database=database)
            assert listed(wanted) == newest_first, (shown, database)
            wanted = dataclasses.replace(wanted, place=lists.Place(oldest_first=True))
            assert listed(wanted) == newest_first[::-1], (shown, database)
            total = lists.deletions(wanted).total
            assert total in {None, min(len(newest_first), limits.COUNT_MAX + 1)}
            if not bound and (shown not in {"", "verified"} or not (shown or database)):
                assert total == len(newest_first)


def test_the_list_behind_a_number_of_a_card_has_as_many() -> None:
    for seed in range(4):
        history("default", seed)
    running = Cascade.objects.filter(state="running")
    running.filter(database="blog_db").update(attempts=1, failing={"a relation": "why"})
    running.filter(database="shop_db").update(attempts=2)
    cards = {card["database"]: card for card in overview.collect_overview().cards}
    for database in PLACES:
        for shown in ("failing", "blocked", "unproven", "kept"):
            wanted = lists.Wanted(using="default", shown=shown, database=database)
            number = cards[database][shown]
            if shown == "kept":  # a card counts what is not acknowledged, and no other
                kept = Cascade.objects.filter(Cascade.UNACKNOWLEDGED, database=database)
                assert number == sum(kept.values_list("size", flat=True))
            else:
                assert lists.deletions(wanted).total == number, (database, shown)


@pytest.mark.parametrize("using", LOGS)
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_page_leads_back_to_where_it_came_from(
    monkeypatch: pytest.MonkeyPatch, using: str, order: str
) -> None:
    oldest_first = order == "oldest"
    monkeypatch.setattr(limits, "PAGE_ROWS", 2)
    ids = [row.pk for row in log_rows.make("auth.User", range(7), ["blog_db"], using=using)]
    forth, back = ("newer", "older") if oldest_first else ("older", "newer")
    for shown in ("", "pending", "late"):
        place = lists.Place(oldest_first=oldest_first)
        wanted = lists.Wanted(using=using, shown=shown, place=place)
        if shown == "late":
            Deletion.objects.using(using).update(recorded_at=LONG_AGO)
        ahead = pages(wanted, forth)
        assert [pk for page in ahead for pk in page] == (ids if oldest_first else ids[::-1])
        at = {"after": ids[5]} if oldest_first else {"before": ids[1]}
        last = dataclasses.replace(wanted, place=dataclasses.replace(place, **at))
        assert pages(last, back) == [[ids[6 if oldest_first else 0]], *ahead[2::-1]]


@pytest.mark.parametrize("using", LOGS)
@pytest.mark.parametrize(
    "shown", ["pending", "unproven", "kept", "cancelled", "blocked", "failing"]
)
def test_however_many_finished_before_them_the_first_page_has_the_newest(
    monkeypatch: pytest.MonkeyPatch, using: str, shown: str
) -> None:
    for name, value in {"PAGE_CASCADES": 1, "PAGE_IDS": 5}.items():
        monkeypatch.setattr(limits, name, value)
    held = {"unproven": "done", "failing": "waiting"}.get(shown, shown)
    _, _, newest, _ = (
        [
            row.pk
            for row in log_rows.make(
                "auth.User", range(number), PLACES, state=of, using=using, attempts=1
            )
        ]
        for number, of in ((4, held), (20, "verified"), (4, held), (20, "verified"))
    )
    page = lists.deletions(lists.Wanted(using=using, shown=shown))
    assert [row.pk for row in page.rows] == newest[::-1]


@pytest.mark.parametrize("using", LOGS)
def test_by_age_it_lists_what_was_recorded_before(using: str) -> None:
    old = log_rows.make("auth.User", range(5), PLACES, using=using, recorded_at=LONG_AGO)
    log_rows.make("auth.User", range(5), PLACES, using=using)
    for shown in ("", "pending"):
        wanted = lists.Wanted(using=using, shown=shown, age=3_600)
        assert listed(wanted) == [row.pk for row in old][::-1]
        assert lists.deletions(wanted).total == 5
    assert listed(lists.Wanted(using=using, shown="late")) == [row.pk for row in old][::-1]
    assert lists.deletions(lists.Wanted(using=using, age=10**8)).rows == []


@pytest.mark.parametrize("using", LOGS)
def test_filters_go_together(using: str) -> None:
    wanted = log_rows.make("auth.User", ["7"], ["shop_db"], state="blocked", using=using)
    log_rows.make("auth.User", ["7"], ["blog_db"], state="blocked", using=using)
    log_rows.make("auth.User", ["7", "8"], ["shop_db"], using=using)
    log_rows.make("auth.Customer", ["7"], ["shop_db"], state="blocked", using=using)
    chosen = lists.Wanted(
        using=using, model="auth.User", key="7", shown="blocked", database="shop_db"
    )
    page = lists.deletions(chosen)
    assert [row.pk for row in page.rows] == [row.pk for row in wanted]
    assert page.total == 1
    by_state = lists.deletions(dataclasses.replace(chosen, key=""))
    assert [row.pk for row in by_state.rows] == [row.pk for row in wanted]


@pytest.mark.postgresql
@pytest.mark.usefixtures("new_log")
def test_a_page_reads_indexes_to_a_bound_however_long_the_log_is(
    captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the statistics of a new log, and with those of a large one."""
    monkeypatch.setattr(limits, "PAGE_CASCADES", 200)
    monkeypatch.setattr(limits, "COUNT_MAX", 200)
    log_rows.make("auth.Customer", range(20_000), PLACES, apart=True, state="verified")
    for state in ("pending", "running", "waiting", "blocked", "done", "kept", "cancelled"):
        log_rows.make("auth.User", range(300), PLACES, apart=True, state=state)
    log_rows.make("auth.User", range(300), [])
    more: list[dict[str, Any]] = [{"age": 60.0}, {"model": "auth.User"}]
    asked = [*itertools.product(SHOWN, [{}, {"database": "blog_db"}])]
    asked += itertools.product(["", "blocked"], more)
    for analyzed in (False, True):
        if analyzed:
            superuser.run("default", "ANALYZE integrity_cascade, integrity_deletion")
        for shown, chosen in asked:
            wanted = lists.Wanted(using="default", shown=shown, **chosen)
            for place in (lists.Place(), lists.Place(oldest_first=True)):
                with captured:
                    lists.deletions(dataclasses.replace(wanted, place=place))
                check_plans(captured["default"], analyzed=analyzed)


def check_plans(asked: list[str], *, analyzed: bool) -> None:
    """No statement reads a table of the log; and they are not many."""
    assert len(asked) <= 70, len(asked)
    with connections["default"].cursor() as cursor:
        for sql in asked:
            if '"batch" IN (' in sql and not analyzed:
                continue  # of the rows that were found: in a small log, it may read all
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan on integrity_" not in plan, f"{sql}\n{plan}"


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
