"""The benchmarks' arithmetic, their documents and their pictures."""

# ruff: noqa: RUF001 - signs as people write them

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import __main__ as command
from benchmarks import plots, report
from benchmarks.result import Result, interleaved, percentile, ratios, spread
from benchmarks.stage import QUICK


def result(name: str = "B1", *, samples=(1.0, 3.0, 2.0), target: float | None = 2.5, **more):
    return Result.of(name, "what it is", samples, target, **more)


@pytest.mark.parametrize(
    ("target", "at_least", "ok"),
    [(2.5, False, True), (1.5, False, False), (1.5, True, True), (2.5, True, False)],
)
def test_a_result_is_the_median_against_its_target(target, at_least, ok):
    found = result(target=target, at_least=at_least)
    assert (found.ratio, found.ok) == (2.0, ok)
    assert ("MISSED" in str(found)) is not ok


def test_a_figure_without_a_target_misses_none_and_says_so():
    found = result(target=None)
    assert found.ok
    assert "target" not in str(found)
    assert found.document()["target"] is None


def test_rounds_take_turns_and_none_always_follows_the_same():
    order = list[str]()
    took = interleaved(
        3, {name: lambda name=name: float(order.append(name) or 1) for name in "abc"}, len
    )
    assert order == [*"abc", *"bca", *"cab"]
    assert took == {name: [1.0] * 3 for name in "abc"}


def test_ratios_are_taken_round_by_round():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (95, 10), (91, 10), (90, 9), (1, 1)])
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(percent, value):
    assert percentile(range(1, 11), percent) == value


def test_every_benchmark_is_found_and_the_eleventh_comes_last():
    assert list(command.BENCHMARKS) == [f"B{number}" for number in range(1, 12)]


def test_an_unknown_benchmark_is_named_with_those_that_exist():
    with pytest.raises(argparse.ArgumentTypeError, match=r"no benchmark B12; known: B1, B2"):
        command._names("b1,b12")


def document(*results: Result):
    return report.document(results, QUICK, "18.6", 0.0)


def test_results_of_other_benchmarks_are_kept_in_their_order():
    old = document(result("B10"), result("B2"), result("B2.silent"))
    new = document(result("B2", samples=(7.0,)))
    found = {each["id"]: each["ratio"] for each in report.merged(new, old)["results"]}
    assert list(found.items()) == [("B2", 7.0), ("B10", 2.0)]


def test_results_of_another_machine_are_not_kept():
    old = document(result("B10")) | {"machine": {"processor": "another"}}
    assert [each["id"] for each in report.merged(document(result("B2")), old)["results"]] == ["B2"]


def test_the_table_shows_a_miss_and_what_has_no_target():
    rows = report.markdown(document(result("B1", target=1.5), result("B1.seed", target=None)))
    missed, shown = rows.splitlines()[-2:]
    assert "| 2 (1–3) × | ≤ 1.5 | missed | quick |" in missed
    assert "| 2 (1–3) × | – |  | quick |" in shown


PART = {"median": 2.0, "min": 1.0, "max": 3.0}
WAYS = {"one worker": PART, "giant DELETE": PART}


def whole():
    request = {"ours": PART, "floor": PART, "handler": PART}
    return document(
        result("B1", detail=request),
        result("B1.100", detail=request),
        result("B1.p95"),
        result("B4", detail={"rows_per_second": WAYS}),
        result("B5", detail={"users_per_second": WAYS}),
        result("B8", detail={"seconds": {"1": PART, "2": PART, "4": PART}}),
        result("B9.2.workers.5"),
        result("B9.4.databases.5"),
        result("B9.trips.5", target=None),
    )


def test_pictures_are_drawn_of_what_was_measured_and_the_table_shows_them(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    report.save(document(result("B2")), tmp_path, readme)
    assert not list(tmp_path.glob("*.svg"))
    report.save(whole(), tmp_path, readme)
    drawn = {path.stem for path in tmp_path.glob("*.svg")}
    assert drawn == set(plots.PICTURES)
    page = (tmp_path / "latest.md").read_text()
    assert all(f"![{name}]({name}.svg)" in page for name in drawn)
    assert len(json.loads((tmp_path / "latest.json").read_text())["results"]) == 10
    told = readme.read_text()
    assert told.startswith(f"before\n{report.BEGIN}| | measured |")
    assert told.endswith(f"{report.END}after\n")
    assert "old" not in told


def test_a_picture_of_the_same_figures_is_the_same_file(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        plots.draw(document(result("B4", detail={"rows_per_second": WAYS})), tmp_path / folder)
    first, second = ((tmp_path / at / "giant.svg").read_bytes() for at in ("first", "second"))
    assert first == second
    assert b"<dc:date>" not in first
