"""Child processes that end with their parent: start, watch, freeze, stop and kill them by pid.

On Linux, a child gets its stop signal when the thread that started it ends. On all platforms, its
pid and start time are on disk next to its log, so that the next run can stop the children of a
run that was killed.
"""

# ruff: noqa: S603, S607 - it starts programs, and finds ps on the PATH

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

LAUNCH = Path(__file__).with_name("launch.py")
PROC = Path("/proc")

# Below the ephemeral ports. From the ephemeral range, a client that retries while its server is
# down could get the server's port as its own and connect to itself.
PORTS = range(20_000, 32_000)


class ProcessError(RuntimeError):
    """A child process ended early or was not ready in time. The message has its last log lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Identifies a process on disk. A pid alone is not enough, because pids are reused."""

    pid: int
    started: str
    stop_signal: int

    @classmethod
    def of(cls, pid: int, *, stop_signal: int = signal.SIGTERM) -> Self:
        """Return a record of the process that has `pid` now."""
        return cls(pid=pid, started=started(pid) or "", stop_signal=stop_signal)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the record in `path`, or None if there is none or it cannot be read."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the record to `path` atomically."""
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    @property
    def alive(self) -> bool:
        """Whether the recorded process still runs."""
        return bool(self.started) and started(self.pid) == self.started

    def end(self, *, timeout: float) -> None:
        """Stop the process, with SIGKILL after `timeout` seconds. Do nothing if it has ended."""
        if not self.alive:
            return
        members = tree(self.pid)
        send(self.pid, signal.SIGCONT, self.stop_signal)
        if not eventually(lambda: not self.alive, timeout=timeout):
            for pid in members:
                send(pid, signal.SIGKILL)
            eventually(lambda: not self.alive, timeout=timeout)


