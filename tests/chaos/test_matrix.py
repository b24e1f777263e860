"""The matrix of faults and moments, cell by cell: real servers, real workers, each at its moment.

`python -m tests.chaos.matrix` plays all cells once, side by side; a test is one cell's outcome.
`-k` plays the chosen ones alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import project
from tests.chaos.matrix import page
from tests.chaos.matrix.acts import all_acts
from tests.chaos.matrix.cells import CELLS, ELSEWHERE, FAULTS, MOMENTS, NAMED, Fault, Moment, Scene

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: All cells at once; on a quiet machine they take a quarter of it.
TIMEOUT_SECONDS = 560
#: More spoiled cells than that are no accident.
AGAIN = 3


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mapping[str, Any], str]:
    """Results of the cells that this run asks for, and what was printed.

    A cell is a race against a moment: one that a busy machine spoiled is played once more, alone.
    """
    wanted = {item.callspec.params["cell"] for item in request.session.items if _is_cell(item)}
    directory = tmp_path_factory.mktemp("matrix")
    found, printed = _play(wanted, directory / "results.json")
    broken = {cell for cell, result in found.items() if result["problem"]}
    if 0 < len(broken) <= AGAIN:
        again, more = _play(broken, directory / "again.json")
        found, printed = found | again, printed + more
    return found, printed


def _play(cells: set[str], results: Path) -> tuple[dict[str, Any], str]:
    done = project.run(
        "-m", "tests.chaos.matrix", "--json", results, *sorted(cells), seconds=TIMEOUT_SECONDS
    )
    found = json.loads(results.read_text()) if results.exists() else {}
    return found, done.stdout + done.stderr[-4_000:]


def _is_cell(item: pytest.Item) -> bool:
    return getattr(item, "originalname", "") == test_cell.__name__


@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
@pytest.mark.parametrize("cell", NAMED)
def test_cell(cell: str, played: tuple[Mapping[str, Any], str]) -> None:
    results, printed = played
    assert cell in results, printed
    assert not results[cell]["problem"], f"{results[cell]['problem']}\n{printed}"


def test_the_page_shows_the_cells_as_they_are():
    assert page.PATH.read_text() == page.text(), "python -m tests.chaos.matrix.page writes it anew"


def test_every_cell_is_proven_by_one_act():
    proven = [cell for scene in Scene for act in all_acts(scene) for cell in act.cells]
    assert sorted(proven) == sorted(NAMED)
    assert len(NAMED) == len(CELLS)
    for cell in CELLS:
        assert cell.name in {each for act in all_acts(cell.scene) for each in act.cells}


def test_no_fault_and_no_moment_is_without_a_cell():
    fields = {(cell.fault, cell.moment) for cell in CELLS} | ELSEWHERE.keys()
    assert {fault for fault, _ in fields} == set(Fault) == set(FAULTS)
    assert {moment for _, moment in fields} == set(Moment) == set(MOMENTS)
