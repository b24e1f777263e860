"""Where processes of the matrix wait or die: armed by the driver, sprung by whoever comes first.

A trap is a file named after a place and a phase, so it can be armed while everything runs. The
place is the database that the task is about, or `web` outside of tasks.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from apps.integrity import failpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from apps.integrity.failpoints import Failpoint

WEB = "web"
#: Whoever waits goes on after so long, even if its driver is gone.
LONGEST_SECONDS = 120
PAUSE_SECONDS = 0.02

Action = Literal["die", "wait"]


@dataclass(frozen=True, slots=True)
class Trap:
    """The driver's side of one trap."""

    directory: Path
    number: int
    armed: Path

    @property
    def sprung(self) -> bool:
        """Whether somebody came by."""
        return self._sign("sprung").exists()

    @property
    def pid(self) -> int:
        """Who that was."""
        return int(self._sign("sprung").read_text())

    def release(self) -> None:
        """Let whoever waits there go on; take the trap away where nobody came."""
        self.armed.unlink(missing_ok=True)
        self._sign("go").touch()

    def _sign(self, name: str) -> Path:
        return self.directory / f"{self.number}.{name}"


@dataclass(slots=True)
class Traps:
    """All traps of a scene."""

    directory: Path
    _all: list[Trap] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def arm(self, place: str, phase: Failpoint, action: Action) -> Trap:
        """Wait for the next process that reaches that phase at that place."""
        trap = Trap(self.directory, next(self._numbers), _armed(self.directory, place, phase))
        _write(trap.armed, json.dumps({"number": trap.number, "action": action}))
        self._all.append(trap)
        return trap

    def clear(self) -> None:
        """Disarm and release all."""
        self.cure()
        for trap in self._all:
            trap.release()
        self._all.clear()

    def poison(self, key: int) -> None:
        """Each process dies that has removed the posts of that user, before it commits."""
        _write(self.directory / "poison", str(key))

    def cure(self) -> None:
        """No poison any more."""
        (self.directory / "poison").unlink(missing_ok=True)


def install(directory: Path) -> None:
    """Let this process be caught by the traps of a directory."""

    def reached(phase: Failpoint) -> None:
        place = _place()
        if phase is failpoints.Failpoint.REMOVED and place == "blog_db":
            _die_of_poison(directory)
        _step_into(directory, _armed(directory, place, phase))

    failpoints.hit = reached


@contextmanager
def at(phase: Failpoint, fault: Callable[[], object]) -> Iterator[None]:
    """In this process, let something happen whenever it reaches a phase."""
    before = failpoints.hit
    failpoints.hit = lambda each: fault() if each is phase else before(each)
    try:
        yield
    finally:
        failpoints.hit = before


def _step_into(directory: Path, armed: Path) -> None:
    mine = armed.with_suffix(f".{os.getpid()}")
    try:
        armed.rename(mine)  # only one of several succeeds
    except FileNotFoundError:
        return
    trap = json.loads(mine.read_text())
    _write(directory / f"{trap['number']}.sprung", str(os.getpid()))
    if trap["action"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    ends, go = time.monotonic() + LONGEST_SECONDS, directory / f"{trap['number']}.go"
    while not go.exists() and time.monotonic() < ends:
        time.sleep(PAUSE_SECONDS)


def _die_of_poison(directory: Path) -> None:
    with suppress(FileNotFoundError):
        key = int((directory / "poison").read_text())
        from apps.blog.models import Post

        # We alone do not see the rows that we have removed and not committed.
        if not Post.objects.filter(author_id=key).exists():
            os.kill(os.getpid(), signal.SIGKILL)


def _place() -> str:
    from celery import current_task

    if not current_task:
        return WEB
    return str(next(iter(current_task.request.args or ()), "default"))


def _armed(directory: Path, place: str, phase: Failpoint) -> Path:
    return directory / f"{place}-{phase.name.lower()}.armed"


def _write(path: Path, content: str) -> None:
    draft = path.with_suffix(f".draft{os.getpid()}")
    draft.write_text(content)
    draft.replace(path)
