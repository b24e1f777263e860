"""`./run differential`: rows are those of one database, and where they are not, the test sees it.

Each side is processes of its own, with settings of its own. These are short runs; a long one is
`./run differential --operations 20000`.
"""

from __future__ import annotations

import pytest

from sandbox import project
from tests.differential import planted
from tests.differential.play import Differs, play
from tests.differential.sides import Sides

#: On two quiet cores both take a tenth of it.
TIMEOUT_SECONDS = 560
#: With this seed, some of the first deletes are refused.
SEED = 4


@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
@pytest.mark.parametrize(("database", "operations"), [("sqlite", 500), ("postgresql", 100)])
def test_rows_are_those_of_one_database(database, operations):
    command = ["--seed", str(SEED), "--operations", str(operations), "--database", database]
    done = project.run("-m", "tests.differential", *command, seconds=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    assert f"nothing differs in {operations} operations" in done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sides():
    """Both sides, for one planted difference after the other."""
    with Sides(SEED, "sqlite", program="tests.differential.planted.Faulty") as started:
        yield started


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("lost_row", "only in one database: "),
        ("kept_row", "only when spread:     Top [999]"),
        ("changed_key", "only when spread:     "),
        ("swallowed_error", "spread:          done"),
    ],
)
def test_a_planted_difference_is_seen(sides, fault, seen):
    sides.spread.tell("plant", fault=fault)
    assert sides.spread.answer() == {"outcome": "done"}
    with pytest.raises(Differs) as found:
        play(sides, 1_000)
    assert seen in str(found.value)
    assert found.value.operation > planted.SOUND
