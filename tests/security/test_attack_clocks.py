"""Whose clock is off decides nothing: real processes, each in turn 20 s or 600 s ahead or behind.

libfaketime makes their clocks; the servers keep theirs. `CLOCK_SKEWS=-600,-20,20,600` tries all.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db.models import F

from apps.blog.models import Post
from apps.integrity.models import Cascade, Deletion, Heartbeat, Tally
from apps.integrity.models.moments import ServerNow
from sandbox import project
from sandbox.environment import BROKER
from sandbox.processes import Process, eventually
from tests import log_rows
from tests.acceptance import workers

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
#: Those that failed before: a tick that expired was dropped by whoever was ahead of beat.
SKEWS = [float(each) for each in os.environ.get("CLOCK_SKEWS", "600,-20").split(",")]
#: A delete is done and verified within so long, on a machine that has other things to do as well.
BOUND_SECONDS = 30.0
IMPORT = "from django.contrib.auth.models import User"

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        LIBRARY is None, reason="libfaketime is not installed: apt-get install libfaketime"
    ),
]


def environment(ahead: float, **more: str) -> dict[str, str]:
    """Variables of a process whose clock is so many seconds ahead; that of its waits is right."""
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": f"{ahead:+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    own = workers.environment("tests.security.skewed")
    return {**own, **(faked if ahead else {}), **more}


@pytest.fixture(autouse=True)
def broker() -> Iterator[redis.Redis]:
    """No message is left of others, nor for others."""
    with redis.Redis.from_url(os.environ[BROKER]) as client:
        client.flushdb()
        yield client
        client.flushdb()


@contextmanager
def running(role: str, folder: Path, ahead: float = 0.0) -> Iterator[None]:
    """A worker of all queues, or beat, whose clock is off."""
    given = {
        "worker": ("-n", "all@test", "-Q", ",".join(workers.QUEUES), "--concurrency=1"),
        "beat": ("--pidfile=",),
    }[role]
    process = Process(
        [sys.executable, "-m", "celery", "-A", "tests.security.plain", role, *given],
        log=folder / f"{role}.log",
        env=environment(ahead, TMPDIR=str(folder)),
        cwd=folder,
    )
    process.start()
    try:
        yield
        process.check()
    finally:
        process.stop()


class Reader:
    """A process whose clock is off and that runs commands, one after the other."""

    def __init__(self, ahead: float, log: Path) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.security.asked"],
                env=environment(ahead, TMPDIR=str(log.parent)),
                cwd=project.ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.log = log

    def __call__(self, *words: str) -> str:
        """Run a command; codes 3 and 4 say what is to do."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(words), file=self.process.stdin, flush=True)
        told = self.process.stdout.readline()
        assert told, self.log.read_text()
        code, out = json.loads(told)
        assert code in {0, 3, 4}, (code, out, self.log.read_text())
        return str(out)

    def end(self) -> None:
        self.process.communicate(timeout=30)


Readers = dict[float, Reader]


@pytest.fixture(scope="module")
def readers(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    """One whose clock is right, and one for each other clock; all start at once."""
    folder = tmp_path_factory.mktemp("readers")
    found = {ahead: Reader(ahead, folder / f"{ahead:+.0f}.log") for ahead in (0.0, *SKEWS)}
    yield found
    for reader in found.values():
        reader.end()


def clock(reader: Reader) -> str:
    """What a reader is told by `doctor` about clocks, and "" for nothing."""
    checks = json.loads(reader("integrity", "doctor", "--json"))["checks"]
    [found] = [each for each in checks if each["name"] == "clocks"]
    return "" if found["ok"] else str(found["detail"])


def child() -> User:
    user = User.objects.create(username=f"u{time.monotonic_ns()}")
    Post.objects.create(title="t", content="c", author=user)
    return user


def all_verified() -> bool:
    return {*log_rows.states()} == {"verified"} and not Post.objects.exists()


def require_done(folder: Path, since: float) -> None:
    """Everything is done and verified in time, and moments are those of the log's clock."""
    done = eventually(all_verified, timeout=BOUND_SECONDS, pause=0.1)
    logs = "\n".join(each.read_text()[-2_000:] for each in folder.glob("*.log"))
    assert done, logs
    lasted = time.monotonic() - since + 1
    ages = Deletion.objects.annotate(age=ServerNow() - F("recorded_at")).values_list(
        "age", flat=True
    )
    assert all(0 <= age.total_seconds() < lasted for age in ages)
    moments = Cascade.objects.values_list("recorded_at", "done_at", "verified_at")
    assert all(one <= two <= three for one, two, three in moments)
    for alias in ("blog_db", "shop_db"):  # else the log would look as if it had been restored
        Tally.objects.using(alias).all().delete()
    Cascade.objects.all().delete()
    Deletion.objects.all().delete()


def test_the_web_beat_or_a_worker(tmp_path: Path, readers: Readers) -> None:
    """One after the other, with the same processes around it: a worker first, then beat."""
    with ExitStack() as right:
        with running("worker", tmp_path):
            for ahead in sorted(SKEWS, reverse=True):
                with running("beat", tmp_path, ahead):
                    _beat_is(ahead, tmp_path)
                    told = clock(readers[0.0])
            assert told.startswith("beat is ")
            right.enter_context(running("beat", tmp_path))
            for ahead in SKEWS:
                _web_is(readers[ahead], tmp_path)
        for ahead in SKEWS:
            with running("worker", tmp_path, ahead):
                _worker_is(ahead, tmp_path)
                told = clock(readers[0.0])
        assert "all@test is " in told


def _beat_is(ahead: float, folder: Path) -> None:
    """Nothing else announces these deletes; and each next one finds what a later one has noted."""
    begun = time.monotonic()
    for _ in range(2):
        child().delete()
        require_done(folder, begun)
    assert eventually(lambda: _is_about(_skew("beat"), ahead), timeout=30, pause=0.2), _skew("beat")


def _worker_is(ahead: float, folder: Path) -> None:
    begun = time.monotonic()
    child().delete()
    require_done(folder, begun)
    assert _is_about(_skew("all@test"), ahead)


def _web_is(reader: Reader, folder: Path) -> None:
    begun, user = time.monotonic(), child()
    code = f"{IMPORT}; User.objects.get(pk={user.pk}).delete()"
    reader("shell", "--verbosity=0", "-c", code)
    require_done(folder, begun)


def test_a_reader(readers: Readers) -> None:
    begun, ago = time.monotonic(), ServerNow() - dt.timedelta(seconds=300)
    log_rows.make("auth.User", [1], ["blog_db"], recorded_at=ago)
    for name in ("beat", "all@test"):
        Heartbeat.objects.create(name=name, seen_at=ago)
    for ahead in SKEWS:
        found: dict[str, Any] = json.loads(readers[ahead]("integrity", "status", "--json"))
        most = 301 + time.monotonic() - begun
        [blog] = [each for each in found["databases"] if each["database"] == "blog_db"]
        ages = [each["seconds_ago"] for each in [*found["workers"], found["beat"]]]
        assert all(300 <= age < most for age in [blog["lag_seconds"], *ages])
        word = "ahead of" if ahead > 0 else "behind"
        assert f"this process is {abs(ahead):.1f} s {word} default" in clock(readers[ahead])
    assert clock(readers[0.0]) == ""


def _skew(name: str) -> float | None:
    row = Heartbeat.objects.filter(name=name).first()
    return row.clock_skew_seconds if row else None


def _is_about(told: float | None, ahead: float) -> bool:
    return told is not None and abs(told - ahead) < 2
