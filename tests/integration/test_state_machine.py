"""Any order of deletes, messages, faults and time: the invariants hold after each step.

Every run of the suite takes the same steps, so a red one is not chance. To look further, and
elsewhere each time (or where `--hypothesis-seed=N` says):

    pytest --hypothesis-profile=long tests/integration/test_state_machine.py

A violation prints the shortest sequence of steps that leads to it.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from apps.integrity import relations
from apps.integrity.log import outcomes
from apps.integrity.queues import celery, notifier
from apps.integrity.relations import discovery
from apps.integrity.report import alarms
from tests.chaos.machine.acts import TUNED, Rig
from tests.chaos.machine.kinds import ALIASES, KINDS
from tests.chaos.machine.machine import RULES, IntegrityMachine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tune

LONG = settings.get_current_profile_name() == "long"

pytestmark = [
    pytest.mark.timeout(0 if LONG else 600),
    pytest.mark.usefixtures("committed"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),  # connections that die open
]

#: Sequences of the suite, and the steps of each.
EXAMPLES, STEPS = 30, 100
#: So many of the rules may find no moment for themselves.
RARE = 4
#: Nobody lets go of a lock while somebody waits for it: all act in turn.
LOCK_TIMEOUT = "-c lock_timeout=250ms"


def profile() -> settings:
    return settings(
        derandomize=not LONG,
        max_examples=settings().max_examples if LONG else EXAMPLES,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def played() -> relations.Catalogue:
    """A project that has no other relations than those that are played with."""
    models = {kind.model for kind in KINDS.values()}
    return relations.Catalogue(
        tuple(each for each in relations.discover().relations if each.child in models)
    )


@pytest.fixture
def rig(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    tune(**TUNED)
    connections.close_all()
    for alias in ALIASES:
        options = {**connections[alias].settings_dict["OPTIONS"], "options": LOCK_TIMEOUT}
        monkeypatch.setitem(connections[alias].settings_dict, "OPTIONS", options)
    logging.disable(logging.CRITICAL)
    rig, catalogue = Rig(), played()
    monkeypatch.setattr(celery, "_publish", rig.broker.publish)
    monkeypatch.setattr(notifier.Notifier, "notify", rig.broker.wake)
    monkeypatch.setattr(outcomes, "MOMENT_SECONDS", 3600.0)
    # A third of all the work, to change no row and no cascade; alarms have tests of their own.
    monkeypatch.setattr(alarms, "watch", lambda _: None)
    monkeypatch.setattr(discovery, "_known", [catalogue])
    yield rig
    logging.disable(logging.NOTSET)  # as a call: loggers remember whether they are enabled
    rig.close()
    connections.close_all()


def test_no_order_of_events_breaks_an_invariant(rig: Rig) -> None:
    run_state_machine_as_test(functools.partial(IntegrityMachine, rig), settings=profile())
    report(rig)
    assert rig.steps.total() + rig.idle > 1_250
    assert rig.steps.total() > 1_000
    assert rig.struck.total() > 40
    assert rig.between.total() > 10
    assert len(RULES - rig.steps.keys()) <= RARE


def report(rig: Rig) -> None:
    """For `-s`, and for a red run."""
    sys.stdout.write(
        f"\n{rig.steps.total()} steps, and {rig.idle} that found nothing to do:"
        f" {dict(rig.steps.most_common())}\n"
        f"{rig.struck.total()} faults struck a worker: {dict(rig.struck)}\n"
        f"{rig.between.total()} acts of others came between: {dict(rig.between)}\n"
    )
