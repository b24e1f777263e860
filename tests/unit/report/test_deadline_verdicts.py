"""Whether deadlines are likely to be met: figures → verdict → alarm. Without a database."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from apps.integrity import conf
from apps.integrity.backends import deadlines
from apps.integrity.models import Alarm
from apps.integrity.report import alarms
from apps.integrity.report.deadlines import Due, Margins, Verdict, verdict
from apps.integrity.report.fault import Figures
from apps.integrity.report.faults import faults_of
from apps.integrity.report.rows import database_row

if TYPE_CHECKING:
    from tests.conftest import Tune

HOUR, DAY = 3_600.0, 86_400.0
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def of(*due: Due, late: int = 0) -> Margins:
    return Margins(due, late)


def after(days: float) -> dt.datetime:
    return NOW + dt.timedelta(days=days)


def test_without_deadlines_nothing_is_said() -> None:
    assert verdict(None, 1.0, "") == Verdict()
    assert verdict(of(Due(3, 10, None, 5.0)), 1.0, "") == Verdict()


def test_work_that_fits_is_no_risk() -> None:
    said = verdict(of(Due(5, 1_000, HOUR, 60.0)), 1.0, "")
    assert said.margin_seconds == HOUR
    assert said.risk == pytest.approx(1_060 / HOUR, abs=0.01)


def test_work_before_a_deadline_counts_and_work_after_it_does_not() -> None:
    """10,000 s of work come after the deadline in an hour, and 3,000 s before the one in two."""
    near, far = Due(5, 1_000, HOUR, 60.0), Due(9, 10_000, 10 * DAY, 60.0)
    assert (verdict(of(near, far), 1.0, "").risk or 0) < 1
    late = verdict(of(near, Due(7, 8_000, 2 * HOUR, 60.0), far), 1.0, "")
    assert late.risk == pytest.approx(9_060 / (2 * HOUR), abs=0.01)
    assert late.risk_reason.startswith("9,000 deletions before a deadline in 2 h")


def test_work_without_a_deadline_that_comes_first_counts() -> None:
    said = verdict(of(Due(4, 5_000, None, 60.0), Due(5, 1, HOUR, 60.0)), 1.0, "")
    assert (said.risk or 0) > 1


def test_an_unknown_rate_is_no_silence() -> None:
    """A fifth of the deadline is left: six of thirty days."""
    assert (verdict(of(Due(9, 5, 7 * DAY, 23 * DAY)), None, "").risk or 0) < 1
    said = verdict(of(Due(9, 5, 5 * DAY, 25 * DAY)), None, "paused: upgrade")
    assert (said.risk or 0) > 1
    assert said.risk_reason == "a deadline is in 5 d, and paused: upgrade"


def test_blocked_work_has_no_rate_whatever_else_is_done() -> None:
    blocked = Due(9, 0, 5 * DAY, 25 * DAY)
    assert (verdict(of(blocked), 1_000.0, "").risk or 0) > 1
    moving = blocked._replace(number=5)
    assert (verdict(of(moving), 1_000.0, "").risk or 0) < 1
    assert (verdict(of(moving, blocked), 1_000.0, "").risk or 0) > 1


def test_the_margin_is_a_setting(tune: Tune) -> None:
    tune(deadline_margin_share=0.01)
    assert (verdict(of(Due(9, 5, 5 * DAY, 25 * DAY)), None, "").risk or 0) < 1


def test_what_is_late_hides_no_risk_of_others() -> None:
    said = verdict(of(Due(0, 5, -HOUR, DAY), Due(5, 9_000, HOUR, 60.0), late=5), 1.0, "")
    assert said.margin_seconds == -HOUR
    assert said.late == 5
    assert (said.risk or 0) > 1


def raised(risk: float, *known: Any, late: int = 0) -> dict[Any, str]:
    row = database_row("blog_db", [], [])
    row["risk"], row["risk_reason"], row["late"], row["margin_seconds"] = risk, "why", late, -5.0
    found = faults_of(Figures(databases=[row]))
    return alarms.wrongs([row], found, conf.current(), known)


def test_an_alarm_ends_well_below_where_it_began() -> None:
    at_risk = (Alarm.Kind.AT_RISK, "blog_db")
    assert raised(0.9) == {}
    assert raised(1.1) == {at_risk: "why"}
    assert raised(0.9, at_risk) == {at_risk: "why"}
    assert raised(0.7, at_risk) == {}


def test_a_missed_deadline_is_an_alarm_of_its_own() -> None:
    assert raised(0.1, late=3) == {
        (Alarm.Kind.LATE, "blog_db"): "3 deletions past the deadline for 5 s"
    }


def test_a_batch_is_cut_where_remaining_times_differ_by_more_than_half() -> None:
    recorded = {pk: (NOW, after(days)) for pk, days in enumerate([30, 30.1, 1, 29.9, 365], 1)}
    made = deadlines.parts(recorded, None, NOW)
    assert [part.ids for part in made] == [[3], [1, 2, 4], [5]]
    assert made[1].deadline == made[1].order_at == after(29.9)


def test_what_has_no_deadline_has_a_place_in_the_order_and_no_deadline() -> None:
    [part] = deadlines.parts({1: (NOW, None)}, None, NOW)
    assert part.deadline is None
    assert part.order_at == after(deadlines.WITHOUT_DAYS)
    [part] = deadlines.parts({1: (NOW, None)}, 3.0, NOW)
    assert part.deadline == part.order_at == after(3)


def test_its_own_deadline_wins_over_that_of_its_parent() -> None:
    [part] = deadlines.parts({1: (NOW, after(1))}, 30.0, NOW)
    assert part.deadline == after(1)


@pytest.mark.parametrize("given", [0, -1, True, "30", float("nan"), {"*": 0}, {1: 2}, [30], 1e9])
def test_a_number_of_days_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(conf.InvalidSetting, match="deadline_days"):
        conf.Settings(deadline_days=given)


def test_days_by_parent() -> None:
    given = conf.Settings(deadline_days={"auth.User": 30, "shop.Customer": None, "*": 90})
    parents = ("auth.User", "shop.Customer", "blog.Post")
    assert [*map(given.deadline_days_of, parents)] == [30.0, None, 90.0]
    assert conf.Settings(deadline_days=7).deadline_days_of("auth.User") == 7.0
    assert conf.Settings(deadline_days={}).uses_deadlines
    assert conf.Settings(deadline_days={}).deadline_days_of("auth.User") is None
    assert not conf.Settings().uses_deadlines
