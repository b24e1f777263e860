"""Takes nothing but loopback; gives three PostgreSQL servers and one Redis, and their URLs.

One server process per database, so that each can be stopped, frozen or killed alone.
Guarantees: every server listens on 127.0.0.1 only and wants a random password; all of
them end with us, and their data with them. The URLs are of roles that are no superusers.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import threading
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sandbox import binaries, privileges, processes, roles, runs
from sandbox.environment import BROKER, DATABASES, SUPERUSERS, VARIABLES, given, of_roles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LOOPBACK = "127.0.0.1"
#: The superuser: it makes the roles, and tests log in with it for what only a superuser may do.
USER = "integrity"

# The data outlives a killed server but not the machine's power, and need not. Commits
# stay synchronous: otherwise a killed server forgets the last ones it confirmed, and
# without fsync waiting for them costs nothing.
POSTGRESQL_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "8",  # for tests of one that was forgotten
    "shared_buffers": "64MB",
}

#: How many ports a server tries: between asking for a free one and listening, others listen too.
PORTS_TRIED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the PostgreSQL servers of one run share.

    `program` is `postgres`, run under `mode`; data goes to `place`, logs to `logs`.
    """

    program: Path
    major: int
    mode: str
    place: Path
    logs: Path
    passwords: roles.Passwords

    @classmethod
    def under(cls, directory: Path) -> Self:
        """Find the programs and make the place for the data below `directory`."""
        mode, program = privileges.mode(), binaries.postgresql()
        place = privileges.place(directory / "postgresql", chosen=mode)
        return cls(
            program=privileges.reachable(program, chosen=mode, near=place),
            major=program.major,
            mode=mode,
            place=place,
            logs=directory,
            passwords=roles.Passwords(),
        )

    def process(self, name: str, *argv: str | Path) -> processes.Process:
        """Return a short-lived process under the same identity, not yet started."""
        log = self.logs / f"{name}.log"
        return processes.Process(argv, log=log, cwd=self.place, mode=self.mode)


class Server(processes.Process, ABC):
    """A process that listens on the loopback port that `listen_on` was told last."""

    @abstractmethod
    def listen_on(self, port: int) -> None:
        """Take `port` for the next start."""

    def await_first_start(self) -> None:
        """Wait until a server that was just started is ready, on another port if its own is taken.

        Raises ProcessError when it ends for another reason, or after PORTS_TRIED ports.
        """
        for _ in range(PORTS_TRIED - 1):
            try:
                self.wait_until_ready()
            except processes.ProcessError as error:
                if os.strerror(errno.EADDRINUSE) not in str(error):
                    raise
                self.listen_on(processes.free_port())
                self.start()
            else:
                return
        self.wait_until_ready()


class PostgreSQL(Server):
    """One PostgreSQL server with the database of one alias; `url` is the superuser's."""

    def __init__(self, installation: Installation, *, alias: str) -> None:
        """Prepare a server for the data directory of `alias`; starts nothing."""
        self.installation = installation
        self.data = installation.place / alias
        self.database = DATABASES[alias]
        super().__init__(
            [],
            log=installation.logs / f"postgresql-{alias}.log",
            cwd=installation.place,
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
            mode=installation.mode,
        )
        self.listen_on(processes.free_port())

    def listen_on(self, port: int) -> None:
        """Take `port` for the next start."""
        shared, self.port = self.installation, port
        self.url = self.url_of(USER)
        settings = [f"-c{name}={value}" for name, value in POSTGRESQL_SETTINGS.items()]
        # No Unix socket: the length limit of its path bites in deep folders.
        address = ["-h", LOOPBACK, "-p", str(port), "-k", ""]
        self.argv = [shared.program, "-D", self.data, *address, *settings]

    def ready(self) -> bool:
        """Whether the server accepts connections, as it says itself in its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        # A killed server leaves its file behind: the pid tells whose word this is.
        return lines[0] == str(self.pid) and [line.strip() for line in lines[7:8]] == ["ready"]

    def url_of(self, role: str) -> str:
        """Return where that role logs in."""
        password = self.installation.passwords.of(role)
        return f"postgresql://{role}:{password}@{LOOPBACK}:{self.port}/{self.database}"

    def create_database(self) -> processes.Process:
        """Return the process, not yet started, that makes the server's database and roles."""
        shared = self.installation
        address = ["-h", LOOPBACK, "-p", str(self.port), "-U", USER]
        # A client needs no other identity than ours, and reads a file of the project.
        return processes.Process(
            [shared.program.with_name("psql"), *address, *roles.script(self.database)],
            log=shared.logs / f"roles-{self.database}.log",
            env=shared.passwords.environment(),
        )


