"""`./run pages`, some of it: the first page names faults of real processes while they last.

The promised ten seconds are for the command, on a machine that does nothing else. Here a fault only
has to be named with subject, cause, since and remedy, by page and command alike, and to be gone and
made up for after its end.
"""

from __future__ import annotations

import json

import pytest

from sandbox import project
from tests.acceptance import chromium

TIMEOUT_SECONDS = 280
#: Faults of a server, of a row and of a process.
NAMES = ("refuses", "poison", "worker")

pytestmark = pytest.mark.skipif(chromium.found() is None, reason=chromium.MISSING)


@pytest.fixture(scope="module")
def played():
    """What was seen of each fault, by its name; and what was wrong besides."""
    healthy = ("--load-seconds", "0", "--idle-seconds", "0")
    done = project.run(
        *("-m", "tests.chaos.pages", *NAMES, *healthy, "--json", "--patient"),
        seconds=TIMEOUT_SECONDS,
    )
    assert done.stdout, done.stderr[-4_000:]
    return json.loads(done.stdout), done.stderr[-8_000:]


def test_every_fault_is_named_and_gone_after_its_end(played):
    document, printed = played
    assert len(document["faults"]) == len(NAMES)
    assert document["problems"] == [], printed
