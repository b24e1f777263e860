"""Both sides as processes, and commands to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .kinds import Kind
from .spread import ONE, SEED, SIDE, SPREAD, VENDOR

if TYPE_CHECKING:
    from .history import Operation

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "tests.differential.side.Side"
SETTINGS = "tests.differential.settings"


class Died(Exception):
    """A side ended without an answer."""


class Process:
    """One side. It ends with the block."""

    def __init__(self, side: str, *, seed: int, vendor: str, program: str) -> None:
        environment = {SEED: str(seed), SIDE: side, VENDOR: vendor}
        environment |= {"DJANGO_SETTINGS_MODULE": SETTINGS}
        self.side = side
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.differential.process", program],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def tell(self, name: str, **arguments: Any) -> None:
        """Send a command."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer. Raises `Died`."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Died(f"the side {self.side!r} died with exit code {self._process.wait(60)}")
        found: dict[str, Any] = json.loads(line)
        return found


class Sides:
    """Plain Django on one database, and the product on three. They end with the block."""

    def __init__(
        self,
        seed: int,
        vendor: str,
        program: str = PROGRAM,
    ) -> None:
        """`program` is the class of the spread side: another one plants differences."""
        self.seed, self.vendor = seed, vendor
        self.one = Process(ONE, seed=seed, vendor=vendor, program=PROGRAM)
        self.spread = Process(SPREAD, seed=seed, vendor=vendor, program=program)

    def __enter__(self) -> Self:
        self.one.tell("describe")
        self.spread.tell("describe")
        models = self.one.answer()["models"]
        self.kinds = {name: Kind.from_json(each) for name, each in models.items()}
        self.homes: dict[str, str] = self.spread.answer()["homes"]
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.one, self.spread):
            each.__exit__()

    def reset(self) -> None:
        """Let both be without rows."""
        for each in (self.one, self.spread):
            each.tell("reset")
        for each in (self.one, self.spread):
            each.answer()

    def play(self, operation: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let both do it. The spread side only tries what a constraint refuses in one database."""
        name, arguments = operation
        self.one.tell(name, **arguments)
        one = self.one.answer()
        tries = {"tries": True} if one["outcome"] == "IntegrityError" else {}
        self.spread.tell(name, **arguments, **tries)
        return one, self.spread.answer()

    def settle(self) -> dict[str, Any]:
        """Let the spread side end what it has not; its answer says what it cannot."""
        self.spread.tell("settle")
        return self.spread.answer()
