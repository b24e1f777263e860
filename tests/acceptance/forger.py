"""Messages that somebody with access to the broker might send."""

from __future__ import annotations

import base64
import json
import pickle
import random
import uuid
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.acceptance.workers import QUEUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

TASKS = tuple(
    f"integrity.{name}" for name in ("dispatch", "cascade", "verify", "maintain", "scan", "repair")
)
BUILT_IN = tuple(
    f"celery.{name}"
    for name in ("map", "starmap", "chunks", "group", "chain", "chord", "chord_unlock",
                 "accumulate", "backend_cleanup")
)  # fmt: skip
ORPHAN = 987_654  # a parent that never was
FAR = "9999-12-31T23:59:59+00:00"
HUGE = json.dumps([["x" * 5_000_000], {}, {}]).encode()


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Forger:
    """Messages that somebody with access to the broker might send, from a seed."""

    def __init__(self, seed: int, canary: Path) -> None:
        self.random = random.Random(seed)  # noqa: S311 (to be repeated)
        self.pickled = pickle.dumps([[Touch(canary)], {}, {}])
        self.kinds: tuple[Callable[[], bytes], ...] = (
            *[self.wrong_arguments] * 8,
            *[self.unknown_task] * 4,
            self.pickled_body,
            self.wrong_headers,
            self.wrong_encoding,
            self.wrong_times,
            self.followed_by_others,
            self.built_in,
            self.old_protocol,
            self.forged_reply,
            self.followed_by_nonsense,
        )

    def messages(self, number: int) -> Iterator[tuple[str, bytes]]:
        for _ in range(number):
            yield self.random.choice(QUEUES), self.random.choice(self.kinds)()

    def unreadable(self, number: int) -> Iterator[bytes]:
        return (self.broken_body() for _ in range(number))

    def nowhere(self) -> list[bytes]:
        """Messages that name a database which is not there, or holds no log."""
        tasks = ("integrity.cascade", "integrity.verify", "integrity.scan")
        wrong = [*((task, "nope") for task in tasks), ("integrity.dispatch", "blog_db")]
        return [self.envelope(self.headers(task), self.body([alias])) for task, alias in wrong]

    # Parts

    def value(self) -> Any:
        """What a victim's name might look like."""
        one = self.random.choice
        return one([
            lambda: self.random.randint(-5, 50),
            lambda: [self.random.randint(1, 50) for _ in range(5)],
            lambda: {"id": self.random.randint(1, 50), "__all__": True},
            lambda: None,
            lambda: True,
            lambda: 1e308,
            lambda: "x" * one([0, 200, 20_000]),
            lambda: one(["'; DELETE FROM blog_post; --", '" OR 1=1', "auth.User", "blog.Post"]),
            lambda: one(["nope", "__class__", "_storage", "settings", "BLOG_DB", "blog_db\x00"]),
            lambda: one(["default", "blog_db", "shop_db"]),
            lambda: str(ORPHAN),
            lambda: {"__type__": "uuid", "__value__": "zz"},
        ])()  # fmt: skip

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        names = ["database", "using", "ids", "keys", "self", "seconds", "limit", "interruptions"]
        args = [self.value() for _ in range(self.random.choice([0, 1, 1, 1, 2, 3]))]
        kwargs = {self.random.choice(names): self.value() for _ in range(self.random.randint(0, 2))}
        return args, kwargs

    def signature(self) -> Any:
        args, kwargs = self.arguments()
        return self.random.choice([
            {"task": self.random.choice(TASKS + BUILT_IN), "args": args, "kwargs": kwargs,
             "options": {}, "subtask_type": None, "immutable": False},
            {"task": "integrity.cascade", "args": ["blog_db"], "options": {"queue": QUEUES[0]}},
            self.value(),
        ])  # fmt: skip

    def headers(self, task: Any, **changes: Any) -> dict[str, Any]:
        unique = str(uuid.UUID(int=self.random.getrandbits(128)))
        return {
            "lang": "py", "task": task, "id": unique, "root_id": unique, "parent_id": None,
            "eta": None, "expires": None, "retries": 0, "timelimit": [None, None],
            "argsrepr": "()", "kwargsrepr": "{}", "origin": "forger", "group": None, **changes,
        }  # fmt: skip

    def body(self, args: Any = (), kwargs: Any = None, embed: Any = None) -> bytes:
        return json.dumps([args, kwargs or {}, embed or {}]).encode()

    def envelope(self, headers: Any, body: bytes, **changes: Any) -> bytes:
        queue = self.random.choice(QUEUES)
        unique = str(uuid.UUID(int=self.random.getrandbits(128)))
        properties = {
            "correlation_id": unique, "reply_to": "", "delivery_mode": 2, "priority": 0,
            "delivery_info": {"exchange": queue, "routing_key": queue},
            "body_encoding": "base64", "delivery_tag": unique, **changes.pop("properties", {}),
        }  # fmt: skip
        message = {
            "body": base64.b64encode(body).decode(), "content-encoding": "utf-8",
            "content-type": "application/json", "headers": headers, "properties": properties,
            **changes,
        }  # fmt: skip
        return json.dumps(message).encode()

    # Kinds

    def wrong_arguments(self) -> bytes:
        return self.envelope(self.headers(self.random.choice(TASKS)), self.body(*self.arguments()))

    def unknown_task(self) -> bytes:
        task = self.random.choice(
            ["delete_all", "os.system", "apps.integrity.tasks.cascade_into", "", " ", "integrity",
             "integrity.log.purge", "builtins.eval", "x" * 5_000, "tâche\n\x1b[31m"]
        )  # fmt: skip
        return self.envelope(self.headers(task), self.body(*self.arguments()))

    def broken_body(self) -> bytes:
        body = self.random.choice([
            b"", b"{", b"[[1", b"5", b"null", b"NaN", b'"x"', b"[]", b"[1]", b"[1,2,3]",
            b"[[],[],[]]", b'[["blog_db"]]', b"[{},{},{}]", b'[["blog_db"],{},{},{}]',
            b"\xff\xfe\x00", b"[" * 2_000, bytes(self.random.randrange(256) for _ in range(50)),
        ])  # fmt: skip
        return self.envelope(self.headers(self.random.choice(TASKS)), body)

    def pickled_body(self) -> bytes:
        kind = self.random.choice(
            ["application/x-python-serialize", "pickle", "application/x-yaml", "x/y"]
        )
        encoding = self.random.choice(["binary", "utf-8"])
        headers = self.headers(self.random.choice(TASKS))
        changes = {"content-type": kind, "content-encoding": encoding}
        return self.envelope(headers, self.pickled, **changes)

    def wrong_headers(self) -> bytes:
        full = self.headers(self.random.choice(TASKS))
        left_out = self.random.choice([each for each in full if each != "id"])
        missing = {name: value for name, value in full.items() if name != left_out}
        headers = self.random.choice([{}, missing, missing, missing, {"id": "x"}])
        return self.envelope(headers, self.body(*self.arguments()))

    def wrong_encoding(self) -> bytes:
        encoding = self.random.choice(["utf-16", "latin-1", "klingon", "base64", "rot13", ""])
        headers = self.headers(self.random.choice(TASKS))
        return self.envelope(headers, self.body(["é→"]), **{"content-encoding": encoding})

    def wrong_times(self) -> bytes:
        headers = self.headers(
            self.random.choice(TASKS),
            **{
                self.random.choice(["expires", "eta"]): self.random.choice(
                    ["0001-01-01T00:00:00+00:00", "2000-01-01", "yesterday", "-1"]
                ),
                "retries": self.random.choice([-1, 0, 10**9]),
                "timelimit": self.random.choice([[None, None], [1, 1], [0, 0]]),
            },
        )
        return self.envelope(headers, self.body(*self.arguments()))

    def followed_by_others(self) -> bytes:
        embed = {
            each: [self.signature()]
            for each in ("callbacks", "errbacks", "chain")
            if self.random.random() < 0.4
        }
        if self.random.random() < 0.3:
            embed["chord"] = self.signature()
        headers = self.headers(self.random.choice(TASKS))
        return self.envelope(headers, self.body(*self.arguments(), embed))

    def followed_by_nonsense(self) -> bytes:
        embed = {self.random.choice(["callbacks", "errbacks", "chain", "chord"]): self.value()}
        identity = self.random.choice(["x", "x" * 100_000, "\x00\n"])
        headers = self.headers(self.random.choice(TASKS), id=identity)
        return self.envelope(headers, self.body([], {}, embed))

    def built_in(self) -> bytes:
        headers = self.headers(self.random.choice(BUILT_IN))
        args = [self.signature(), [self.value()], [[self.value()]]]
        return self.envelope(headers, self.body(args[: self.random.randint(0, 3)]))

    def old_protocol(self) -> bytes:
        args, kwargs = self.arguments()
        body = {"task": self.random.choice(TASKS), "id": "1", "args": args, "kwargs": kwargs}
        return self.envelope({}, json.dumps(body).encode())

    def forged_reply(self) -> bytes:
        target = self.random.choice([*QUEUES, "nobody", "x" * 1_000])
        properties = {"reply_to": target, "correlation_id": self.random.choice(["", "x" * 1_000])}
        headers = self.headers(self.random.choice(TASKS), reply_to=target)
        return self.envelope(headers, self.body(*self.arguments()), properties=properties)


