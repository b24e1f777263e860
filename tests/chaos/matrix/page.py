"""`python -m tests.chaos.matrix.page [RESULTS]` writes `docs/explanation/fault-matrix.md`.

With the results of `python -m tests.chaos.matrix --json`, it also writes the times down anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cells import CELLS, ELSEWHERE, FAULTS, MOMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cells import Cell, Fault, Moment

PATH = Path(__file__).resolve().parents[3] / "docs" / "explanation" / "fault-matrix.md"
MEASURED = Path(__file__).with_name("measured.json")

INTRODUCTION = """\
# Faults and moments

This page shows what happens when a process or a server fails at the worst moment. Tests run each
cell on real servers with real workers: three PostgreSQL servers, Redis, a worker and beat. A
failpoint in the code (`apps/integrity/failpoints.py`: an empty function, unless a test replaces
it) stops a process exactly at the moment, and the test injects the fault. Then it compares every
row of every database with the expected state: rows of deleted users are gone, all others are
unchanged, byte for byte, and the log is in order.

`./run test tests/chaos/test_matrix.py` runs all cells; `-k kill-worker` some of them.
`python -m tests.chaos.matrix.page` writes this page; a test fails when it is out of date.
"""

WORDS = """\
*Swept*: done by the next sweep, which finds work by its state in the database. *Redo*: done once
more, with the same result; *0 rows*: the second run finds no rows. *Clean*: nothing has to be done
again. An empty field is a combination that cannot occur or does not matter.
"""

CELL_BY_CELL = """\
## Cell by cell

*Within* is the promise: seconds from the end of the fault (from the kill, where that is the fault)
until the rows are gone. *Measured* is one run on a machine with two cores, with all cells running
side by side. The tests allow three times the promise, for machines that are busy. Where a worker
ends, another one is running: add the time that a supervisor needs to start a process.
"""


def text() -> str:
    """The page."""
    return "\n".join((INTRODUCTION, *_grid(), "", WORDS, CELL_BY_CELL, *_list())) + "\n"


def _grid() -> Iterator[str]:
    yield f"| | {' | '.join(f'**{each}** {title}' for each, title in MOMENTS.items())} |"
    yield "|---" * (len(MOMENTS) + 1) + "|"
    for fault, title in FAULTS.items():
        fields = " | ".join(_field(fault, moment) for moment in MOMENTS)
        yield f"| {title} | {fields} |"


def _field(fault: Fault, moment: Moment) -> str:
    cells = [cell for cell in CELLS if (cell.fault, cell.moment) == (fault, moment)]
    said = dict.fromkeys(_promise(cell) for cell in cells)
    return "; ".join(said) or ELSEWHERE.get((fault, moment), "")


def _promise(cell: Cell) -> str:
    return cell.expected if cell.within is None else f"{cell.expected} ≤ {cell.within:g} s"


def _list() -> Iterator[str]:
    measured = json.loads(MEASURED.read_text())
    yield "| cell | expected | proven by | within | measured |"
    yield "|---|---|---|---|---|"
    for cell in CELLS:
        within = "" if cell.within is None else f"{cell.within:g} s"
        seconds = measured.get(cell.name)
        took = "" if seconds is None else f"{seconds:.1f} s"
        yield f"| `{cell.name}` | {cell.expected} | {cell.proof} | {within} | {took} |"


def main() -> None:
    """Write it."""
    if results := sys.argv[1:]:
        found = json.loads(Path(results[0]).read_text())
        times = {cell: each["seconds"] for cell, each in found.items()}
        rounded = {cell: None if each is None else round(each, 2) for cell, each in times.items()}
        MEASURED.write_text(json.dumps(rounded, indent=1, sort_keys=True) + "\n")
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(text())


if __name__ == "__main__":
    main()
