"""Ids of deletions in an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.integrity.dashboard import id_ranges


@given(st.sets(st.integers(1, 10**18 - 1), max_size=40) | st.sets(st.integers(1, 300)))
def test_the_text_names_exactly_the_lowest_ids(ids: set[int]) -> None:
    text, number = id_ranges.text_of(ids)
    assert len(text) <= id_ranges.ROOM
    assert number == len(ids) or len(text) > id_ranges.ROOM - 40
    ranges = id_ranges.ranges_in(text) if text else []
    named = [pk for first, last in ranges for pk in range(first, last + 1)]
    assert named == sorted(ids)[:number]


def test_of_thousands_apart_the_first_are_named() -> None:
    text, number = id_ranges.text_of(range(10**9, 10**9 + 10_000, 2))
    assert len(text) <= id_ranges.ROOM
    assert number == text.count(",") + 1
    assert 0 < number < 5_000


@pytest.mark.parametrize(
    "text", ["x", "1,", "-3", "7-3", "1;2", "9" * 19, "1-2-3", ",".join(["1"] * 401)]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the text itself is the message)
        id_ranges.ranges_in(text)
