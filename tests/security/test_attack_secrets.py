"""No secret of the environment leaves it: by no page, answer, log line, report or error.

All processes of the sample project run, with secrets planted into its settings as adopters have
them. Everything that a visitor, a member of staff, Flower's user or a reader of logs can get is
collected, and searched for each secret.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.test import Client
from flower.urls import handlers

from apps.blog.models import Post
from apps.integrity.models import Cascade, Deletion
from sandbox.environment import BROKER, VARIABLES, WEB, WORKER, as_role
from sandbox.processes import Process, eventually, free_port, stop_all
from tests.acceptance import composed, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ROOT = workers.ROOT
PLANTED = secrets.token_hex(16)
LOGIN = f"admin:{secrets.token_hex(16)}"
PATIENCE_SECONDS = 60
PAGES_MAX = 150
NODE = "all@test"
#: How the names of variables end that hold a URL with a password, whosever it is.
URLS = (*VARIABLES.values(), BROKER)
CELERY = ("-m", "celery", "-A", "workers")


@dataclass
class Stage:
    """The processes, what they were started with, and what was seen of them."""

    folder: Path
    environments: Mapping[str, Mapping[str, str]]
    web: str
    flower: str
    processes: dict[str, Process]
    cookies: str
    seen: dict[str, str] = field(default_factory=dict)

    def see(self, what: str, text: str) -> None:
        self.seen[what] = text

    def secrets(self) -> dict[str, str]:
        """Every secret, by where it came from: of each role, and of the superusers."""
        found = {"planted": PLANTED}
        for environment in (os.environ, *self.environments.values()):
            found["SECRET_KEY"] = environment["SECRET_KEY"]
            for variable in (name for name in environment if name.endswith(URLS)):
                if (url := urlsplit(environment[variable])).password:
                    found[f"{variable} of {url.username}"] = unquote(url.password)
        assert len(found) > 2 + len(VARIABLES), sorted(found)
        found["FLOWER_BASIC_AUTH"] = LOGIN.partition(":")[2]
        assert all(len(secret) >= 12 for secret in found.values()), "too short to be searched for"
        return found

    def leaks(self) -> list[tuple[str, str]]:
        """Where a secret was seen, and which; as it is, quoted for a URL, or encoded."""
        for name, process in self.processes.items():
            self.see(f"log of {name}", process.log.read_text())
        return [
            (what, name)
            for what, text in self.seen.items()
            for name, secret in self.secrets().items()
            if any(form in text for form in forms(secret))
        ]


def forms(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {secret, quote(secret, safe=""), encoded[:-1]}


def answer(address: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Status and text of an answer, its headers included; 0 where nobody listens."""
    request = urllib.request.Request(address, method=method, headers=headers)  # noqa: S310 (ours)
    try:
        with urllib.request.urlopen(request, timeout=30) as found:  # noqa: S310
            return found.status, f"{found.headers}\n{found.read().decode(errors='replace')}"
    except urllib.error.HTTPError as error:
        with error:
            return error.code, f"{error.headers}\n{error.read().decode(errors='replace')}"
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return 0, ""


