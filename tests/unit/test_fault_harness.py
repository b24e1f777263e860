"""The decisions of `./run pages`: what counts as named, as well again, and as a false alarm."""

from __future__ import annotations

import dataclasses

import pytest

from tests.chaos.pages.result import Result, table
from tests.chaos.pages.seen import (
    HEALTH,
    PAGE,
    STATUS,
    Line,
    Look,
    Named,
    false_alarms,
    named_at,
    of_status,
    quiet,
    tells_since,
    wrongly_blamed,
)

REFUSED = Line(kind="unreachable", subject="blog_db", text="Connection refused", remedy="Look")
REFUSES = Named.of("blog_db", "unreachable")
WANTED = (REFUSES,)
OTHER = Line(kind="beat", subject="", text="silent", remedy="Start it")
DOCUMENT = {
    "kind": "unreachable",
    "subject": "blog_db",
    "level": "trouble",
    "since_seconds": 1.5,
    "cause": "Connection refused",
    "remedy": "Look",
}


def look(at, *lines, where=PAGE, answered=True):
    return Look(where=where, at=at, lines=lines, answered=answered)


HEALTHZ = Look(where=HEALTH, at=102.0, lines=(Line(kind="beat", subject="", text=""),), said="{}")


def result(page, status, *, effect=100.0, well_after=3.0):
    return Result(
        fault="refuses",
        wanted=WANTED,
        effect=effect,
        page=page,
        status=status,
        well_after=well_after,
        looks=(look(101.0), HEALTHZ),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "workers"},
        {"subject": "shop_db"},
        {"subject": ""},
        {"text": ""},
        {"remedy": ""},
        {"since": False},
    ],
)
def test_a_line_names_a_fault_only_with_all_of_it(change):
    assert REFUSED.names(REFUSES)
    assert not dataclasses.replace(REFUSED, **change).names(REFUSES)


def test_named_is_the_first_look_there_after_the_effect():
    looks = [
        look(1.0, REFUSED),
        look(3.0, OTHER),
        look(4.0, REFUSED, where=STATUS),
        look(5.0, OTHER, REFUSED),
        look(6.0, REFUSED),
    ]
    found = named_at(looks, PAGE, WANTED, since=2.0)
    assert found is looks[3]
    assert named_at(looks, HEALTH, WANTED, since=2.0) is None


def test_quiet_are_only_answers_without_a_line_since_then():
    assert quiet([look(1.0, REFUSED), look(3.0), look(4.0)], PAGE, since=2.0)
    assert not quiet([look(1.0), look(3.0)], PAGE, since=2.0), "one look may be of before"
    assert not quiet([look(3.0), look(4.0, OTHER)], PAGE, since=2.0)
    assert not quiet([look(3.0), look(4.0, answered=False)], PAGE, since=2.0)


def test_a_false_alarm_is_any_line_and_any_silence():
    looks = [look(1.0, OTHER), look(2.0), look(3.0, OTHER), look(4.0, answered=False)]
    assert false_alarms(looks, 2.0, 9.0) == looks[2:]


def test_faults_of_the_document():
    lines, rest = of_status({"faults": [DOCUMENT], "code": 5})
    assert lines == (REFUSED,)
    assert rest == '{"code": 5}'
    (undated,), _ = of_status({"faults": [{**DOCUMENT, "since_seconds": None}]})
    assert not undated.names(REFUSES)


def test_what_is_as_promised_has_no_problem():
    good = result(look(104.0, REFUSED), look(103.0, REFUSED, OTHER, where=STATUS))
    assert not [*good.problems()]
    *_, row = table([good])
    assert row == (
        "| refuses | 4.0 s / 3.0 s | Connection refused | unreachable blog_db: Connection refused"
        " | Look | failing: beat; {} | 3.0 s |"
    )


@pytest.mark.parametrize(
    ("page", "status", "well_after", "problem"),
    [
        (None, look(103.0, REFUSED), 1.0, "named by page never"),
        (look(111.0, REFUSED), look(103.0, REFUSED), 1.0, "named by page after 11.0 s"),
        (look(103.0, REFUSED), None, 1.0, "named by status --json never"),
        (look(103.0, OTHER, REFUSED), look(103.0, REFUSED), 1.0, "the first line of page is beat"),
        (look(103.0, REFUSED), look(103.0, REFUSED), None, "not all was well 60 s after"),
    ],
)
def test_each_broken_promise_is_told(page, status, well_after, problem):
    (told,) = result(page, status, well_after=well_after).problems()
    assert problem in told


def test_several_faults_are_named_only_together():
    wanted = (REFUSES, Named.of("", "beat"))
    assert not look(1.0, REFUSED).named(wanted)
    assert look(1.0, OTHER, REFUSED).named(wanted) == [REFUSED, OTHER]


def test_who_is_healthy_must_not_be_blamed():
    waits = Line(kind="behind", subject="shop_db", text="waits", remedy="Wait")
    ill = dataclasses.replace(REFUSED, subject="shop_db")
    looks = [look(1.0, OTHER), look(3.0, REFUSED, waits, ill)]
    assert wrongly_blamed(looks, WANTED, since=2.0) == [ill]
    blames = dataclasses.replace(result(look(104.0, REFUSED), look(103.0, REFUSED)), looks=looks)
    assert not [*blames.problems()], "looks before the effect"
    (told,) = dataclasses.replace(blames, effect=2.0, page=looks[1], status=looks[1]).problems()
    assert told == "refuses: wrongly blamed is unreachable shop_db: Connection refused"


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("blog_db has been unusable for 13 s: refused", True),
        ("1 deletion fails, the oldest recorded 1 min 3 s ago: why; next try in 3 s", True),
        ("1 deletion fails: why; next try in 3 s", False),
        ("The brake refuses the repair for a reason", False),
    ],
)
def test_since_when_is_told_by_a_time_that_has_passed(sentence, told):
    assert tells_since(sentence) == told
