"""Figures → words, without a database."""

from __future__ import annotations

import pytest

from apps.integrity.dashboard import svg, text
from apps.integrity.report import catalogue, sentences, throughput
from apps.integrity.report.fault import Figures
from apps.integrity.report.faults import faults_of
from apps.integrity.report.overview import Card, Overview
from apps.integrity.report.rows import database_row

IDLE = throughput.Throughput(rate=0.0, bars=(0,) * throughput.BARS, seconds=throughput.DAY_SECONDS)


def card(**changes: object) -> Card:
    return {**database_row("blog_db", [], []), "throughput": IDLE, **changes}


def overview(*cards: Card, **changes: object) -> Overview:
    shown = cards or (card(),)
    well = {
        "workers": (),
        "beat": None,
        "missing_parents": 0,
        "brakes": {},
        "orphan_age_seconds": 2_820.0,
        "unscanned": 0,
        "unreachable_logs": (),
        "faults": faults_of(Figures(databases=shown)),
    }
    return Overview(cards=shown, **{**well, **changes})


@pytest.mark.parametrize(
    ("seen", "level", "sentence"),
    [
        (
            overview(),
            "ok",
            (
                "All deletions are applied and verified;"
                " no orphan that a cascade would take is older than 47 min."
            ),
        ),
        (
            overview(card(unproven=2)),
            "ok",
            (
                "All deletions are applied; the last ones are still to be verified;"
                " no orphan that a cascade would take is older than 47 min."
            ),
        ),
        (
            overview(orphan_age_seconds=None, unscanned=1),
            "busy",
            "All deletions are applied and verified; not every relation was scanned yet.",
        ),
        (
            overview(card(backlog=3, lag_seconds=2.0, state="working")),
            "busy",
            "Deletions wait or are being applied in blog_db.",
        ),
        (
            overview(card(failing=3, failing_seconds=61.0, failing_reason="rows are locked")),
            "attention",
            (
                "3 deletions fail in blog_db, the oldest recorded 1 min 1 s ago: rows are locked;"
                " the next try is due."
            ),
        ),
    ],
)
def test_the_verdict(seen: Overview, level: str, sentence: str) -> None:
    assert text.verdict(seen) == text.Verdict(level=level, sentence=sentence)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (61, "1 min 1 s"),
        (728, "12 min"),
        (3_600, "1 h"),
        (3_900, "1 h 5 min"),
        (86_400, "1 d"),
        (180_000, "2 d 2 h"),
    ],
)
def test_a_length_of_time(seconds: float, said: str) -> None:
    assert text.span(seconds) == said


@pytest.mark.parametrize(
    ("reason", "core"),
    [
        ('connection to server at "x", port 5 failed: Connection refused Is the server running?',
         "Connection refused"),
        ("cannot be reached: no answer within the time limit", "no answer within the time limit"),
        ("x" * 500, "x" * sentences.BRIEF + "…"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_core_of_a_reason(reason: str, core: str) -> None:
    assert text.brief(reason) == core


def test_names_in_pictures_are_escaped() -> None:
    row: catalogue.RelationRow = {
        "relation": "a.<b>.c",
        "child_database": "<db>",
        "parent": "x.Y",
        "parent_database": "default",
        "policy": "SET_NULL",
        "indexed": True,
        "plan": "",
        "why": "",
        "last_full_scan": None,
    }
    drawn = svg.relation_map([row])
    assert svg.relation_map([{**row, "relation": f"a.B.{'c' * 99}"}]).count("<rect") == 2
    assert "<b>" not in drawn
    assert "<db>" not in drawn
    assert "ix-line-set-null" in drawn


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            'connection to server at "db.internal" (10.0.0.7), port 5432 failed: Refused',
            "Refused",
        ),
        (
            'connection to server on socket "/run/pg/.s.PGSQL.5432" failed: FATAL: no role "web"',
            "FATAL: no role …",
        ),
        ('FATAL: password authentication failed for user "web"', None),
        ("(2003, \"Can't connect to MySQL server on 'db.internal:3306' (111)\")", None),
        ("Access denied for user 'web'@'10.0.0.7' (using password: YES)", None),
        ('could not translate host name "db.internal" to address', None),
        ("cannot reach 2001:db8::7:5432 or 10.0.0.7:5432, port 5432", None),
        ("12 of 1,200 keys have no parent", "12 of 1,200 keys have no parent"),
        ("its disk is full (53100)", "its disk is full (53100)"),
    ],
)
def test_a_page_says_nothing_of_where_a_server_is(said: str, shown: str | None) -> None:
    found = text.public(said)
    assert shown in {None, found}
    secrets = ("db.internal", "10.0.0.7", "2001:db8", "5432", "3306", "web", "/run/pg")
    assert not any(secret in found for secret in secrets), found
