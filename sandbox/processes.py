"""Child processes that never outlive us: start, watch, freeze, stop, kill, by their own pid.

Guarantees: a child gets its death signal when the thread that started it ends (Linux);
everywhere its pid and start time are on disk beside its log, so that the next run can
stop what a killed one left behind.
"""

# ruff: noqa: S603, S607 - starting programs is its job; ps is wherever the system has it

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

# Below the ports kernels hand out to clients: there, a client that retries while its
# server is down can be given the server's own port and end up talking to itself.
PORTS = range(20_000, 32_000)


class ProcessError(RuntimeError):
    """A child process ended early or was not ready in time; the message has its last log lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What identifies a process on disk: a pid alone may belong to somebody else by now."""

    pid: int
    started: str
    stop_signal: int

    @classmethod
    def of(cls, pid: int, *, stop_signal: int = signal.SIGTERM) -> Self:
        """Record the process that has `pid` now."""
        return cls(pid=pid, started=started(pid) or "", stop_signal=stop_signal)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the record in `path`, None when there is none that can be read."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Put the record into `path`, in one step."""
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return bool(self.started) and started(self.pid) == self.started

    def end(self, *, timeout: float) -> None:
        """Stop the process, with force after `timeout` seconds; no-op when it is gone."""
        if not self.alive:
            return
        victims = tree(self.pid)
        send(self.pid, signal.SIGCONT, self.stop_signal)
        if not eventually(lambda: not self.alive, timeout=timeout):
            for pid in victims:
                send(pid, signal.SIGKILL)
            eventually(lambda: not self.alive, timeout=timeout)


@dataclass(eq=False)
class Process:
    """One child process that can be started again after it ended.

    `argv`, `env` (None: ours), `cwd` as for subprocess; output is appended to `log`.
    `stop_signal` is what `stop()` sends, and what the child gets when we die.
    `mode` is the identity `sandbox.launch` gives it.
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
        """What messages call the child: its log's name."""
        return self.log.stem

    def start(self) -> Self:
        """Start the child without waiting for it; return self.

        Raises RuntimeError outside of the main thread: the death signal would fire
        as soon as the calling thread ends.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name} must be started from the main thread")
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                self._launch(),
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in a terminal is for us alone: we stop our children in order.
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
        """The child's pid; RuntimeError before the first start."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child has been started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def poll(self) -> int | None:
        """Return the exit code of a child that ended, else None."""
        return None if self._child is None else self._child.poll()

    def check(self) -> None:
        """Raise ProcessError when the child has ended."""
        if self.poll() is not None:
            raise ProcessError(f"{self.name} ended with exit code {self.poll()}\n{self.tail()}")

    def ready(self) -> bool:
        """Whether the child does its job; subclasses know better than 'it runs'."""
        return self.running

    def wait_until_ready(self, *, timeout: float = 60) -> Self:
        """Return self once `ready()`; ProcessError when it dies first or takes too long."""

        def settled() -> bool:
            self.check()
            return self.ready()

        if not eventually(settled, timeout=timeout):
            raise ProcessError(f"{self.name} was not ready after {timeout:g} s\n{self.tail()}")
        return self

    def finish(self, *, timeout: float = 60) -> None:
        """Wait for a child that ends by itself; ProcessError unless it exits with 0 in time."""
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
        """Send the stop signal without waiting; a frozen child is thawed to hear it."""
        if self.running:
            self.thaw()
            send(self.pid, self.stop_signal)

    def stop(self, *, timeout: float = 10) -> None:
        """Stop the child, with SIGKILL after `timeout` seconds; no-op when it has ended."""
        self.ask_to_stop()
        self._await_end(timeout=timeout)

    def _await_end(self, *, timeout: float) -> None:
        if not eventually(lambda: not self.running, timeout=timeout):
            self.kill()
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """End the child and its descendants by SIGKILL, as a crash would, and reap the child."""
        if not self.running or self._child is None:
            return
        for pid in self._frozen_tree():
            send(pid, signal.SIGKILL)
        self._child.wait()
        self._record.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the clock of the child and its descendants: connections hang, none is refused."""
        if self.running:
            self._frozen_tree()

    def _frozen_tree(self) -> list[int]:
        # The parent first, so that the list of its children cannot grow meanwhile.
        send(self.pid, signal.SIGSTOP)
        members = tree(self.pid)
        for pid in members:
            send(pid, signal.SIGSTOP)
        return members

    def thaw(self) -> None:
        """Let a frozen child and its descendants go on."""
        if self.running:
            for pid in tree(self.pid):
                send(pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the child for the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the child for the block, then start it again and wait until it is ready."""
        self.stop()
        try:
            yield
        finally:
            self.start().wait_until_ready()


def stop_all(processes: Iterable[Process], *, timeout: float = 10) -> None:
    """Stop several children at the same time, with SIGKILL after `timeout` seconds."""
    chosen = list(processes)
    for process in chosen:
        process.ask_to_stop()
    deadline = time.monotonic() + timeout
    for process in chosen:
        process._await_end(timeout=max(0.0, deadline - time.monotonic()))  # noqa: SLF001


def finish_all(processes: Iterable[Process], *, timeout: float = 60) -> None:
    """Start short-lived children side by side and wait; ProcessError when one fails."""
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
    """Return a loopback port nobody listens on."""
    for _ in range(100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(PORTS)))
            return int(probe.getsockname()[1])
    raise RuntimeError(f"no free port between {PORTS.start} and {PORTS.stop}")


def eventually(question: Callable[[], bool], *, timeout: float, pause: float = 0.02) -> bool:
    """Ask until the answer is yes; return False when `timeout` seconds pass first."""
    deadline = time.monotonic() + timeout
    while not question():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def send(pid: int, *signals: int) -> None:
    """Send the signals in order; a process that is gone already is what we wanted."""
    with suppress(ProcessLookupError):
        for number in signals:
            os.kill(pid, number)


def started(pid: int) -> str | None:
    """Return when the process started, in the kernel's own words; None when it does not run."""
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
    """Return the parent's pid of every process."""
    if PROC.joinpath("self/stat").exists():
        pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
        return {pid: int(fields[1]) for pid in pids if (fields := _stat(pid))}
    rows = (line.split() for line in _ps("-A", "-o", "pid=,ppid=").splitlines())
    return {int(pid): int(parent) for pid, parent in rows}


def _stat(pid: int) -> list[str]:
    # The second field is the program's name in brackets and may hold anything.
    try:
        return PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout
