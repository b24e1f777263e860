"""docs/how-to/other-task-queues.md: each recipe in the tutorial's project, with real workers."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pytest

from sandbox.processes import eventually, stop_all
from tests import snippets

from .servers import REQUIRED
from .tutorial import Tutorial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.processes import Process

PAGE = snippets.ROOT / "docs" / "how-to" / "other-task-queues.md"
PACKAGES = ("django_tasks", "django_tasks_db", "huey")
BUILT_IN = django.VERSION >= (6, 0)
PATIENCE_SECONDS = 60
#: Prints how long a delete took, and its notes were left.
DELETE = """
    import time

    from django.contrib.auth.models import User
    from notes.models import Note

    user, bystander = (User.objects.create_user(name) for name in ("ada", "bob"))
    for owner in (user, bystander):
        Note.objects.bulk_create(Note(owner=owner, text="x") for _ in range(100))
    began = time.monotonic()
    user.delete()
    while Note.objects.filter(owner_id=1).exists() and time.monotonic() < began + 30:
        time.sleep(0.01)
    print(time.monotonic() - began, Note.objects.filter(owner_id=1).count(), Note.objects.count())
    """


@pytest.fixture(scope="module")
def packages() -> list[Path]:
    """Return the folders of the packages, which `./run test-engines` installs."""
    found = {name: importlib.util.find_spec(name) for name in PACKAGES}
    if missing := [name for name, spec in found.items() if spec is None]:
        assert not os.environ.get(REQUIRED), missing
        pytest.skip(f"no {', '.join(missing)}: ./run test-engines installs them")
    return sorted({Path(str(spec.origin)).parents[1] for spec in found.values() if spec})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tutorial(tmp_path_factory.mktemp("tutorial") / "project").folder


@pytest.fixture
def project(plain: Path, packages: list[Path], tmp_path: Path) -> Tutorial:
    """Return a project without the recipes, which can import the packages."""
    folder = shutil.copytree(plain, tmp_path / "project", symlinks=True)
    made = Tutorial(folder, packages=packages, made=True)
    bins = [str(path / "bin") for path in packages]
    made.environment["PATH"] = os.pathsep.join([*bins, made.environment["PATH"]])
    return made


def follow(project: Tutorial, heading: str) -> list[list[str]]:
    """Add what the page shows below a heading to the project; return the commands."""
    typed = list[list[str]]()
    for block in snippets.blocks(PAGE):
        if block.heading == heading and block.language == "console":
            typed += [shlex.split(command.line) for command in snippets.commands(block)]
        elif block.heading == heading:
            name = re.split(r"[ ,\n]", block.text)[1]
            project.append(name, block.text)
    return typed


def worker(project: Tutorial, words: list[str]) -> Process:
    if words[0] == "python":
        return project.process("worker", *words[1:])
    return project.process("worker", "-m", f"huey.bin.{words[0]}", *words[1:])


def deleted(project: Tutorial) -> float:
    """Delete a user with a hundred notes; return after how long they were gone."""
    seconds, left, notes = project.shell(DELETE).split()
    assert (left, notes) == ("0", "100"), seconds
    return float(seconds)


@pytest.fixture
def stopped() -> Iterator[list[Process]]:
    started = list[Any]()
    yield started
    stop_all(started)


def test_django_s_tasks(project: Tutorial, stopped: list[Process]) -> None:
    """With Django 5.2, as the page says, through the package that has its own name for them."""
    migrate, words = follow(project, "Django's tasks")
    if not BUILT_IN:
        file = project.folder / "notes" / "queue.py"
        file.write_text(file.read_text().replace("django.tasks", "django_tasks"))
        project.append("mysite/settings.py", 'INSTALLED_APPS += ["django_tasks"]')
    project.run(*migrate[1:])
    stopped.append(worker(project, words).start())
    assert eventually(lambda: "Starting worker" in stopped[0].tail(), timeout=PATIENCE_SECONDS)
    assert deleted(project) < 10
    assert "SUCCESSFUL" in stopped[0].tail()
    assert "no issues" in project.run("manage.py", "check")


def test_huey(project: Tutorial, stopped: list[Process]) -> None:
    [words] = follow(project, "Huey")
    stopped.append(worker(project, words).start())
    assert eventually(lambda: "consumer started" in stopped[0].tail(), timeout=PATIENCE_SECONDS)
    assert deleted(project) < 10
    assert "executed in" in stopped[0].tail()


def test_what_a_dead_worker_took_along_is_done_by_the_command_of_the_page(
    project: Tutorial, stopped: list[Process]
) -> None:
    """The queue has delivered the message and forgets it; the log does not."""
    follow(project, "Huey")
    project.shell(DELETE.replace("+ 30", "+ 0.5"))  # no worker runs: the message is taken by none
    [words] = follow(project, "Other task queues")
    (project.folder / "huey.sqlite3").unlink()
    stopped.append(project.process("drain", *words[1:]).start())

    def left() -> int:
        with closing(sqlite3.connect(project.folder / "notes.sqlite3", timeout=30)) as notes:
            return int(notes.execute("SELECT count(*) FROM notes_note").fetchone()[0])

    time.sleep(0.5)
    assert eventually(lambda: left() == 100, timeout=PATIENCE_SECONDS)
