"""The documentation: it builds without a warning, and a newcomer gets through the tutorial."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docs import generate
from tests import snippets
from tests.apps.scenes import SCENES

if TYPE_CHECKING:
    from tests.snippets import Command

DOCS = snippets.ROOT / "docs"
PRODUCT = snippets.ROOT / "apps" / "integrity"

#: Runs the lines of its argument, a JSON list; prints for each its code, output and errors as JSON.
IN_SHELLS = """
import json, subprocess, sys

def result(line):
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr

for line in json.loads(sys.argv[1]):
    print(json.dumps(result(line)), flush=True)
"""
#: The same, but each `python manage.py` in a fork of a process that has loaded the project and done
#: nothing else.
IN_FORKS = """
import json, os, runpy, shlex, subprocess, sys, tempfile
import django

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()

def result(line):
    words = shlex.split(line)
    if words[:2] != ["python", "manage.py"]:
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr
    source = os.devnull
    if words[-2] == "<":
        source = words[-1]
        del words[-2:]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        pid = os.fork()
        if not pid:
            for number, file in enumerate((open(source), out, errors)):
                os.dup2(file.fileno(), number)
            sys.argv = words[1:]
            runpy.run_path("manage.py", run_name="__main__")
            sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code, *(file.seek(0) or file.read() for file in (out, errors))

for line in json.loads(sys.argv[1]):
    print(json.dumps(result(line)), flush=True)
"""


def test_it_builds_without_a_warning_and_without_a_network(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"  # whoever asks a server is refused
    done = subprocess.run(
        [sys.executable, "-m", "docs", "--output", str(tmp_path)],
        cwd=snippets.ROOT,
        env={**os.environ, "http_proxy": nowhere, "https_proxy": nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    index = tmp_path / "index.html"
    assert done.stdout.splitlines()[-1] == str(index)
    assert "Tutorial" in index.read_text()


@pytest.mark.parametrize("name", generate.pages())
def test_what_the_code_writes_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == generate.pages()[name], "run `./run docs --write`"


def test_every_page_for_the_person_on_call_is_of_a_guide() -> None:
    written = {f"on-call/{path.name}" for path in (DOCS / "on-call").iterdir()}
    assert written == {name for name in generate.pages() if name.startswith("on-call/")}


def test_the_page_on_third_party_apps_has_all_that_are_tried() -> None:
    tried = {each.distribution for each in SCENES.values()}
    page = (DOCS / "how-to" / "third-party-apps.md").read_text()
    assert {*re.findall(r"^\| (django[\w-]+) \|", page, re.MULTILINE)} == tried


def test_the_tutorial_from_an_empty_folder(tmp_path: Path) -> None:
    folder, packages = tmp_path / "folder", tmp_path / "packages"
    folder.mkdir()
    packages.mkdir()
    (packages / snippets.SHIPPED).symlink_to(PRODUCT)  # as if the wheel were installed
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(packages),
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
    }
    typed: list[tuple[str, Command]] = []
    for block in snippets.blocks(DOCS / "tutorial.md"):
        if block.language == "python":
            follow(typed, folder, environment)
            typed.clear()
            save(block.text, folder)
        elif not block.not_run:
            typed += [(block.place, command) for command in snippets.commands(block)]
    follow(typed, folder, environment)


def follow(typed: list[tuple[str, Command]], folder: Path, environment: dict[str, str]) -> None:
    """Type commands with no change of the files between them, and look at what they print."""
    lines = [command.line for _, command in typed]
    forks = (folder / "manage.py").exists()
    way = [sys.executable, "-c", IN_FORKS] if forks else [sys.executable, "-c", IN_SHELLS]
    done = subprocess.run(
        [*way, json.dumps(lines)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for (place, command), (code, printed, errors) in zip(typed, results, strict=True):
        told = f"{place}: {command.line}\n{printed}{errors}"
        assert command.may_end(code), told
        absent = snippets.missing(command.output, printed)
        assert not absent, f"{absent!r} is not in\n{told}"


def save(text: str, folder: Path) -> None:
    """The first line names the file, and whether the rest goes to its end."""
    name, _, where = text.splitlines()[0].removeprefix("# ").partition(", ")
    assert where in {"", "at the end"}
    path = folder / name
    path.write_text((path.read_text() if where else "") + text)
