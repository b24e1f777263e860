"""One RabbitMQ node on loopback, from the programs of this machine."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sandbox import processes
from sandbox.servers import LOOPBACK, Server

from . import program

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "integrity"
#: Debian's scripts on the PATH change the user. Those in this folder run as any user.
DEBIAN = Path("/usr/lib/rabbitmq/bin")
HINT = "apt-get install rabbitmq-server"
START_SECONDS, COMMAND_SECONDS = 90.0, 60.0
#: The share of the memory above which RabbitMQ blocks publishers: at once, and its default.
ALARM, NO_ALARM = "0.0000001", "0.4"


def script(name: str) -> Path:
    """Return a script of RabbitMQ. Raises MissingProgramError if there is none."""
    program("erl", hint=HINT)
    found = program(name, hint=HINT)
    return DEBIAN / name if DEBIAN.joinpath(name).exists() else found


class RabbitMQ(Server):
    """A RabbitMQ node that keeps its data across restarts. `url` is its address.

    It has an Erlang port mapper, a cookie and a home of its own, so that it meets no other node.
    The user may do everything; its password is random.
    """

    def __init__(self, *, data: Path, log: Path) -> None:
        """Make the directory `data` with the configuration, without starting the server."""
        server, self.control = script("rabbitmq-server"), script("rabbitmqctl")
        self.data, self.password = data, secrets.token_hex(16)
        data.mkdir()
        # In files, because all users of the system can read command lines.
        self.configuration, cookie = data / "rabbitmq.conf", data / ".erlang.cookie"
        self.configuration.touch(mode=0o600)
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(10))
        cookie.chmod(0o400)
        self.mapper = program("epmd", hint=HINT)
        self.ports = processes.Process([self.mapper], log=data / "epmd.log")
        self._commands = 0
        super().__init__([server], log=log, cwd=data)
        self.listen_on(processes.free_port())

    def listen_on(self, port: int) -> None:
        """Use `port` from the next start on."""
        self.port = port
        self.url = f"amqp://{USER}:{self.password}@{LOOPBACK}:{port}//"
        mapper = processes.free_port()
        self.ports.argv = [self.mapper, "-port", str(mapper), "-address", LOOPBACK]
        self.env = self._environment(mapper)
        settings = {
            "listeners.tcp.1": f"{LOOPBACK}:{port}",
            "default_user": USER,
            "default_pass": self.password,
            "loopback_users": "none",
            "disk_free_limit.absolute": "1MB",
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        self.configuration.write_text("".join(lines))

    def _environment(self, mapper: int) -> dict[str, str]:
        places = {
            "HOME": self.data,
            "RABBITMQ_MNESIA_BASE": self.data / "mnesia",
            "RABBITMQ_LOG_BASE": self.data,
            "RABBITMQ_CONFIG_FILE": self.configuration,
            "RABBITMQ_CONF_ENV_FILE": self.data / "none.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.data / "none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.data / "none.plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": self.data / "generated",
        }
        return {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}},
            **{name: str(place) for name, place in places.items()},
            "RABBITMQ_NODENAME": f"integrity-{mapper}@localhost",
            "RABBITMQ_DIST_PORT": str(processes.free_port()),
            "RABBITMQ_LOGS": "-",
            # Without it, the script would stay as the node's parent and answer the signals.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(mapper),
            "ERL_AFLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # One thread for each kind of work: a test machine has few processors.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +A 4 +sbwt none",
        }

    def start(self) -> Self:
        """Start the port mapper, where it does not run, and the node."""
        if not self.ports.running:
            self.ports.start()
        return super().start()

    def ready(self) -> bool:
        """Return whether the node speaks AMQP: it listens once it has booted."""
        with (
            suppress(OSError),
            socket.create_connection((LOOPBACK, self.port), timeout=1) as connection,
        ):
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(connection.recv(1))
        return False

    def wait_until_ready(self, *, timeout: float = START_SECONDS) -> Self:
        """Wait until it speaks AMQP, as `Process` does."""
        return super().wait_until_ready(timeout=timeout)

    def stop(self, *, timeout: float = 30) -> None:
        """Stop the node, with SIGKILL after `timeout` seconds. The port mapper goes on."""
        super().stop(timeout=timeout)

    def command(self, *words: str) -> None:
        """Run `rabbitmqctl` on this node. Raises ProcessError if it fails."""
        self._commands += 1
        log = self.data / f"rabbitmqctl-{self._commands}.log"
        command = processes.Process([self.control, *words], log=log, env=self.env, cwd=self.data)
        command.start().finish(timeout=COMMAND_SECONDS)

    def alarm(self) -> None:
        """Let the node block all publishers, because its memory is full."""
        self.command("set_vm_memory_high_watermark", ALARM)

    def no_alarm(self) -> None:
        """End the alarm."""
        self.command("set_vm_memory_high_watermark", NO_ALARM)


@contextmanager
def running(directory: Path, name: str = "rabbitmq") -> Iterator[RabbitMQ]:
    """Run a node whose files are below `directory`, during the block."""
    server = RabbitMQ(data=directory / name, log=directory / f"{name}.log")
    try:
        server.start().await_first_start()
        yield server
    finally:
        server.stop()
        server.ports.stop()
