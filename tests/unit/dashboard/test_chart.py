"""The chart of finished deletions: its scale, its times, and what it says in words."""

from __future__ import annotations

import datetime as dt
import re
from xml.etree import ElementTree as ET

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.integrity.dashboard import chart
from apps.integrity.report.throughput import BARS, DAY_SECONDS, Throughput

UNTIL = dt.datetime(2026, 3, 29, 10, 25, tzinfo=dt.UTC)
SVG = "{http://www.w3.org/2000/svg}"


def finished(*bars: int, seconds: float = DAY_SECONDS) -> Throughput:
    padded = (*(0,) * (BARS - len(bars)), *bars)
    return Throughput(rate=0.0, bars=padded, seconds=seconds, until=UNTIL)


def drawn(of: Throughput) -> ET.Element:
    text = str(chart.throughput(of)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return ET.fromstring(text)  # noqa: S314 (our own text)


def texts(of: Throughput, kind: str) -> list[str]:
    found = drawn(of).iter(f"{SVG}text")
    return [str(each.text) for each in found if kind in each.attrib["class"].split()]


@given(st.integers(0, 10**9))
def test_a_scale_has_few_round_marks_and_holds_every_bar(most: int) -> None:
    marks = chart.scale(most)
    assert marks[0] == 0
    assert len(marks) in {2, 3}
    assert most <= marks[-1] <= max(2 * most, 1)
    assert all(re.fullmatch("[1-8]0*|0|150*", str(mark)) for mark in marks)


@given(st.lists(st.integers(0, 10**6), min_size=BARS, max_size=BARS))
def test_the_height_of_a_bar_is_its_number_on_the_scale(numbers: list[int]) -> None:
    of = finished(*numbers)
    bars = [bar.attrib for bar in drawn(of).iter(f"{SVG}rect")]
    assert len(bars) == sum(1 for number in numbers if number)
    top = chart.scale(max(numbers))[-1]
    for bar, number in zip(bars, filter(None, numbers), strict=True):
        whole = (chart.BOTTOM - chart.TOP) * number / top
        assert float(bar["height"]) == pytest.approx(max(whole, chart.LEAST), abs=0.1)
        assert float(bar["y"]) + float(bar["height"]) == pytest.approx(chart.BOTTOM, abs=0.2)
        assert float(bar["y"]) >= chart.TOP - 0.1


def test_marks_are_short() -> None:
    assert texts(finished(4_200), "ix-mark") == ["0", "3k", "6k"]
    assert texts(finished(3_000_000), "ix-mark") == ["0", "1.5M", "3M"]


def test_times_have_a_zone() -> None:
    with timezone.override("UTC"):
        assert texts(finished(1), "ix-time") == ["10:25", "22:25", "10:25 UTC"]
    with timezone.override("Europe/Berlin"):  # summer time began that night
        assert texts(finished(1), "ix-time") == ["11:25", "23:25", "12:25 CEST"]
    with timezone.override("UTC"):
        short = finished(1, seconds=120.0)
        assert texts(short, "ix-time") == ["10:23:00", "10:24:00", "10:25:00 UTC"]


def test_each_bar_says_what_it_is() -> None:
    with timezone.override("UTC"):
        titles = [bar.find(f"{SVG}title") for bar in drawn(finished(7, 1_200)).iter(f"{SVG}rect")]
    assert [title.text for title in titles if title is not None] == [
        "7 from 08:25 to 09:25 UTC",
        "1,200 from 09:25 to 10:25 UTC",
    ]


def test_the_whole_in_words() -> None:
    with timezone.override("UTC"):
        assert chart.summary(finished(7, 1_200)) == (
            "1,207 deletions finished within 1 d, up to 10:25 UTC, at most 1,200 per hour"
        )
        assert chart.summary(finished(1, seconds=2_400)) == (
            "1 deletion finished within 40 min, up to 10:25 UTC, at most 1 per 1 min 40 s"
        )
        assert chart.summary(finished()) == "No deletion finished within 1 d, up to 10:25 UTC"
    assert drawn(finished(3)).find(f"{SVG}title") is not None
    assert drawn(finished(3)).attrib["role"] == "img"
    assert chart.unit(finished()) == "Deletions finished per hour"