@pytest.fixture
def start(committed: None, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Start all processes, with other variables than usual where a test names some."""
    staff = User.objects.create_superuser("root", "root@example.org", "pw")
    client = Client()
    client.force_login(staff)
    with ExitStack() as stack:

        def started(**changes: Callable[[str], str]) -> Stage:
            environments = {
                "web": environment(tmp_path, WEB, changes),
                "worker": environment(tmp_path, WORKER, changes),
            }
            stage = staged(tmp_path, environments, client.cookies["sessionid"].value)
            stack.callback(stop_all, stage.processes.values())
            for process in stage.processes.values():
                process.start()
            return stage

        workers.granted()
        yield started


def environment(folder: Path, role: str, changes: Mapping[str, Any]) -> dict[str, str]:
    """Of a process that logs in as `role`."""
    found = {
        **as_role(role, workers.environment("tests.security.planted")),
        "PLANTED_SECRET": PLANTED,
        "LOG_FORMAT": "text",
        "TMPDIR": str(folder),
    }
    return found | {name: change(found[name]) for name, change in changes.items()}


def staged(folder: Path, environments: Mapping[str, Mapping[str, str]], session: str) -> Stage:
    web, flower = free_port(), free_port()
    queues = ["-Q", ",".join(workers.QUEUES), "--concurrency=1", "--without-gossip"]
    commands: dict[str, list[str]] = {
        "web": ["gunicorn", "config.wsgi", f"--bind=127.0.0.1:{web}", "--no-control-socket"],
        "worker": ["celery", "-A", "workers", "worker", "-n", NODE, "--loglevel=DEBUG", *queues],
        "beat": ["celery", "-A", "workers", "beat", "--pidfile=", "--loglevel=DEBUG"],
    }
    broker = environments["worker"][BROKER]
    processes = {"flower": composed.flower(folder / "cwd", flower, broker, LOGIN)}
    for name, command in commands.items():
        processes[name] = Process(
            [sys.executable, "-m", *command],
            log=folder / f"{name}.log",
            env=environments["web" if name == "web" else "worker"],
            cwd=ROOT,
        )
    return Stage(
        folder=folder,
        environments=environments,
        web=f"http://127.0.0.1:{web}",
        flower=f"http://127.0.0.1:{flower}",
        cookies=f"sessionid={session}",
        processes=processes,
    )


# What can be asked


def crawl(stage: Stage, first: str = "/admin/") -> int:
    """See every page of the site that a link leads to, one of each shape; gives how many."""
    waiting, shapes = [first, "/", "/integrity/healthz", "/integrity/metrics", "/nowhere/"], set()
    pages = 0
    while waiting and pages < PAGES_MAX:
        address = waiting.pop(0)
        shape = re.sub(r"\d+|\?.*", "", address)
        if shape in shapes or "logout" in address or address.startswith("/static/"):
            continue
        shapes.add(shape)
        status, text = answer(stage.web + address, Cookie=stage.cookies)
        assert status, address
        stage.see(f"{status} {address}", text)
        pages += 1
        waiting += [each.split("#")[0] for each in re.findall(r'href="(/[^"]+)"', text)]
    return pages


def ask_flower(stage: Stage, task: str) -> int:
    """See the answer of each address that Flower has, GET and POST; gives how many."""
    basic = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
    asked = 0
    for each in handlers:
        name = task if "/task" in composed.pattern(each) else NODE
        address = composed.flower_address(each, name)
        for method in ("GET", "POST") if composed.is_command(each) else ("GET",):
            status, text = answer(stage.flower + address, method=method, Authorization=basic)
            assert status, address
            stage.see(f"flower {method} {status} {address}", text)
            asked += 1
    return asked


def ask_workers(stage: Stage) -> None:
    """See what `celery inspect` and `celery report` tell."""
    inspect = current_app.control.inspect(timeout=5, destination=[NODE])
    answers = {
        "conf": inspect.conf(),
        "conf with defaults": inspect.conf(with_defaults=True),
        "report": inspect.report(),
        "stats": inspect.stats(),
        "registered": inspect.registered("app", "backend", "request", "__dict__"),
        "active_queues": inspect.active_queues(),
    }
    for name, found in answers.items():
        assert found, name
        stage.see(f"inspect {name}", json.dumps(found))
    stage.see("celery report", run(stage, *CELERY, "report"))


def run(stage: Stage, *words: str, given: str = "") -> str:
    """Run a program of the project; gives what it prints, on both outputs."""
    done = subprocess.run(
        [sys.executable, *words],
        input=given,
        cwd=ROOT,
        env=stage.environments["worker"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.stdout + done.stderr
    return done.stdout + done.stderr


VERBS = ("doctor", "status", "relations", "drain", "scan", "repair", "grants integrity_worker")
#: One process for all of them.
ASK = """
import sys
from django.core.management import CommandError, call_command
for words in sys.stdin.read().splitlines():
    try:
        call_command(*words.split())
    except (CommandError, SystemExit) as error:
        print(error)
"""


def ask_commands(stage: Stage) -> None:
    """See what the verbs and the checks print, on both outputs."""
    every = " ".join(f"--database={alias}" for alias in VARIABLES)
    lines = [f"integrity {verb} --json" for verb in VERBS]
    lines += ["integrity doctor", "integrity status", f"check --deploy {every}"]
    shell = ["manage.py", "shell", "--verbosity=0", "-c", ASK]
    stage.see("commands", run(stage, *shell, given="\n".join(lines)))


def is_up(stage: Stage) -> bool:
    inspect = current_app.control.inspect(timeout=1, destination=[NODE])
    return bool(
        answer(f"{stage.web}/integrity/healthz")[0]
        and answer(f"{stage.flower}/healthcheck")[0]
        and inspect.ping()
    )


def await_all(stage: Stage) -> None:
    assert eventually(lambda: is_up(stage), timeout=PATIENCE_SECONDS, pause=0.3), {
        name: process.tail() for name, process in stage.processes.items()
    }


def test_nothing_that_can_be_asked_or_read_holds_a_secret(start: Callable[..., Stage]) -> None:
    user = User.objects.create(username="somebody")
    Post.objects.create(title="Title", content="text", author=user)
    stage = start()
    await_all(stage)
    user.delete()
    assert eventually(
        lambda: set(Cascade.objects.values_list("state", flat=True)) == {"done"},
        timeout=PATIENCE_SECONDS,
    )
    current_app.send_task("integrity.dispatch", args=["nowhere"])  # which fails
    [task] = re.findall(r'"([0-9a-f-]{36})": {', json.dumps(tasks_of(stage)))[:1]
    assert crawl(stage) > 25
    assert ask_flower(stage, task) > 40
    ask_workers(stage)
    ask_commands(stage)
    assert stage.leaks() == []
    assert re.search("redis", stage.seen["inspect conf"])  # it did answer


def tasks_of(stage: Stage) -> Any:
    basic = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
    _, text = answer(f"{stage.flower}/api/tasks", Authorization=basic)
    return json.loads(text.partition("\n\n")[2])


BROKEN: dict[str, Callable[[str], str]] = {
    "a port where nobody listens": lambda url: url.replace(
        f":{urlsplit(url).port}/", f":{free_port()}/"
    ),
    "a wrong password": lambda url: url.replace("@", "x@", 1),
    "a database that is not there": lambda url: url.rstrip("/") + "_of_nobody",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_no_error_of_a_database_quotes_how_it_was_asked(
    start: Callable[..., Stage], broken: str
) -> None:
    Deletion.objects.create(parent="auth.User", key="1")
    stage = start(**{VARIABLES["blog_db"]: BROKEN[broken]})
    await_all(stage)
    stage.see("500 of a page", answer(f"{stage.web}/blog/")[1])
    stage.see("healthz", answer(f"{stage.web}/integrity/healthz")[1])
    assert crawl(stage) > 25
    assert any(what.startswith("500") for what in stage.seen)
    ask_commands(stage)
    assert "blog_db" in stage.seen["commands"]
    assert stage.leaks() == []


def test_no_error_of_the_broker_quotes_how_it_was_asked(start: Callable[..., Stage]) -> None:
    wrong = f"redis://app:{secrets.token_hex(16)}@127.0.0.1:{urlsplit(os.environ[BROKER]).port}/0"
    stage = start(**{BROKER: lambda _: wrong})
    assert eventually(lambda: bool(answer(stage.web)[0]), timeout=PATIENCE_SECONDS)
    ask_commands(stage)
    assert eventually(
        lambda: "127.0.0.1" in stage.processes["worker"].log.read_text(), timeout=PATIENCE_SECONDS
    )
    for words in (["inspect", "ping"], ["call", "integrity.maintain"]):
        stage.see(" ".join(words), run(stage, *CELERY, *words))
    assert stage.leaks() == []
