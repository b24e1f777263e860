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
from apps.integrity.models import Cascade, ChildDatabase, Deletion
from sandbox.environment import BROKER, VARIABLES, WEB, WORKER, as_role
from sandbox.processes import Process, eventually, free_port, stop_all
from tests.acceptance import composed, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Changes = Mapping[str, Callable[[str], str]]

ROOT = workers.ROOT
PLANTED = secrets.token_hex(16)
LOGIN = f"admin:{secrets.token_hex(16)}"
PATIENCE_SECONDS = 60
PAGES_MAX = 150
NODE = "all@test"
NAMES = ("flower", "web", "worker", "beat")
#: How the names of variables end that hold a URL with a password, whosever it is.
URLS = (*VARIABLES.values(), BROKER)


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
        for process, environment in {"tests": os.environ, **self.environments}.items():
            found["SECRET_KEY"] = environment["SECRET_KEY"]
            for variable in (name for name in environment if name.endswith(URLS)):
                if (url := urlsplit(environment[variable])).password:
                    found[f"{variable} of {process}, {url.username}"] = unquote(url.password)
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
    """Start processes, with other variables than usual where a test names some."""
    staff = User.objects.create_superuser("root", "root@example.org", "pw")
    client = Client()
    client.force_login(staff)
    with ExitStack() as stack:

        def started(names: Sequence[str] = NAMES, **changes: Changes) -> Stage:
            environments = {
                name: environment(tmp_path, WEB if name == "web" else WORKER, changes.get(name, {}))
                for name in names
            }
            stage = staged(tmp_path, environments, client.cookies["sessionid"].value)
            stack.callback(stop_all, stage.processes.values())
            for process in stage.processes.values():
                process.start()
            return stage

        workers.granted()
        yield started


def environment(folder: Path, role: str, changes: Changes) -> dict[str, str]:
    """Of a process that logs in as `role`."""
    found = {
        **as_role(role, workers.environment("tests.security.planted")),
        "PLANTED_SECRET": PLANTED,
        "LOG_FORMAT": "text",
        "TMPDIR": str(folder),
    }
    return found | {name: change(found[name]) for name, change in changes.items()}