class Redis(Server):
    """One Valkey or Redis server that keeps its data over a restart, reached through `url`."""

    def __init__(self, program: Path, *, data: Path, log: Path) -> None:
        """Make `data` and the configuration in it; starts nothing."""
        self.password = secrets.token_hex(16)
        data.mkdir()
        # In a file, because everybody may read a command line.
        self.configuration = data / "redis.conf"
        self.configuration.touch(mode=0o600)
        super().__init__([program, self.configuration], log=log, cwd=data)
        self.listen_on(processes.free_port())

    def listen_on(self, port: int) -> None:
        """Take `port` for the next start."""
        self.port = port
        self.url = f"redis://:{self.password}@{LOOPBACK}:{port}/0"
        self.configuration.write_text(self._configuration())

    def _configuration(self) -> str:
        settings = {
            "bind": LOOPBACK,
            "port": self.port,
            "requirepass": self.password,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def ready(self) -> bool:
        """Whether the server answers a ping."""
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(request)
                return _received(connection, b"+PONG")
        except OSError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What runs: the URLs for everybody's environment, and the servers that are ours.

    `environment` has the URLs of the tables' owner, and those of the other roles beside them:
    `environment.as_role` picks a process its own.
    `postgres` is empty and `redis` is None where the URLs came from the environment:
    servers of somebody else are not ours to stop.
    """

    directory: Path
    environment: Mapping[str, str]
    postgres: Mapping[str, PostgreSQL]
    redis: Redis | None

    @property
    def superusers(self) -> dict[str, str]:
        """Variables with a superuser's URLs: for tests, and for no process of the product."""
        return {SUPERUSERS[alias]: server.url for alias, server in self.postgres.items()}


@contextmanager
def running(home: Path = runs.HOME, *, keep: bool = False) -> Iterator[Sandbox]:
    """Run the servers that the environment does not name, for the length of the block.

    Their files are in a directory of this run under `home`. SIGTERM ends the block
    like Ctrl-C. Raises MissingProgramError or ProcessError when a server cannot start.
    """
    with (
        _terminable(),
        runs.directory(home, keep=keep) as directory,
        ExitStack() as stack,
        _deaf_at_the_end(),
    ):
        redis = None if given(BROKER) else _redis(directory, stack)
        known = given(*VARIABLES.values())
        postgres = {} if known else _postgresql(directory, stack)
        urls = _urls(postgres) if postgres else of_roles()
        if redis:
            redis.await_first_start()
        yield Sandbox(
            directory=directory,
            environment={**known, **urls, BROKER: redis.url if redis else os.environ[BROKER]},
            postgres=postgres,
            redis=redis,
        )


def _urls(postgres: Mapping[str, PostgreSQL]) -> dict[str, str]:
    return {
        f"{prefix}{VARIABLES[alias]}": server.url_of(role)
        for role, prefix in roles.PREFIXES.items()
        for alias, server in postgres.items()
    }


def _redis(directory: Path, stack: ExitStack) -> Redis:
    program = binaries.redis()
    server = Redis(program.path, data=directory / "redis", log=directory / "redis.log")
    stack.callback(processes.stop_all, [server])
    return server.start()


def _postgresql(directory: Path, stack: ExitStack) -> dict[str, PostgreSQL]:
    """Start one server per alias; they stop with `stack`."""
    installation = Installation.under(directory)
    _initialise(installation)
    servers = {alias: PostgreSQL(installation, alias=alias) for alias in DATABASES}
    stack.callback(processes.stop_all, servers.values())
    for server in servers.values():
        server.start()
    for server in servers.values():
        server.await_first_start()
    processes.finish_all(server.create_database() for server in servers.values())
    return servers


def _initialise(installation: Installation) -> None:
    """Make a data directory for each alias: initdb once, then copies, which cost far less."""
    first, *others = (installation.place / alias for alias in DATABASES)
    secret = installation.place / "password"
    secret.write_text(installation.passwords.superuser)
    secret.chmod(0o644)  # for a dropped user, in a folder that only it and we can enter
    options = ["-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
    options += _locale(installation.major)
    initdb = installation.program.with_name("initdb")
    processes.finish_all([installation.process("initdb", initdb, "-D", first, *options)])
    secret.unlink()
    processes.finish_all(
        installation.process(f"copy-{to.name}", "cp", "-R", first, to) for to in others
    )


def _locale(major: int) -> list[str]:
    """Return initdb's options for UTF-8 case mapping that is the same on every platform."""
    if major < 17:  # noqa: PLR2004 - the first release with a locale provider of its own
        return ["--locale=C.UTF-8"]
    return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]


def _received(connection: socket.socket, answer: bytes) -> bool:
    received = b""
    while answer not in received:
        chunk = connection.recv(1024)
        if not chunk or chunk.startswith(b"-"):
            return False
        received += chunk
    return True


def _ours(number: signal.Signals) -> bool:
    """Whether the signal is ours to handle: nobody else took it, and Python lets us."""
    usual = {signal.SIG_DFL, signal.default_int_handler}
    in_charge = threading.current_thread() is threading.main_thread()
    return in_charge and signal.getsignal(number) in usual


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end the block like Ctrl-C; afterwards all is as before."""
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if _ours(number)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _deaf_at_the_end() -> Iterator[None]:
    """Ignore a second Ctrl-C once the block is over: stopping is bounded, and worth finishing."""
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            if _ours(number):
                signal.signal(number, signal.SIG_IGN)
