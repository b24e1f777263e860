"""A copy of the tree with servers for its tests: it tries one mutation after the other.

A mutation is killed by a test that *fails*: neither by a test that cannot be collected or set up,
nor by a name that the mutation forgot, nor by the clock.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sandbox import environment

from . import databases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .mutation import Mutation

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (".git", ".venv*", ".sandbox", "__pycache__", ".*_cache", ".hypothesis", "htmlcov")
SERVERS = {*environment.VARIABLES.values(), environment.BROKER}

PASSED, FAILED = 0, 1
#: What a mutation that is broken itself raises.
OWN_FAULTS = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError")


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a run of tests: pytest's exit code (None: out of time), and by name."""

    code: int | None
    output: str
    passed: tuple[str, ...] = ()
    failed: Mapping[str, str] | None = None
    skipped: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def green(self) -> bool:
        """Whether all tests ran and passed."""
        return self.code == PASSED and bool(self.passed) and not self.skipped


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutation; `by` is the test that killed it, or the reason for no verdict."""

    name: str
    breaks: str
    verdict: str
    by: str
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether a test failed."""
        return self.verdict == "killed"


def copy_tree(root: Path, to: Path) -> Path:
    """Copy what the tests need. Return the copy."""
    shutil.copytree(root, to, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return to


class Lane:
    """Runs tests in one copy of the tree, never two at once."""

    def __init__(
        self, tree: Path, temporary: Path, values: Mapping[str, str], options: Sequence[str] = ()
    ) -> None:
        temporary.mkdir(parents=True)
        self.tree, self.temporary, self.options = tree, temporary, options
        self.databases = temporary / "databases"
        self.environment = {
            **os.environ,
            **values,
            "TMPDIR": str(temporary),
            databases.VARIABLE: str(self.databases),
        }
        self.process: subprocess.Popen[str] | None = None

    def trial(self, mutation: Mutation, *, seconds: float) -> Outcome:
        """Break the copy, run the tests that must notice, and mend it."""
        started = time.monotonic()
        with self._broken(mutation):
            ran = self.run(mutation.tests, seconds=seconds)
        word, by = verdict(ran)
        return Outcome(mutation.name, mutation.breaks, word, by, time.monotonic() - started)

    def red(self, tests: Sequence[str], *, seconds: float) -> list[str]:
        """Return the tests that do not pass, or why none of them ran."""
        if not tests:
            return []
        ran = self.run(tests, seconds=seconds, stop=False)
        if ran.green:
            return []
        return [*(ran.failed or ()), *ran.errors, *ran.skipped] or [ran.output[-2_000:]]

    def run(self, tests: Sequence[str], *, seconds: float, stop: bool = True) -> Ran:
        """Run those tests, for so long at most."""
        report = self.temporary / "report.xml"
        report.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "pytest", "-q", *(["-x"] if stop else []), "--tb=short"),
            *("-p", "no:cacheprovider", f"--junitxml={report}", *self.options, *tests),
        ]
        code, output = self._finished(command, seconds)
        ran = _read(code, output, report)
        if ran.code not in {PASSED, FAILED} or ran.errors:
            self.forget_databases()  # what is left in them must not fail the next run
        return ran

    def forget_databases(self) -> None:
        """Let the next run make its own."""
        shutil.rmtree(self.databases, ignore_errors=True)

    def stop(self) -> None:
        """End what runs."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _finished(self, command: list[str], seconds: float) -> tuple[int | None, str]:
        self.process = process = subprocess.Popen(
            command,
            cwd=self.tree,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None, "out of time"
        finally:
            self.stop()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        return process.returncode, output

    @contextmanager
    def _broken(self, mutation: Mutation) -> Iterator[None]:
        """The copy with the mutation, for the length of the block.

        Its time of change moves, too: bytecode of the same second must not stand for it.
        """
        path = self.tree / mutation.file
        sound, then = path.read_text(), path.stat().st_mtime
        try:
            path.write_text(mutation.applied_to(sound))
            os.utime(path, (then + 10, then + 10))
            yield
        finally:
            path.write_text(sound)
            os.utime(path, (then, then))


def verdict(ran: Ran) -> tuple[str, str]:
    """Killed by which test, survived, or no verdict and why."""
    if ran.green:
        return "survived", ""
    for test, message in (ran.failed or {}).items():
        if ran.code == FAILED and not message.startswith(OWN_FAULTS):
            return "killed", test
        return "no verdict", f"{test}: {message.splitlines()[0]}"
    reason = next(iter((*ran.errors, *ran.skipped)), None) or _last_words(ran.output)
    return "no verdict", f"pytest's exit code {ran.code}: {reason}"


def _read(code: int | None, output: str, report: Path) -> Ran:
    if code is None or not report.exists():
        return Ran(code, output)
    found: dict[str, dict[str, str]] = {"passed": {}, "failure": {}, "skipped": {}, "error": {}}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 (pytest's own report)
        name = f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"
        # An expected failure is as good as a success: it says that what is known is still so.
        endings = [
            each for each in case if each.tag in found and each.get("type") != "pytest.xfail"
        ]
        for each in endings:
            found[each.tag][name] = each.get("message") or ""
        if not endings:
            found["passed"][name] = ""
    return Ran(
        code,
        output,
        passed=tuple(found["passed"]),
        failed=found["failure"],
        skipped=tuple(found["skipped"]),
        errors=tuple(f"{name}: {said}" for name, said in found["error"].items()),
    )


def _last_words(output: str) -> str:
    lines = output.strip().splitlines() or ["nothing was said"]
    return next((line for line in reversed(lines) if line.startswith(("E ", "ERROR"))), lines[-1])