def poison() -> dict[str, bytes]:
    """What Celery's own consumer ends at: malformed in places that it takes for granted."""
    forger = Forger(1, Path("nowhere"))

    def with_headers(**changes: Any) -> bytes:
        return forger.envelope(forger.headers("integrity.maintain", **changes), forger.body())

    def changed(**changes: Any) -> bytes:
        return json.dumps({**json.loads(with_headers()), **changes}).encode()

    def old(**body: Any) -> bytes:
        return forger.envelope({}, json.dumps(body).encode())

    return {
        "no JSON": b"{",
        "nothing": b"",
        "no text": b"\xff\xfe",
        "a number": b"5",
        "no properties": b'{"body": "", "headers": {}}',
        "headers that are a list": changed(headers=[1]),
        "a task that is a list": forger.envelope(forger.headers([1]), forger.body()),
        "an unknown task without id": forger.envelope({"task": "x"}, forger.body()),
        "a body that is a number": changed(body=5),
        "no body": changed(body=""),
        "plain text": changed(**{"content-type": "text/plain"}),
        "an expiry that is empty": forger.envelope(
            forger.headers("celery.backend_cleanup", expires=""), forger.body()
        ),
        "a time limit that is a number": with_headers(timelimit=5),
        "retries that are text": with_headers(retries="x"),
        "time limits that are text": with_headers(timelimit=["x", "y"]),
        "stamps that are a number": with_headers(stamped_headers=5, expires=FAR),
        "what follows is a number": forger.envelope(
            forger.headers("integrity.maintain"), b"[[], {}, 5]"
        ),
        "a delivery tag that is a list": changed(properties={"delivery_tag": [1]}),
        "arguments that are a number": forger.envelope(
            forger.headers("integrity.cascade"), b"[5, 5, 5]"
        ),
        "an old message without id": old(task="integrity.maintain"),
        "an old message, its task a list": old(task=[1], id="1"),
    }