@dataclass(eq=False)
class Process:
    """A child process that can be started again after it has ended.

    `argv`, `env` and `cwd` are as for `subprocess`. Output is appended to `log`. `stop()` sends
    `stop_signal`, and the child also gets it when this process dies. `mode` is the identity for
    `sandbox.launch`.
    """

    argv: Sequence[str | Path]
    _: KW_ONLY
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    mode: str = "self"
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The child's name in messages: the name of its log."""
        return self.log.stem

    def start(self) -> Self:
        """Start the child without waiting until it is ready; return self.

        Raises RuntimeError outside the main thread, because the child would be killed as soon as
        the calling thread ends.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name} must be started from the main thread")
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                self._launch(),
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Keep Ctrl-C away from the children: the parent stops them in order.
                start_new_session=True,
            )
        Record.of(self.pid, stop_signal=self.stop_signal).write(self._record)
        return self

    def _launch(self) -> list[str]:
        shim = [sys.executable, "-I", "-S", str(LAUNCH)]
        ties = [str(os.getpid()), str(int(self.stop_signal)), self.mode]
        return [*shim, *ties, *map(str, self.argv)]

    @property
    def _record(self) -> Path:
        return self.log.with_name(f"{self.log.name}.pid")

    @property
    def pid(self) -> int:
        """The child's pid. Raises RuntimeError before the first start."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child has been started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def poll(self) -> int | None:
        """Return the exit code if the child has ended, otherwise None."""
        return None if self._child is None else self._child.poll()

    def check(self) -> None:
        """Raise ProcessError if the child has ended."""
        if self.poll() is not None:
            raise ProcessError(f"{self.name} ended with exit code {self.poll()}\n{self.tail()}")

    def ready(self) -> bool:
        """Return whether the child is ready. Subclasses override this; here: whether it runs."""
        return self.running

    def wait_until_ready(self, *, timeout: float = 60) -> Self:
        """Wait until `ready()` and return self.

        Raises ProcessError if the child ends first or is not ready after `timeout` seconds.
        """

        def is_ready() -> bool:
            self.check()
            return self.ready()

        if not eventually(is_ready, timeout=timeout):
            raise ProcessError(f"{self.name} was not ready after {timeout:g} s\n{self.tail()}")
        return self

    def finish(self, *, timeout: float = 60) -> None:
        """Wait until a short-lived child ends.

        Raises ProcessError unless it exits with 0 within `timeout` seconds.
        """
        try:
            eventually(lambda: not self.running, timeout=timeout)
        finally:
            self.kill()
        self._record.unlink(missing_ok=True)
        if self.poll() != 0:
            self.check()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        with suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def ask_to_stop(self) -> None:
        """Send the stop signal without waiting. A frozen child is thawed first."""
        if self.running:
            self.thaw()
            send(self.pid, self.stop_signal)

    def stop(self, *, timeout: float = 10) -> None:
        """Stop the child, with SIGKILL after `timeout` seconds. Do nothing if it has ended."""
        self.ask_to_stop()
        self._await_end(timeout=timeout)

    def _await_end(self, *, timeout: float) -> None:
        if not eventually(lambda: not self.running, timeout=timeout):
            self.kill()
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill the child and its descendants with SIGKILL, and reap the child."""
        if not self.running or self._child is None:
            return
        for pid in self._frozen_tree():
            send(pid, signal.SIGKILL)
        self._child.wait()
        self._record.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Suspend the child and its descendants with SIGSTOP: connections hang, none is refused."""
        if self.running:
            self._frozen_tree()

    def _frozen_tree(self) -> list[int]:
        # Freeze the parent first, so that it cannot start more children meanwhile.
        send(self.pid, signal.SIGSTOP)
        members = tree(self.pid)
        for pid in members:
            send(pid, signal.SIGSTOP)
        return members

    def thaw(self) -> None:
        """Resume a frozen child and its descendants."""
        if self.running:
            for pid in tree(self.pid):
                send(pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the child during the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the child during the block, then start it again and wait until it is ready."""
        self.stop()
        try:
            yield
        finally:
            self.start().wait_until_ready()


def stop_all(processes: Iterable[Process], *, timeout: float = 10) -> None:
    """Stop several children in parallel, with SIGKILL after `timeout` seconds."""
    chosen = list(processes)
    for process in chosen:
        process.ask_to_stop()
    deadline = time.monotonic() + timeout
    for process in chosen:
        process._await_end(timeout=max(0.0, deadline - time.monotonic()))  # noqa: SLF001


def finish_all(processes: Iterable[Process], *, timeout: float = 60) -> None:
    """Run short-lived children in parallel. Raises ProcessError if one fails."""
    chosen = list(processes)
    try:
        for process in chosen:
            process.start()
        for process in chosen:
            process.finish(timeout=timeout)
    finally:
        for process in chosen:
            process.kill()


def free_port() -> int:
    """Return a free loopback port."""
    for _ in range(100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(PORTS)))
            return int(probe.getsockname()[1])
    raise RuntimeError(f"no free port between {PORTS.start} and {PORTS.stop}")


def eventually(condition: Callable[[], bool], *, timeout: float, pause: float = 0.02) -> bool:
    """Wait until `condition()` is true; return False after `timeout` seconds.

    `pause` is the number of seconds between two calls.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def send(pid: int, *signals: int) -> None:
    """Send the signals in order. Do nothing if the process has already ended."""
    with suppress(ProcessLookupError):
        for number in signals:
            os.kill(pid, number)


def started(pid: int) -> str | None:
    """Return the process's start time as the kernel reports it, or None if it does not run."""
    if PROC.joinpath("self/stat").exists():
        fields = _stat(pid)
        return fields[19] if fields and fields[0] not in "ZX" else None
    return _ps("-p", str(pid), "-o", "lstart=").strip() or None


def tree(pid: int) -> list[int]:
    """Return the process and all its descendants, parents before children."""
    parents = parent_of_each()
    members = [pid]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def parent_of_each() -> dict[int, int]:
    """Return the parent pid of every process."""
    if PROC.joinpath("self/stat").exists():
        pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
        return {pid: int(fields[1]) for pid in pids if (fields := _stat(pid))}
    rows = (line.split() for line in _ps("-A", "-o", "pid=,ppid=").splitlines())
    return {int(pid): int(parent) for pid, parent in rows}


def _stat(pid: int) -> list[str]:
    # The second field is the program's name in parentheses. It may contain any character.
    try:
        return PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout
