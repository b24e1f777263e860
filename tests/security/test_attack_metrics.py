"""Names that somebody wrote into the log: a scrape stays one that Prometheus can read."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from apps.integrity.exceptions.redaction import plain
from apps.integrity.models import Scan, Suspect
from apps.integrity.report import metrics
from apps.integrity.report import status as report_status
from tests import log_rows

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOSTILE = {
    "a line": 'x"} 1\nintegrity_paused{database="default"} 1\n',
    "quotes": 'a"b\\"c\\',
    "a terminal's codes": "\x1b]0;owned\x07\x1b[2J",
    "lines of Unicode": "a\u2028b\x85c\rd\x0ce",
    "the other way": "\u202eevil",
}
EACH = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)


def parsed(text: str) -> set[tuple[str, str]]:
    """Each sample's name with each value of its labels, as a reader of the format finds them."""
    assert {each for each in text if not each.isprintable()} <= {"\n"}
    return {
        (sample.name, value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for value in sample.labels.values()
    }


@EACH
def test_a_database_that_the_log_names(committed: None, name: str) -> None:
    log_rows.make("auth.User", ["7"], [name], recorded_at=NOW)
    found = parsed(metrics.exposition().decode())
    assert ("integrity_cascade_backlog", plain(name)) in found
    assert ("integrity_paused", "default") not in found


@EACH
def test_an_alias_and_a_relation_of_the_project(
    committed: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = report_status.collect_status()
    for row in (*status["databases"], *status["scans"]):
        row["database"] = name
    for scan in status["scans"]:
        scan["relation"] = name
    monkeypatch.setattr(report_status, "collect_status", lambda: status)
    found = parsed(metrics.exposition().decode())
    for each in ("integrity_cascade_backlog", "integrity_scan_orphans", "integrity_suspects"):
        assert (each, plain(name)) in found


def test_a_page_of_metrics_answers_whatever_the_log_holds(committed: None, settings: Any) -> None:
    settings.INTEGRITY = {**settings.INTEGRITY, "metrics_token": "a token of this test"}
    for number, name in enumerate(HOSTILE.values()):
        log_rows.make(name, [number], [name], relation=name, recorded_at=NOW)
        Suspect.objects.create(parent=name, relation=name, field=name, value=name)
        Scan.objects.create(relation=name, database=name)
    answer = Client().get(
        "/integrity/metrics", headers={"Authorization": "Bearer a token of this test"}
    )
    assert answer.status_code == 200
    found = parsed(answer.content.decode())
    assert {("integrity_cascade_backlog", plain(each)) for each in HOSTILE.values()} <= found
