"""Start three PostgreSQL servers and one Redis server on loopback, and return their URLs.

There is one server per database, so that each can be stopped, frozen or killed alone. Every server
listens on 127.0.0.1 only and requires a random password. All of them end with this process, and
their data is removed. The roles in the URLs are not superusers.
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
#: The superuser. It creates the roles, and some tests log in with it.
USER = "integrity"

# Data must survive a killed server, but not a power failure. Commits stay synchronous, because a
# killed server would otherwise lose the last commits. Without fsync, waiting for them is cheap.
POSTGRESQL_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "8",  # for tests of an abandoned prepared transaction
    "shared_buffers": "64MB",
}

#: How many ports a server tries: another process may take a free port before the server listens.
PORTS_TRIED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the PostgreSQL servers of one run share.

    `program` is `postgres`, which runs under `mode`. Data is in `place`, logs are in `logs`.
    """

    program: Path
    major: int
    mode: str
    place: Path
    logs: Path
    passwords: roles.Passwords

    @classmethod
    def under(cls, directory: Path) -> Self:
        """Find the programs and make the data directory below `directory`."""
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
        """Return a short-lived process with the same identity, not yet started."""
        log = self.logs / f"{name}.log"
        return processes.Process(argv, log=log, cwd=self.place, mode=self.mode)


class Server(processes.Process, ABC):
    """A process that listens on the loopback port last set by `listen_on`."""

    @abstractmethod
    def listen_on(self, port: int) -> None:
        """Use `port` from the next start on."""

    def await_first_start(self) -> None:
        """Wait until the server is ready. If its port is taken, restart it on another one.

        Raises ProcessError if it ends for another reason, or after PORTS_TRIED ports.
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
    """A PostgreSQL server with the database of one alias. `url` is the superuser's."""

    def __init__(self, installation: Installation, *, alias: str) -> None:
        """Prepare a server for the data directory of `alias`, without starting it."""
        self.installation = installation
        self.data = installation.place / alias
        self.database = DATABASES[alias]
        super().__init__(
            [],
            log=installation.logs / f"postgresql-{alias}.log",
            cwd=installation.place,
            stop_signal=signal.SIGINT,  # fast shutdown: does not wait for clients to disconnect
            mode=installation.mode,
        )
        self.listen_on(processes.free_port())

    def listen_on(self, port: int) -> None:
        """Use `port` from the next start on."""
        shared, self.port = self.installation, port
        self.url = self.url_of(USER)
        settings = [f"-c{name}={value}" for name, value in POSTGRESQL_SETTINGS.items()]
        # No Unix socket: its path could exceed the length limit in deep folders.
        address = ["-h", LOOPBACK, "-p", str(port), "-k", ""]
        self.argv = [shared.program, "-D", self.data, *address, *settings]

    def ready(self) -> bool:
        """Return whether the server accepts connections, according to its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        # A killed server leaves its file behind, so compare the pid.
        return lines[0] == str(self.pid) and [line.strip() for line in lines[7:8]] == ["ready"]

    def url_of(self, role: str) -> str:
        """Return the URL with which the role logs in."""
        password = self.installation.passwords.of(role)
        return f"postgresql://{role}:{password}@{LOOPBACK}:{self.port}/{self.database}"

    def create_database(self) -> processes.Process:
        """Return the process, not yet started, that creates the server's database and roles."""
        shared = self.installation
        address = ["-h", LOOPBACK, "-p", str(self.port), "-U", USER]
        # A client keeps the current identity, because it reads a file of the project.
        return processes.Process(
            [shared.program.with_name("psql"), *address, *roles.script(self.database)],
            log=shared.logs / f"roles-{self.database}.log",
            env=shared.passwords.environment(),
        )


class Redis(Server):
    """A Valkey or Redis server that keeps its data across restarts. `url` is its address."""

    def __init__(self, program: Path, *, data: Path, log: Path) -> None:
        """Make the directory `data` with the configuration, without starting the server."""
        self.password = secrets.token_hex(16)
        data.mkdir()
        # In a file, because all users of the system can read command lines.
        self.configuration = data / "redis.conf"
        self.configuration.touch(mode=0o600)
        super().__init__([program, self.configuration], log=log, cwd=data)
        self.listen_on(processes.free_port())

    def listen_on(self, port: int) -> None:
        """Use `port` from the next start on."""
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
        """Return whether the server answers a ping."""
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(request)
                return _received(connection, b"+PONG")
        except OSError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The running servers and the environment variables with their URLs.

    `environment` has the URLs of the tables' owner and of the other roles. `environment.as_role`
    selects those of one role. `postgres` is empty and `redis` is None if the URLs came from the
    environment: those servers must not be stopped.
    """

    directory: Path
    environment: Mapping[str, str]
    postgres: Mapping[str, PostgreSQL]
    redis: Redis | None

    @property
    def superusers(self) -> dict[str, str]:
        """Variables with the superuser's URLs, for tests only."""
        return {SUPERUSERS[alias]: server.url for alias, server in self.postgres.items()}


@contextmanager
def running(home: Path = runs.HOME, *, keep: bool = False) -> Iterator[Sandbox]:
    """Run the servers whose URLs are not in the environment, during the block.

    Their files are in a new directory under `home`. SIGTERM ends the block like Ctrl-C.
    Raises MissingProgramError or ProcessError if a server cannot start.
    """
    with (
        _terminable(),
        runs.directory(home, keep=keep) as directory,
        ExitStack() as stack,
        _ignore_signals_after(),
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
    """Start one server per alias. They stop with `stack`."""
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
    """Make a data directory for each alias: run initdb once, then copy the result (faster)."""
    first, *others = (installation.place / alias for alias in DATABASES)
    secret = installation.place / "password"
    secret.write_text(installation.passwords.superuser)
    secret.chmod(
        0o644
    )  # so that PostgreSQL's user can read it; other users cannot enter the folder
    options = ["-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
    options += _locale(installation.major)
    initdb = installation.program.with_name("initdb")
    processes.finish_all([installation.process("initdb", initdb, "-D", first, *options)])
    secret.unlink()
    processes.finish_all(
        installation.process(f"copy-{to.name}", "cp", "-R", first, to) for to in others
    )


def _locale(major: int) -> list[str]:
    """Return initdb's options for the same UTF-8 case mapping on every platform."""
    if major < 17:  # noqa: PLR2004 - the first release with a built-in locale provider
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


def _may_handle(number: signal.Signals) -> bool:
    """Return whether this process may set a handler: in the main thread, if none is set."""
    defaults = {signal.SIG_DFL, signal.default_int_handler}
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and signal.getsignal(number) in defaults


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end the block like Ctrl-C; restore the handlers afterwards."""
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if _may_handle(number)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ignore_signals_after() -> Iterator[None]:
    """Ignore further Ctrl-C after the block, so that the servers stop properly."""
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            if _may_handle(number):
                signal.signal(number, signal.SIG_IGN)
