"""What docker-compose.yml starts, started here: Redis with its users, and Flower."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import yaml

from sandbox import binaries
from sandbox.environment import BROKER
from sandbox.processes import Process, eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
USERS = ("web", "beat", "worker", "flower", "health")
#: Of the tests alone: it may look at what the server refused.
WATCHER = "watcher"
PATIENCE_SECONDS = 60
NOWHERE = "/nowhere"
COMMANDS = re.compile(r"/api/(worker/|task/(apply|async|send|abort|timeout|rate|revoke))")
#: What Flower's container has: neither databases nor Django's settings.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Broker:
    """A running server with the users of deploy/redis/users.acl, and their passwords."""

    port: int
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user), decode_responses=True)

    def refusals(self) -> list[tuple[str, str, str]]:
        """Who was refused what since the start: user, reason, object."""
        with self.client(WATCHER) as client:
            return [(each["username"], each["reason"], each["object"]) for each in client.acl_log()]


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """Start Redis by the script and the files that the service mounts."""
    copied = folder / "deploy"
    shutil.copytree(ROOT / "deploy" / "redis", copied)
    passwords = {user: secrets.token_urlsafe(24) for user in (*USERS, WATCHER)}
    with (copied / "users.acl").open("a") as file:
        file.write(f"\nuser {WATCHER} reset on >{passwords[WATCHER]} ~* &* +@all\n")
    port = free_port()
    words = SERVICES["redis"]["command"]
    address = ["--bind", "127.0.0.1", "--port", str(port)]
    server = Process(
        [words[0], copied / "start.sh", binaries.redis().path, *address, "--dir", str(folder)],
        log=folder / "redis.log",
        env={
            **os.environ,
            **{f"REDIS_{user.upper()}_PASSWORD": passwords[user] for user in USERS},
            "REDIS_USERS_FILE": str(folder / "users.acl"),
        },
        cwd=folder,
    ).start()
    made = Broker(port, passwords)
    try:
        assert eventually(lambda: answers(made.url("health")), timeout=PATIENCE_SECONDS), (
            server.log.read_text()
        )
        yield made
    finally:
        server.stop()


def answers(url: str) -> bool:
    client = redis.Redis.from_url(url)
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
    finally:
        client.close()


def pattern(handler: Any) -> str:
    """What an entry of Flower's addresses answers to."""
    return str(handler.regex.pattern.rstrip("$") if hasattr(handler, "regex") else handler[0])


def flower_address(handler: Any, name: str) -> str:
    """An address that such an entry answers to; `name` is of a task or a worker."""
    found = pattern(handler)
    return NOWHERE if found == ".*" else re.sub(r"\(\.[+*]\)", name, found).replace("/?", "")


def is_command(handler: Any) -> bool:
    """Whether it sends, stops or changes something, and is asked by POST."""
    return COMMANDS.match(pattern(handler)) is not None


def flower(
    folder: Path, port: int, url: str, login: str, *, address: str = "127.0.0.1", **variables: str
) -> Process:
    """Flower by the words and settings of the service, to be started; on loopback."""
    service = SERVICES["flower"]
    words = [each for each in service["command"] if not each.startswith(("--address", "--port"))]
    settings = {name: value for name, value in service["environment"].items() if "${" not in value}
    folder.mkdir(exist_ok=True)
    return Process(
        [sys.executable, "-m", *words, f"--address={address}", f"--port={port}"],
        log=folder.parent / "flower.log",
        env={
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "PYTHONPATH": str(ROOT),
            **settings,
            BROKER: url,
            "FLOWER_BASIC_AUTH": login,
            **variables,
        },
        cwd=folder,
    )
