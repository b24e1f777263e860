"""What the overview and `status` say of random logs is what plain Python finds in their rows.

All times are an hour from now, so nothing depends on how fast the machine is. The log is kept by
PostgreSQL (`default`, into blog_db and shop_db) and by SQLite (`test_lite`, into test_left).
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from apps.integrity import relations
from apps.integrity.dashboard.text import verdict
from apps.integrity.models import Cascade, ChildDatabase, Deletion, Heartbeat, Scan, Suspect
from apps.integrity.report.overview import collect_overview
from apps.integrity.report.sentences import sentence
from tests import log_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apps.integrity.report.overview import Overview

pytestmark = pytest.mark.usefixtures("committed")

HOUR = dt.timedelta(hours=1)
LOGS = {
    "default": ("auth.User", ("blog_db", "shop_db")),
    "test_lite": ("lite.Author", ("test_left",)),
}
PLACES = {"blog_db": "default", "shop_db": "default", "test_left": "test_lite"}
QUIET = ("blocked", "done", "verified")
STATES = ("pending", "running", "waiting", *QUIET)
WORKERS = ("celery@one", "celery@two")
#: Process → in what share of the logs it has a heartbeat.
PROCESSES = {"beat": 0.5, "beat@host": 0.5, "drain@host": 0.1, **dict.fromkeys(WORKERS, 0.5)}
SEEDS = range(24)

#: Kind, subject and number.
Said = tuple[str, str, int | None]


class Seen(NamedTuple):
    """The rows of all logs at the moment of a look."""

    cascades: list[Cascade]
    recorded: list[Deletion]
    children: list[ChildDatabase]
    beats: dict[str, tuple[bool, list[str] | None]]
    suspects: set[tuple[str, str, str]]
    now: dt.datetime


def fill(chance: random.Random) -> None:
    """Rows of any kind, in any number: often none."""
    if chance.random() < 0.7:
        User.objects.create(username="somebody")
    states = chance.choice((QUIET, STATES))
    for using, (parent, places) in LOGS.items():
        for place in places:
            for _ in range(chance.choice((0, 0, 1, 3))):
                cascade(chance, parent, place, using, chance.choice(states))
            if chance.random() < 0.2:
                child(chance, place, using)
        if states is STATES and chance.random() < 0.2:
            ago = timezone.now() - HOUR
            log_rows.make(parent, range(900, 902), [], using=using, recorded_at=ago)
    for name, share in PROCESSES.items():
        if chance.random() < share:
            heartbeat(chance, name)
    labels = ("blog.Post.author", "shop.Order.customer")[: chance.randint(1, 2)]
    for number, label in itertools.product(range(chance.choice((0, 0, 2))), labels):
        Suspect.objects.create(parent="auth.User", relation=label, value=f"{number}")
    scanned(chance)


def cascade(chance: random.Random, parent: str, place: str, using: str, state: str) -> None:
    earlier, later = timezone.now() - HOUR, timezone.now() + HOUR
    columns: dict[str, Any] = {"attempts": chance.randint(0, 3), "recorded_at": earlier}
    if state in {"pending", "running", "waiting"}:
        columns["due_at"] = chance.choice((earlier, later))
    if state == "running":
        columns["owner"] = f"task {chance.choice(WORKERS)}"
    if state == "done":
        columns["done_at"] = chance.choice((earlier, later))
    if state in {"waiting", "blocked"}:
        columns["reason"] = chance.choice(("rows are locked", "DataError 22001"))
    if state == "verified" and chance.random() < 0.7:
        columns["kept_at"] = earlier
    keys = range(chance.randint(1, 3))
    log_rows.make(parent, keys, [place], state=state, using=using, **columns)


def child(chance: random.Random, place: str, using: str) -> None:
    kind = chance.choice(("operator", "identity_mismatch", "restored", ""))
    row = ChildDatabase(alias=place, reason="cannot be reached: no route")
    if kind:
        row.paused_at, row.paused_kind, row.paused_reason = timezone.now() - HOUR, kind, "a look"
    if not kind or chance.random() < 0.3:
        row.unreachable_since = timezone.now() - HOUR
    row.save(using=using)


def heartbeat(chance: random.Random, name: str) -> None:
    """A process that was just seen, or long ago, by each log or by one."""
    seen_at = timezone.now() + (HOUR if chance.random() < 0.6 else -HOUR)
    mine = [f"integrity.{place}" for place in PLACES if chance.random() < 0.6]
    mine += ["integrity"] if chance.random() < 0.6 else []
    known = name.startswith("celery") and chance.random() < 0.9
    queues = mine if known else ([] if name == "drain@host" else None)
    for using in chance.choice((["default"], ["test_lite"], [*LOGS])):
        Heartbeat.objects.using(using).create(name=name, seen_at=seen_at, queues=queues)


def scanned(chance: random.Random) -> None:
    """Each relation was scanned a while ago, or all but some."""
    whole = chance.random() < 0.6
    for relation in relations.catalogue().relations:
        for place in relation.child_databases:
            if whole or chance.random() < 0.9:
                ago = timezone.now() - dt.timedelta(hours=chance.randint(1, 99))
                Scan.objects.using(relation.parent_databases[0]).create(
                    relation=relation.label,
                    database=place,
                    covers_at=ago,
                    finished_at=ago,
                    last_missing=chance.choice((0, 3)),
                )


def rows() -> Seen:
    now = timezone.now()
    beats = {
        row.name: (row.seen_at > now, row.queues)
        for using in LOGS
        for row in Heartbeat.objects.using(using)
    }
    return Seen(
        cascades=[row for using in LOGS for row in Cascade.objects.using(using)],
        recorded=[
            row for using in LOGS for row in Deletion.objects.using(using).filter(batch=None)
        ],
        children=[row for using in LOGS for row in ChildDatabase.objects.using(using)],
        beats=beats,
        suspects={(row.parent, row.field, row.value) for row in Suspect.objects.all()},
        now=now,
    )


def expected(seen: Seen) -> Iterator[Said]:
    """Yield what is wrong, by the rows alone."""
    for place, using in PLACES.items():
        yield from of_place(seen, place, using)
    if seen.suspects:
        yield "orphans", "", len(seen.suspects)
        if not User.objects.exists():
            for label in {row.relation for row in Suspect.objects.all()}:
                yield "brake", label, None
    yield from of_processes(seen)


def of_place(seen: Seen, place: str, using: str) -> Iterator[Said]:
    mine = [row for row in seen.cascades if row.database == place]
    parent = LOGS[using][0]
    recorded = [row for row in seen.recorded if row.parent == parent]
    open_ = [row for row in mine if row.state in {"pending", "running", "waiting", "blocked"}]
    blocked = sum(row.size for row in open_ if row.state == "blocked")
    failing = sum(
        row.size
        for row in open_
        if row.state == "waiting" or (row.state == "running" and row.attempts > 1)
    )
    number = sum(row.size for row in open_) + len(recorded)
    states = [row for row in seen.children if row.alias == place]
    away = any(row.unreachable_since for row in states)
    kinds = {row.paused_kind for row in states if row.paused_at}
    explained = away or bool(kinds) or bool(failing)
    if away:
        yield "unreachable", place, number - blocked
    for kind in kinds:
        yield ("paused" if kind == "operator" else kind), place, number - blocked
    if blocked:
        yield "blocked", place, blocked
    if failing and not away and not kinds:
        yield "failing", place, failing
    late = [row for row in mine if row.state == "done" and row.done_at and row.done_at < seen.now]
    if late and not kinds:
        yield "unproven", place, sum(row.size for row in mine if row.state == "done")
    kept = sum(row.size for row in mine if row.kept_at and not row.acknowledged_at)
    if kept:
        yield "kept", place, kept
    lost = list(without_a_worker(seen, place, open_, bool(recorded)))
    if not away and not kinds:
        missing = [one for one in lost if one[0] == "missing"]
        yield from (("workers", place, number - blocked) for _ in missing)
        explained = explained or bool(missing)
    yield from (("workers", place, size) for word, size in lost if word == "frozen")
    explained = explained or any(word == "frozen" for word, _ in lost)
    if number > blocked and not explained:
        yield "behind", place, number


def without_a_worker(
    seen: Seen,
    place: str,
    open_: list[Cascade],
    recorded: bool,  # noqa: FBT001 (a fact)
) -> Iterator[tuple[str, int]]:
    running = [row for row in open_ if row.state == "running" and row.due_at]
    live = [row for row in running if row.due_at > seen.now]
    due = [row for row in open_ if row.due_at and row.due_at < seen.now]
    queues = consumed(seen)
    unclaimed = (due or recorded) and not live
    if unclaimed and queues is not None and f"integrity.{place}" not in queues:
        yield "missing", 0
    held: dict[tuple[str, bool], list[Cascade]] = {}
    for row in running:  # one claim: the same worker, in its first attempt or a later one
        held.setdefault((row.owner.partition(" ")[2], row.attempts > 1), []).append(row)
    for (worker, _), claims in held.items():
        fresh, _queues = seen.beats.get(worker, (True, None))
        ends = max(row.due_at for row in claims if row.due_at)
        if worker in seen.beats and not fresh and ends < seen.now:
            yield "frozen", sum(row.size for row in claims)


def consumed(seen: Seen) -> set[str] | None:
    """The queues that live workers say they consume; None while one does not say."""
    live = [
        queues
        for name, (fresh, queues) in seen.beats.items()
        if fresh and not name.startswith("beat")
    ]
    if None in live:
        return None
    return {queue for queues in live for queue in queues or ()}


def of_processes(seen: Seen) -> Iterator[Said]:
    fresh = {name for name, (is_fresh, _) in seen.beats.items() if is_fresh}
    if "drain@host" in fresh:
        return
    queues = consumed(seen)
    if fresh - {"beat"} and queues is not None and "integrity" not in queues:
        yield "workers", "", None
    elif "beat" not in fresh:
        yield "beat", "", None


def status() -> tuple[int, dict[str, Any]]:
    out, code = io.StringIO(), 0
    try:
        call_command("integrity", "status", "--json", stdout=out)
    except SystemExit as ended:
        code = int(str(ended.code))
    return code, json.loads(out.getvalue())


@pytest.mark.parametrize("seed", SEEDS)
def test_both_say_what_the_rows_say(seed: int) -> None:
    fill(random.Random(seed))  # noqa: S311 (decides nothing)
    seen = rows()
    wanted = sorted(expected(seen), key=str)
    overview = collect_overview()
    shown = sorted(((one.kind, one.subject, one.number) for one in overview.faults), key=str)
    assert shown == wanted
    code, document = status()
    printed = [(one["kind"], one["subject"], one["number"]) for one in document["faults"]]
    assert sorted(printed, key=str) == wanted
    # Of one kind, the oldest comes first, and these are as old as each other.
    assert [kind for kind, _, _ in printed] == [one.kind for one in overview.faults]
    of_both = {(one.kind, one.subject, one.cause, one.remedy) for one in overview.faults}
    assert of_both == {
        (one["kind"], one["subject"], one["cause"], one["remedy"]) for one in document["faults"]
    }
    check_exit_code(code, seen, bool(wanted))
    check_verdict(overview, seen, bool(wanted))
    check_scans(overview, document)


def check_exit_code(code: int, seen: Seen, wrong: bool) -> None:  # noqa: FBT001 (a fact)
    open_ = [row for row in seen.cascades if row.state in {"pending", "running", "waiting"}]
    if any(row.unreachable_since for row in seen.children):
        assert code == 5
    elif open_ or seen.recorded:
        assert code == 4
    else:
        assert code == (3 if wrong else 0)


def check_verdict(overview: Overview, seen: Seen, wrong: bool) -> None:  # noqa: FBT001 (a fact)
    """The sentence that all is well is said only where nothing is open, unproven or wrong."""
    said = verdict(overview)
    assert all(sentence(fault) for fault in overview.faults)
    if wrong:
        assert said.sentence == sentence(overview.faults[0])
        return
    left = {row.state for row in seen.cascades} - {"verified"}
    assert said.sentence.startswith("All deletions are applied and verified") == (not left)
    assert (said.level == "ok") <= (left <= {"done"})


def check_scans(overview: Overview, document: dict[str, Any]) -> None:
    """An age of orphans is said once all relations were scanned: that of the oldest pass."""
    ages = [
        found.covers_at if found else None
        for relation in relations.catalogue().relations
        if relation.policy.cascades
        for place in relation.child_databases
        for found in [
            Scan.objects.using(relation.parent_databases[0])
            .filter(relation=relation.label, database=place)
            .first()
        ]
    ]
    known = [at for at in ages if at is not None]
    assert overview.unscanned == len(ages) - len(known)
    if len(known) < len(ages):
        assert overview.orphan_age_seconds is None
    else:
        assert overview.orphan_age_seconds is not None
        oldest = (timezone.now() - min(known)).total_seconds()
        assert oldest - 3_000 < overview.orphan_age_seconds <= oldest + 60
    for row in document["scans"]:
        waiting = Suspect.objects.filter(relation=row["relation"]).count()
        assert row["waiting"] == waiting
        assert row["suspects"] == min(waiting, row["suspects"])
    assert "no orphan" not in verdict(overview).sentence or len(known) == len(ages)
