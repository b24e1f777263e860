"""The documentation: it builds without a warning, and a newcomer gets through the tutorial."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import generate
from tests import snippets

DOCS = snippets.ROOT / "docs"
PRODUCT = snippets.ROOT / "apps" / "integrity"


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


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_pages_that_sphinx_does_not_see_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", (snippets.ROOT / name).read_text())
    assert [each for each in targets if not (snippets.ROOT / each).exists()] == []


@pytest.mark.parametrize("name", generate.pages())
def test_what_the_code_writes_is_up_to_date(name: str) -> None:
    assert (DOCS / "reference" / name).read_text() == generate.pages()[name], (
        "run `./run docs --write`"
    )


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
    for block in snippets.blocks(DOCS / "tutorial.md"):
        if block.language == "python":
            save(block.text, folder)
        elif not block.not_run:
            for command in snippets.commands(block):
                done = subprocess.run(
                    ["bash", "-c", command.line],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                told = f"{block.place}: {command.line}\n{done.stdout}{done.stderr}"
                assert command.may_end(done.returncode), told
                absent = snippets.missing(command.output, done.stdout)
                assert not absent, f"{absent!r} is not in\n{told}"


def save(text: str, folder: Path) -> None:
    """The first line names the file, and whether the rest goes to its end."""
    name, _, where = text.splitlines()[0].removeprefix("# ").partition(", ")
    assert where in {"", "at the end"}
    path = folder / name
    path.write_text((path.read_text() if where else "") + text)
