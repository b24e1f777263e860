"""The progress lines of a scan: no rate that nobody has measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.integrity.management.verbs import scan as verb
from apps.integrity.scan import Scanned

if TYPE_CHECKING:
    import pytest


def test_no_rate_before_it_is_measured_and_then_the_measured_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, lines = 100.0, list[str]()
    monkeypatch.setattr(verb.time, "monotonic", lambda: now)
    tell = verb.ScanProgress(lines.append)

    def told(rows: int, relation: str = "blog.Post.author") -> None:
        tell(
            Scanned(relation=relation, database="blog_db", rows_scanned=rows, expected_rows=10_000)
        )

    told(5_000)  # of which some were scanned by an earlier run
    now += 0.5
    told(5_500)  # too soon for a line
    now += 1.5
    told(6_000)
    told(7, "blog.Comment.author")  # a scan that has only begun
    assert lines == [
        "blog.Post.author in blog_db: 6,000 rows (500/s, 8 s left), 0 orphans",
    ]
