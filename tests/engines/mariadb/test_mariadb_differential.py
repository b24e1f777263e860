"""Random histories with MariaDB on either side or both: the rows are those of one database."""

from __future__ import annotations

import pytest

from sandbox import project
from tests.differential.spread import GIVEN

OPERATIONS, SEED = 300, 4
#: On two quiet cores it takes a tenth of it.
TIMEOUT_SECONDS = 560


@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
def test_rows_are_those_of_one_database() -> None:
    # Sides in processes of their own, on databases of their own of the same servers.
    command = ["--seed", str(SEED), "--operations", str(OPERATIONS), "--database", GIVEN]
    done = project.run("-m", "tests.differential", *command, seconds=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    assert f"nothing differs in {OPERATIONS} operations" in done.stdout.splitlines()[-1]
