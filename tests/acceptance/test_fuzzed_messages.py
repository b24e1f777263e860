"""Messages are not authority: thousands of forged ones for a real worker change nothing.

The seed is printed; `FUZZ_SEED=n` replays another one, `FUZZ_MESSAGES=10000` sends more.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import random
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connections
from django.db.models import QuerySet

from apps.blog.models import Comment, Post
from apps.integrity.models import Cascade, Deletion, Heartbeat, Identity, Scan
from apps.shop.models import Order
from sandbox.environment import BROKER, VARIABLES
from sandbox.processes import eventually
from tests.acceptance import workers
from tests.acceptance.workers import QUEUES
from workers.celery import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "3000"))
PATIENCE_SECONDS = 600

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
    forger = Forger(SEED, Path("nowhere"))

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
        "an expiry that is empty": with_headers(expires=""),
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


class Worker:
    """A real worker of the project, alone on its broker, in this test's databases."""

    def __init__(self, folder: Path, loglevel: str) -> None:
        self.redis = redis.Redis.from_url(os.environ[BROKER])
        self.forget()
        options = ("--concurrency=2", "--prefetch-multiplier=8", "--without-mingle")
        self.process = workers.worker(
            folder,
            "fuzzed@%h",
            *options,
            f"--loglevel={loglevel}",
            # Else what scans find is repaired, where a slow machine lets the grace period end.
            env={"DJANGO_SETTINGS_MODULE": "tests.report_only"},
        )

    def push(self, queue: str, *messages: bytes) -> None:
        for start in range(0, len(messages), 500):
            self.redis.lpush(queue, *messages[start : start + 500])

    def answers(self) -> bool:
        with app.connection_for_write() as connection:
            return bool(app.control.inspect(timeout=1, connection=connection).ping())

    def forget(self) -> None:
        """Leave no message to whoever uses the broker next."""
        self.redis.delete(*QUEUES, "unacked", "unacked_index")

    def idle(self) -> bool:
        return not any(self.redis.llen(queue) for queue in QUEUES)

    def wait(self, question: Callable[[], bool]) -> None:
        """Until the answer is yes; fails at once when the worker has ended."""
        answer = eventually(
            lambda: question() or not self.process.running, timeout=PATIENCE_SECONDS, pause=0.1
        )
        log = self.process.log.read_text(errors="replace")[-3_000:]
        assert self.process.running, f"the worker has ended: {log}"
        assert answer, log


@pytest.fixture(params=["CRITICAL"])
def worker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """It has answered once."""
    found = Worker(tmp_path, request.param)
    found.process.start()
    try:
        found.wait(found.answers)
        yield found
    finally:
        found.process.stop()
        found.forget()
        found.redis.close()


@pytest.fixture
def victims() -> list[User]:
    """Live users with content, and orphans of a parent that no log row is about."""
    users = [User.objects.create(username=f"user{n}") for n in range(50)]
    for pk in [*(user.pk for user in users), ORPHAN]:
        post = Post.objects.create(title="t", content="c", author_id=pk)
        Comment.objects.create(post=post, author_id=pk, content="c")
        Order.objects.create(order_number=f"{pk}", customer_id=pk, total=1)
    return users


#: Signs of life, and how far scans have come: what any honest tick writes, too.
TICKS = {Heartbeat, Scan, Identity}


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the project's databases; of the log, all but what scans suspect."""
    found = {}
    for alias in VARIABLES:
        with connections[alias].cursor() as cursor:
            there = set(connections[alias].introspection.table_names(cursor))
        for model in apps.get_models(include_auto_created=True):
            if model._meta.db_table in there and model not in TICKS and not model._meta.proxy:
                rows: QuerySet[Any] = QuerySet(model=model, using=alias)
                if model is Deletion:
                    rows = rows.exclude(state="suspect", source="scan")
                found[f"{alias}.{model._meta.label}"] = sorted(rows.values_list(), key=repr)
    return found


def a_real_deletion_is_cascaded(worker: Worker, user: User) -> None:
    pk = user.pk
    user.delete()
    forger = Forger(SEED, Path("nowhere"))
    wake_up = forger.envelope(forger.headers("integrity.dispatch"), forger.body())
    worker.push("integrity", wake_up)
    worker.wait(lambda: {*Cascade.objects.values_list("state", flat=True)} == {"done"})
    for rows in (
        Post.objects.filter(author_id=pk),
        Comment.objects.filter(author_id=pk),
        Order.objects.filter(customer_id=pk),
    ):
        assert not rows.exists()


def test_thousands_of_forged_messages_change_nothing(
    worker: Worker, victims: list[User], tmp_path: Path
) -> None:
    print(f"FUZZ_SEED={SEED}")  # noqa: T201
    canary = tmp_path / "unpickled"
    forger = Forger(SEED, canary)
    before = everything()
    messages = list(forger.messages(MESSAGES))
    for queue in QUEUES:
        worker.push(queue, *(message for each, message in messages if each == queue))
        worker.push(queue, forger.envelope(forger.headers("integrity.cascade"), HUGE))
        far = forger.headers("integrity.cascade", eta=FAR)
        worker.push(queue, *(forger.envelope(far, forger.body(["blog_db"])) for _ in range(5)))
    worker.wait(worker.idle)
    worker.wait(worker.answers)
    assert everything() == before
    assert not Cascade.objects.exists()
    assert not canary.exists()
    a_real_deletion_is_cascaded(worker, victims[0])
    assert Post.objects.filter(author_id=ORPHAN).exists()
    assert Post.objects.count() == len(victims)


@pytest.mark.parametrize("worker", ["WARNING"], indirect=True)
def test_messages_that_nobody_can_read_do_not_end_the_worker(
    worker: Worker, victims: list[User], tmp_path: Path
) -> None:
    before = everything()
    # As often as the pool has processes, and more: none may take a place for good.
    poisoned = [*poison().values()] * 4
    broken = [*Forger(SEED, tmp_path).unreadable(500)]
    nowhere = Forger(SEED, tmp_path).nowhere()
    worker.push("integrity", *poisoned, *broken, *nowhere)
    worker.wait(worker.idle)
    worker.wait(worker.answers)
    assert everything() == before
    a_real_deletion_is_cascaded(worker, victims[0])
    worker.wait(lambda: not worker.redis.hlen("unacked"))
    said = worker.process.log.read_text(errors="replace")
    assert said.count("a message that cannot be read was dropped") == len(poisoned + broken)
    assert said.count("unknown child database") == len(nowhere) - 1
    assert said.count("unknown database with a deletion log 'blog_db'") == 1
    assert "forger" not in said
    assert "Traceback" not in said
