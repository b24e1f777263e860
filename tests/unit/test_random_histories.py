"""The differential test's own decisions: what differs, what is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.differential import differences, spread
from tests.differential.zoo.names import DECLARED, NOTED, POLICY_NAMES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "differences.md"
ROWS = {"Plain": [[1], [2]]}


def answer(outcome="done", rows=ROWS):
    return {"outcome": outcome, "rows": rows}


@pytest.mark.parametrize(
    ("one", "when_spread"),
    [
        (answer(), answer("NotDrained: left: 1 waiting")),
        (answer("ProtectedError"), answer("RestrictedError")),
        (answer(), answer(rows={"Plain": [[1]]})),
        (answer(), answer(rows={"Plain": [[1], [3]]})),
        (answer(), answer(rows={"Plain": [[1], [2], [2]]})),
        (answer(), answer(rows={**ROWS, "Top": [[1]]})),
        (answer(), answer(rows={})),
    ],
)
def test_any_difference_is_one(one, when_spread):
    found = differences.difference(one, when_spread)
    assert found
    assert found.lines or found.one != found.spread
    assert not differences.documented(one, when_spread)
    assert differences.difference(when_spread, one)


def test_the_same_is_none():
    assert differences.difference(answer(), answer()) is None


@pytest.mark.parametrize(
    ("one", "when_spread", "is_documented"),
    [
        (answer("IntegrityError"), answer("goes"), True),
        (answer("IntegrityError"), answer("done"), False),
        (answer("IntegrityError"), answer("goes", {}), False),
        (answer("ProtectedError"), answer("goes"), False),
        (answer("done"), answer("goes"), False),
        (answer("IntegrityError"), answer("ProtectedError"), False),
    ],
)
def test_what_is_documented_is_nothing_wider(one, when_spread, is_documented):
    assert bool(differences.documented(one, when_spread)) is is_documented


def test_the_page_has_each_documented_difference():
    anchors = re.findall(r'<a id="([^"]+)">', PAGE.read_text())
    assert differences.CONSTRAINTS in anchors


def test_models_are_spread_over_all_databases_and_stay_together_where_django_wants_it():
    drawn = [spread.Spread(seed, spread.SPREAD, "sqlite") for seed in range(50)]
    assert {each.home("Plain") for each in drawn} == {*spread.ALIASES}
    for each in drawn:
        for one, other in spread.TOGETHER.items():
            assert each.home(one) == each.home(other)
    assert any(each.home("Plain") != each.home("OfPlain") for each in drawn)
    assert any(each.declared("Event", "Plain") for each in drawn)
    assert {each.step_rows() for each in drawn} == {*spread.STEP_ROWS}


def test_one_database_is_one():
    drawn = spread.Spread(1, spread.ONE, "sqlite")
    assert {drawn.home(name) for name in ("Plain", "OfPlain", "Top")} == {"default"}
    assert not any(drawn.declared(child, parent) for child, parent, *_ in (*DECLARED, *NOTED))


def test_each_policy_is_declared_too():
    assert {*POLICY_NAMES.values()} == {
        *("CASCADE", "PROTECT", "RESTRICT", "SET_NULL", "SET_DEFAULT", "SET", "DO_NOTHING")
    }
