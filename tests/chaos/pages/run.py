"""One run: the processes, the faults one after the other, and healthy minutes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from django.db import connections

from apps.blog.models import Post
from apps.integrity.models import Deletion
from apps.shop.models import Order
from sandbox.environment import WEB
from sandbox.processes import ProcessError, free_port
from tests.chaos import log, progress
from tests.chaos.faults import people
from tests.chaos.faults.scale import BRIEF
from tests.chaos.faults.stage import Stage

from .faults import FAULTS, Scene
from .result import WELL_SECONDS, Result
from .seen import PAGE, STATUS, false_alarms, named_at, quiet
from .watch import Watch, health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sandbox.servers import Sandbox

    from .faults import Effect, Fault
    from .seen import Look

START_SECONDS = 60.0
#: A fault that was not named in time is watched for so much longer.
WATCHED_SECONDS = 5.0
#: How long a page may still show what it has computed before.
FRESH_SECONDS = 3.0
PER_SECOND = 3.0
BYSTANDERS = 20


@dataclass(frozen=True, slots=True)
class Run:
    """The scene, and who watches it."""

    scene: Scene
    watch: Watch
    bystanders: Sequence[int]
    #: How long a fault may take to be named.
    limit: float

    @classmethod
    @contextmanager
    def started(cls, sandbox: Sandbox, browser: str, limit: float) -> Iterator[Self]:
        """Start everything, and wait until the page shows no fault."""
        stage = Stage(sandbox, BRIEF, progress)
        stage.prepare()
        with stage.crew() as crew:
            address = f"http://127.0.0.1:{free_port()}"
            bind = address.removeprefix("http://")
            crew.start(
                *("web", WEB, "gunicorn", "config.wsgi", f"--bind={bind}"),
                *("--threads=4", "--no-control-socket"),
            )
            if not stage.until(lambda: _serves(address), START_SECONDS, pause=0.3):
                raise ProcessError("the web server did not start")
            bystanders = people.born(BYSTANDERS)
            with Watch(address, browser, sandbox.directory / "status.log") as watch:
                run = cls(Scene(stage, crew), watch, bystanders, limit)
                if not run.until(run.all_quiet(time.monotonic()), START_SECONDS):
                    run.tell(watch.looks[-10:], time.monotonic())
                    progress("faults are shown, although there is none")
                yield run

    def all_quiet(self, since: float) -> Callable[[], bool]:
        """Return a question: whether page and status show no fault."""
        return lambda: all(quiet(self.watch.looks, each, since) for each in (PAGE, STATUS))

    def until(self, question: Callable[[], bool], seconds: float) -> bool:
        """Wait for a yes."""
        return self.scene.stage.until(question, seconds, pause=0.1)

    def play(self, fault: Fault) -> Result:
        """Let a fault happen, until it is named everywhere; then heal it, until all is well."""
        number = len(self.watch.looks)
        with fault.block(self.scene) as effect:

            def named(where: str) -> Look | None:
                looks = self.watch.looks[number:]
                return named_at(looks, where, fault.wanted, effect.at)

            self.until(lambda: bool(named(PAGE) and named(STATUS)), self.limit + WATCHED_SECONDS)
            page, status = named(PAGE), named(STATUS)
            looks = tuple(self.watch.looks[number:])
        connections.close_all()  # a server that was stopped has ended our sessions
        healed = time.monotonic()
        well = self.until(lambda: self._is_well(effect, healed), WELL_SECONDS)
        after = time.monotonic() - healed if well else None
        result = Result(
            fault=fault.name,
            wanted=fault.wanted,
            effect=effect.at,
            page=page,
            status=status,
            well_after=after,
            looks=looks,
            limit=self.limit,
        )
        progress(str(result))
        if any(result.problems()):
            self.tell(self.watch.looks[number:], effect.at)
        return result

    def _is_well(self, effect: Effect, healed: float) -> bool:
        shown = self.all_quiet(healed)()
        return bool(shown and _verified(effect.users))

    def healthy(self, load_seconds: float, idle_seconds: float) -> list[str]:
        """Delete now and then, then do nothing: return what was named although all was well."""
        begin = time.monotonic() + FRESH_SECONDS
        people.delete_steadily(people.born(int(load_seconds * PER_SECOND)), PER_SECOND)
        self.until(lambda: False, idle_seconds)
        alarms = false_alarms(self.watch.looks, begin, time.monotonic())
        if alarms:
            self.tell(alarms, begin)
        return [f"false alarm: {each.told(begin)}" for each in alarms[:3]]

    def problems(self, results: Iterable[Result]) -> Iterator[str]:
        """Yield what is not as promised, of the faults and of everybody's rows."""
        for result in results:
            yield from result.problems()
        if not self.watch.alive:
            yield "somebody stopped looking"
        for model, field in ((Post, "author"), (Order, "customer")):
            rows = model.objects.filter(**{f"{field}__in": list(self.bystanders)}).count()
            if rows != 2 * len(self.bystanders):
                yield f"{model.__name__}: {rows} rows are left of users that nobody deleted"

    @staticmethod
    def tell(looks: Iterable[Look], zero: float) -> None:
        """Tell what was seen, second by second; what says the same again is left out."""
        last: dict[str, tuple[object, ...]] = {}
        for look in looks:
            said = (look.lines, look.said, look.answered)
            if last.get(look.where) != said:
                progress(look.told(zero))
            last[look.where] = said


def _serves(address: str) -> bool:
    try:
        return bool(health(address))
    except OSError:
        return False


def _verified(users: Sequence[int]) -> bool:
    """Whether the deletions of those users are verified in every database."""
    found = log.of_users(users)
    return len(found) == len(users) and all(each.state == Deletion.State.VERIFIED for each in found)


def chosen(names: Sequence[str]) -> list[Fault]:
    """Return the faults of those names, or all."""
    known = {fault.block.__name__: fault for fault in FAULTS}
    if unknown := {*names} - {*known}:
        raise SystemExit(f"no fault {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return [known[name] for name in names or known]
