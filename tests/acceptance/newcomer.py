"""Somebody else's project, and an environment that has nothing of this repository."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from tests import snippets

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = snippets.ROOT
#: As the README prints them.
FOUR_LINES, IN_THE_CELERY_APP = (
    block.text
    for block in snippets.blocks(ROOT / "README.md", "python")
    if block.heading == "Four lines"
)
DISTRIBUTION = "django-crossdb-integrity"
UV = shutil.which("uv")
#: What a newcomer's shell has, and where packages are.
KEPT = {"PATH", "HOME", "LANG", "TMPDIR"}
PACKAGES = ("PIP_", "UV_", "SSL_")


class Project:
    """A folder with a project, and a Python that has only what was installed into it."""

    def __init__(
        self,
        folder: Path,
        python: Path,
        files: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.python = folder, python
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name in KEPT or name.startswith(PACKAGES)
        } | dict(environment or {})
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(text))

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.python, "-W", "error", "manage.py", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, code: str) -> str:
        return self.manage("shell", "--verbosity=0", "-c", textwrap.dedent(code))


def environment(folder: Path) -> Path:
    """An empty environment; gives its Python."""
    way = [UV, "venv", "--quiet", "--python"] if UV else []
    command = [*way, sys.executable, *([] if UV else ["-m", "venv", "--without-pip"]), str(folder)]
    subprocess.run(command, check=True)
    return folder / "bin" / "python"


def build(folder: Path) -> Path:
    """The wheel, made from the working tree."""
    way = [UV, "build", "--quiet", "--wheel", "--out-dir"] if UV else []
    pip = [*_pip(), "wheel", "--quiet", "--no-deps", "-w"]
    subprocess.run([*(way or pip), str(folder), str(ROOT)], check=True, cwd=folder)
    [built] = folder.glob("django_crossdb_integrity-*.whl")
    return built


def install(python: Path, *packages: str) -> None:
    """Into the environment of that Python; by uv where there is one, as `./run` does."""
    _change(python, "install", "--quiet", *packages)


def uninstall(python: Path) -> None:
    """The product alone."""
    _change(python, "uninstall", "--quiet", *([] if UV else ["--yes"]), DISTRIBUTION)


def _change(python: Path, verb: str, *arguments: str) -> None:
    if UV:
        command = [UV, "pip", verb, "--python", str(python)]
    else:
        command = [*_pip(), "--python", str(python), verb]
    subprocess.run([*command, *arguments], check=True, cwd=python.parent)


def _pip() -> list[str]:
    """The pip of this environment, or of the Python that it was made from."""
    own = importlib.util.find_spec("pip") is not None
    python = sys.executable if own else str(Path(sys.base_prefix, "bin", "python3"))
    return [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
