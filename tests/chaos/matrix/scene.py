"""One scene in a process of its own: `SCENE DIRECTORY CELL…`; writes `results.json` there.

Its PostgreSQL databases are those of the environment; a scene that stops databases has servers of
its own. Redis, the worker and beat are always its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from sandbox import binaries, environment, servers, tables
from sandbox.proxy import Proxy

from .acts import all_acts
from .cells import NAMED, Scene

if TYPE_CHECKING:
    from .acts.act import Act
    from .stage import Stage

RESULTS = "results.json"
VERIFIED_SECONDS = 30.0
#: Where most acts wait for beat, it sends more often.
TICKS = {Scene.ROWS: "2"}


def main() -> None:
    """Play the acts that those cells need."""
    scene, directory, cells = Scene(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    with ExitStack() as stack:
        postgres = {}
        if scene is Scene.DATABASES:
            for name in environment.VARIABLES.values():
                os.environ.pop(name, None)
            sandbox = stack.enter_context(servers.running())
            os.environ.update({**sandbox.environment, **sandbox.superusers})
            postgres = dict(sandbox.postgres)
        log = directory / "redis.log"
        redis = servers.Redis(binaries.redis().path, data=directory / "redis", log=log)
        stack.callback(redis.kill)
        redis.start().wait_until_ready()
        broker = redis.url
        proxy = stack.enter_context(Proxy(redis.port)) if scene is Scene.SILENCE else None
        if proxy:
            broker = redis.url.replace(f":{redis.port}/", f":{proxy.port}/")
        os.environ["BROKER_URL"] = broker
        os.environ["MATRIX_TICK"] = TICKS.get(scene, "5")
        django.setup()
        from apps.integrity.queues import notifier

        from .stage import Stage

        # As parents with many child databases do: so a message waits for its dispatch at c, and a
        # dispatch begins at d. The storm's deletes notify the child databases.
        notifier.DIRECT_MAX = 0

        if postgres:
            tables.make()
        stage = Stage(directory, redis, postgres, broker, proxy)
        stack.callback(stage.close)
        Play(stage, directory, scene, cells).run()


class Play:
    """The acts one after the other; a broken one does not keep the others from being played."""

    def __init__(self, stage: Stage, directory: Path, scene: Scene, cells: list[str]) -> None:
        self.stage, self.directory, self.scene = stage, directory, scene
        self.acts = [act for act in all_acts(scene) if set(act.cells) & set(cells)]
        self.results: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        """All of it."""
        self.stage.people()
        self.stage.start(spare=self.scene in {Scene.WORKERS, Scene.DEPLOY})
        for act in self.acts:
            self._play(act)
        self._end()

    def _play(self, act: Act) -> None:
        proven, began = len(self.stage.proofs), time.monotonic()
        try:
            act.play(self.stage)
            problem = ""
        except Exception as error:  # noqa: BLE001 (it is the cell's result)
            traceback.print_exc()
            problem = f"{type(error).__name__}: {error}"
        try:
            self.stage.tidy()
            problem = problem or self._differences()
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            problem = problem or f"{type(error).__name__}: {error}"
        proofs = {proof.cell: proof.seconds for proof in self.stage.proofs[proven:]}
        for cell in act.cells:
            unproven = "" if cell in proofs else "not proven"
            self._note(cell, proofs.get(cell), problem or unproven)
        took = time.monotonic() - began
        print(f"{', '.join(act.cells)}: {took:.1f} s {problem}", flush=True)  # noqa: T201
        self._write()

    def _differences(self) -> str:
        found = self.stage.truth.problems()
        return f"{len(found)} differences: {'; '.join(found[:5])}" if found else ""

    def _end(self) -> None:
        """All is verified in the end, and the receipts bear it out."""
        from tests.chaos import log

        try:
            self.stage.until(
                lambda: not log.open_work() and not log.unverified(),
                "all deletions are verified",
                seconds=VERIFIED_SECONDS,
            )
            wrong = self.stage.miscounted(sorted(self.stage.truth.gone))
            found = [self._differences(), *log.bad_receipts(), *wrong[:5], *log.blocked()]
        except Exception as error:  # noqa: BLE001
            found = [str(error), *self.stage.open_stories()]
        if problem := "; ".join(filter(None, found)):
            for cell in self.results:
                self._note(cell, self.results[cell]["seconds"], f"at the end: {problem}")
        self._write()

    def _note(self, cell: str, seconds: float | None, problem: str) -> None:
        known = self.results.get(cell, {}).get("problem", "")
        self.results[cell] = {
            "seconds": seconds,
            "within": NAMED[cell].within,
            "problem": known or problem,
        }

    def _write(self) -> None:
        draft = self.directory / f"{RESULTS}.draft"
        draft.write_text(json.dumps(self.results))
        draft.replace(self.directory / RESULTS)


if __name__ == "__main__":
    main()