def staged(folder: Path, environments: Mapping[str, Mapping[str, str]], session: str) -> Stage:
    """Give the processes of those names, to be started."""
    web, flower = free_port(), free_port()
    queues = ["-Q", ",".join(workers.QUEUES), "--concurrency=1", "--without-gossip"]
    worker = ["celery", "-A", "workers", "worker", "-n", NODE, "--loglevel=DEBUG", *queues]
    commands: dict[str, list[str]] = {
        "web": ["gunicorn", "config.wsgi", f"--bind=127.0.0.1:{web}", "--no-control-socket"],
        "worker": worker,
        "next worker": worker,
        "beat": ["celery", "-A", "workers", "beat", "--pidfile=", "--loglevel=DEBUG"],
    }
    processes = {}
    for name, own in environments.items():
        if name == "flower":
            processes[name] = composed.flower(folder / "cwd", flower, own[BROKER], LOGIN)
            continue
        processes[name] = Process(
            [sys.executable, "-m", *commands[name]],
            log=folder / f"{name}.log",
            env=own,
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
#: One process for all of them, Celery's as well.
ASK = """
import sys, traceback
from celery.bin.celery import celery
from django.core.management import CommandError, call_command
for line in sys.stdin.read().splitlines():
    name, *words = line.split()
    try:
        if name == "celery":
            celery.main(args=["-A", "workers", *words], prog_name="celery")
        else:
            call_command(name, *words)
    except (CommandError, SystemExit) as error:
        print(error)
    except Exception:
        traceback.print_exc()
    print("ended:", line)
"""


def ask_commands(stage: Stage, *celery: str) -> None:
    """See what the verbs, the checks and commands of Celery print, on both outputs."""
    every = " ".join(f"--database={alias}" for alias in VARIABLES)
    lines = [f"integrity {verb} --json" for verb in VERBS]
    lines += ["integrity doctor", "integrity status", f"check --deploy {every}"]
    lines += [f"celery {words}" for words in celery]
    shell = ["manage.py", "shell", "--verbosity=0", "-c", ASK]
    told = run(stage, *shell, given="\n".join(lines))
    assert [line for line in lines if f"ended: {line}" not in told] == [], told
    stage.see("commands", told)


def is_up(stage: Stage) -> bool:
    inspect = current_app.control.inspect(timeout=1, destination=[NODE])
    return bool(
        answer(f"{stage.web}/integrity/healthz")[0]
        and ("flower" not in stage.processes or answer(f"{stage.flower}/healthcheck")[0])
        and inspect.ping()
    )


def await_all(stage: Stage) -> None:
    assert eventually(lambda: is_up(stage), timeout=PATIENCE_SECONDS, pause=0.1), {
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
    ask_commands(stage, "report")
    assert "software -> celery" in stage.seen["commands"]
    assert stage.leaks() == []
    assert re.search("redis", stage.seen["inspect conf"])  # it did answer


def tasks_of(stage: Stage) -> Any:
    basic = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
    _, text = answer(f"{stage.flower}/api/tasks", Authorization=basic)
    return json.loads(text.partition("\n\n")[2])


def nobody_listens(url: str) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{free_port()}/")


def wrong_password(url: str) -> str:
    return url.replace("@", "x@", 1)


def not_there(url: str) -> str:
    return url.rstrip("/") + "_of_nobody"


BLOG, SHOP = VARIABLES["blog_db"], VARIABLES["shop_db"]


def test_no_error_of_a_database_quotes_how_it_was_asked(start: Callable[..., Stage]) -> None:
    """Two broken in two ways; the third way: by the next worker, and in the next test."""
    Deletion.objects.create(parent="auth.User", key="1")
    broken = {BLOG: nobody_listens, SHOP: not_there}
    stage = start(
        ("web", "worker", "beat"),
        web={BLOG: wrong_password, SHOP: nobody_listens},
        worker=broken,
        beat=broken,
    )
    await_all(stage)
    require_broken_pages(stage, "/blog/posts/", "/shop/orders/")
    ask_commands(stage)
    assert {"blog_db", "shop_db"} <= {*re.findall(r"\w+_db", stage.seen["commands"])}
    require_outages(stage, "worker", "blog_db", "shop_db")
    stage.processes["worker"].stop()
    ChildDatabase.objects.all().delete()  # what it noted would keep the next from a try
    Deletion.objects.create(parent="auth.User", key="2")
    after = start(("next worker",), **{"next worker": {BLOG: wrong_password}})
    require_outages(after, "next worker", "blog_db")
    assert stage.leaks() == after.leaks() == []


def require_outages(stage: Stage, name: str, *aliases: str) -> None:
    """The log of that worker says that it could not reach those databases."""
    log = stage.processes[name].log

    def told() -> bool:
        text = log.read_text()
        return all(f"{alias} cannot be reached" in text for alias in aliases)

    assert eventually(told, timeout=PATIENCE_SECONDS), log.read_text()[-3_000:]


def require_broken_pages(stage: Stage, *pages: str) -> None:
    """See every page of the site, some of which need a database that is away."""
    for page in pages:
        stage.see(f"500 of {page}", answer(stage.web + page)[1])
    stage.see("healthz", answer(f"{stage.web}/integrity/healthz")[1])
    assert crawl(stage) > 25
    assert any(re.match(r"500 /", what) for what in stage.seen)


def test_no_error_of_the_broker_quotes_how_it_was_asked(start: Callable[..., Stage]) -> None:
    wrong = f"redis://app:{secrets.token_hex(16)}@127.0.0.1:{urlsplit(os.environ[BROKER]).port}/0"
    broker: Changes = {BROKER: lambda _: wrong}
    Deletion.objects.create(parent="auth.User", key="1")
    stage = start(
        flower=broker,
        web={**broker, BLOG: not_there},
        worker={**broker, BLOG: wrong_password},
        beat=broker,
    )
    assert eventually(lambda: bool(answer(stage.web)[0]), timeout=PATIENCE_SECONDS)
    require_broken_pages(stage, "/blog/posts/")
    ask_commands(stage, "inspect ping", "call integrity.maintain")
    assert "blog_db" in stage.seen["commands"]
    assert eventually(
        lambda: "127.0.0.1" in stage.processes["worker"].log.read_text(), timeout=PATIENCE_SECONDS
    )
    assert stage.leaks() == []
