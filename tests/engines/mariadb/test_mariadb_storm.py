"""Workers and the MariaDB server are killed, stopped and frozen while users are deleted.

In the end no row of a deleted user is left, no other row was touched, and the log says what
happened: the oracle of `./run storm`, for processes and databases of this layout.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import Error, connections, transaction

from apps.integrity.models import Cascade
from sandbox.environment import WEB, WORKER, for_django
from tests.acceptance.workers import environment
from tests.chaos import log, truth
from tests.chaos.processes import BEAT, WORKERS, Crew, all_answer
from tests.chaos.rows import COLUMNS, MODELS, stored
from tests.chaos.storm import population
from tests.chaos.storm.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.engines.servers.mariadb import MariaDB

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
    pytest.mark.timeout(400),
]

PLAN = Plan(seed=18, users=120, kills=0, redis_restarts=0, both_outages=False)
#: Users of one transaction; each third one is rolled back.
SIZE = 4
AWAY_SECONDS = 2.0
END_SECONDS = 150.0


@pytest.fixture
def crew(tmp_path: Path, sandbox: object) -> Iterator[Crew]:
    """Workers for each queue and beat, all of them as the tables' owner."""
    own = {**environment("tests.engines.mariadb.stormy"), **for_django(debug=False)}
    own |= {"TMPDIR": str(tmp_path), "C_FORCE_ROOT": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith((WEB, WORKER)):
                patch.delenv(name)
        roles = {name: url for name, url in own.items() if not name.startswith((WEB, WORKER))}
        crew = Crew(tmp_path, roles)
        try:
            crew.start_workers()
            assert crew.until(all_answer, 60)
            yield crew
        finally:
            crew.stop()


@pytest.fixture
def known(crew: Crew) -> truth.Truth:
    """Every row that there is at the beginning, and what was deleted since."""
    rows = population.rows(PLAN)
    for kind, of_kind in rows.items():
        model, names = MODELS[kind], COLUMNS[kind]
        model._default_manager.bulk_create(
            [model(**dict(zip(names, row, strict=True))) for row in of_kind.values()],
            batch_size=1_000,
        )
    return truth.Truth(rows=stored())


def _acts(crew: Crew, server: MariaDB) -> Iterator[Callable[[], None]]:
    """Yield bad things, over and over."""

    def away(leave: Callable[[], None]) -> Callable[[], None]:
        def act() -> None:
            leave()
            time.sleep(AWAY_SECONDS)
            if server.running:
                server.thaw()
            else:
                server.start().wait_until_ready()

        return act

    def killed(name: str, *, whole: bool) -> Callable[[], None]:
        def act() -> None:
            if crew.members[name].running:
                crew.kill(name, whole=whole, back_after=0.5)

        return act

    workers = itertools.cycle([*WORKERS, BEAT])
    while True:
        yield killed(next(workers), whole=True)
        yield away(server.freeze)
        yield killed(next(workers), whole=False)
        yield away(server.kill)
        yield killed(next(workers), whole=True)
        yield away(server.stop)


def _delete(keys: list[int], *, rolled_back: bool) -> None:
    """Delete those users in one transaction, once the log's database is back."""
    for attempt in range(20):
        try:
            with transaction.atomic(using="default"):
                User.objects.filter(pk__in=keys).delete()
                transaction.set_rollback(rolled_back, using="default")
        except Error:
            connections.close_all()
            time.sleep(0.2 * (attempt + 1))
        else:
            return
    raise AssertionError("the parents' database did not come back")


def test_nothing_lost_and_nothing_living_touched(
    crew: Crew, known: truth.Truth, mariadb: MariaDB
) -> None:
    keys = sorted(known.rows["user"])[: int(PLAN.users * 0.85)]
    batches = [keys[first : first + SIZE] for first in range(0, len(keys), SIZE)]
    acts = _acts(crew, mariadb)
    for number, batch in enumerate(batches):
        rolled_back = number % 3 == 2
        _delete(batch, rolled_back=rolled_back)
        known.gone |= set() if rolled_back else set(batch)
        if number % 2:
            next(acts)()
        crew.tend()
        time.sleep(0.2)
    crew.bring_back([*WORKERS, BEAT])
    done = crew.until(lambda: not (log.open_work() or log.unverified()), END_SECONDS, pause=0.5)
    connections.close_all()
    assert done, (dict(log.deletions()), log.blocked(), dict(log.running()))
    rows = stored()
    assert list(known.differences(rows)) == []
    assert list(truth.orphans(rows)) == []
    logged = {int(each.key) for each in log.entries()}
    assert truth.of_log(logged, known.gone) == {
        "logged, but not deleted": set(),
        "deleted, but not in the log": set(),
    }
    assert log.blocked() == []
    assert list(log.bad_receipts()) == []
    counted = sum(
        number
        for cascade in Cascade.objects.all()
        for relations in (cascade.rows or {}).values()
        for number in relations.values()
    )
    doomed = known.doomed(known.gone)
    assert counted == len(doomed) - len(known.gone)