def attacks(database: int) -> dict[str, Callable[[Redis], object]]:
    """All that a worker might end at or stand still at; `database` is that of the broker."""
    forger = Forger(1, Path("nowhere"))

    def pushed(*messages: bytes) -> Callable[[Redis], object]:
        return lambda broker: broker.lpush(QUEUES[0], *messages)

    def broadcast(exchange: str, **message: Any) -> Callable[[Redis], object]:
        return lambda broker: broker.publish(f"/{database}.{exchange}", json.dumps(message))

    def unacknowledged(entry: bytes) -> Callable[[Redis], object]:
        def write(broker: Redis) -> None:
            broker.hset("unacked", "forged", entry)
            broker.zadd("unacked_index", {"forged": 0})

        return write

    def later(task: str) -> bytes:
        return forger.envelope(forger.headers(task, eta="2099-01-01T00:00:00+00:00"), forger.body())

    bomb = forger.headers("integrity.maintain", compression="application/x-gzip")
    return {
        **{name: pushed(message) for name, message in poison().items()},
        "a signal without a reader": broadcast("celery.pidbox", x=1),
        "an order without a name": broadcast("celery.pidbox", **_envelope({"arguments": {}})),
        "a heartbeat of nobody": broadcast("celeryev/worker.heartbeat", **_envelope([5])),
        "an unacknowledged number": unacknowledged(b"5"),
        "an unacknowledged nothing": unacknowledged(b"{"),
        "200 MB of zeros": pushed(forger.envelope(bomb, zlib.compress(bytes(200_000_000)))),
        "150 messages for 2099": pushed(*(later("integrity.maintain") for _ in range(150))),
        "150 of Celery's own": pushed(*(later("celery.backend_cleanup") for _ in range(150))),
    }


def _envelope(body: Any) -> dict[str, Any]:
    forger = Forger(2, Path("nowhere"))
    return dict(json.loads(forger.envelope({}, json.dumps(body).encode())))
