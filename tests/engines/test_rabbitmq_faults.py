"""`python -m tests.chaos.faults rabbitmq`: deletes beside RabbitMQ that is ill, and afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sandbox import project
from tests.engines.servers import needed, rabbitmq

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.timeout(900)

TIMEOUT_SECONDS = 840
FAULTS = ("refused", "frozen", "restarted", "memory")
ADDED_MS, SLOW_MACHINE = 20.0, 0.5


@pytest.fixture(scope="module")
def measured() -> Mapping[str, float]:
    """Return what was measured, by its name: bounds and figures alike."""
    needed("rabbitmq-server", hint=rabbitmq.HINT)
    command = ("-m", "tests.chaos.faults", "rabbitmq", "--quick", "--json")
    done = project.run(*command, seconds=TIMEOUT_SECONDS)
    assert "could not be measured to its end" not in done.stdout, done.stderr[-4_000:]
    found = json.loads(done.stdout)["experiments"]["rabbitmq"]
    return {each["name"]: each["measured"] for each in found["bounds"] + found["figures"]}


@pytest.mark.parametrize("fault", FAULTS)
class TestFault:
    def test_it_fails_no_delete_and_loses_none(
        self, measured: Mapping[str, float], fault: str
    ) -> None:
        assert measured[f"{fault}: deletes that failed"] == 0
        assert measured[f"{fault}: deletes that are not in the log"] == 0

    def test_it_holds_up_no_delete(self, measured: Mapping[str, float], fault: str) -> None:
        usual = measured[f"{fault}: p95 of the baseline"]
        assert measured[f"{fault}: p95 added"] <= max(ADDED_MS, SLOW_MACHINE * usual)

    def test_it_is_named(self, measured: Mapping[str, float], fault: str) -> None:
        assert not measured[f"{fault}: doctor does not name it"]

    def test_what_waited_is_done_soon_and_beat_goes_on(
        self, measured: Mapping[str, float], fault: str
    ) -> None:
        assert measured[f"{fault}: drained after the broker is back"] <= 15
        assert measured[f"{fault}: until a tick of beat arrives"] <= 20
