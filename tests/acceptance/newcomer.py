"""Somebody else's project, and an environment that has nothing of this repository."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from tests import snippets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.metadata import Distribution

ROOT = snippets.ROOT
README = ROOT / "README.md"
#: As the README prints them.
IN_THE_SETTINGS, IN_THE_CELERY_APP = (
    block.text for block in snippets.blocks(README, "python") if block.heading == "Install"
)
#: The commands that install it, and those that start it.
INSTALL, START = (
    [command.line for command in snippets.commands(block)]
    for block in snippets.blocks(README, "sh")
    if block.heading == "Install"
)
#: What is typed in a project without it, and the error.
[_PROBLEM] = snippets.blocks(README, "pycon")
DELETE, ERROR = _PROBLEM.text.removeprefix(">>> ").splitlines()
DISTRIBUTION = "django-crossdb-integrity"
UV = shutil.which("uv")
#: What a newcomer's shell has, and where packages are.
KEPT = {"PATH", "HOME", "LANG", "TMPDIR"}
PACKAGES = ("PIP_", "UV_", "SSL_")
#: Runs the project's manage.py for one command after the other. Each output ends with a mark.
IN_TURN = """
import json, runpy, sys

for words in json.loads(sys.argv[1]):
    sys.argv = ["manage.py", *words]
    try:
        runpy.run_path("manage.py", run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0, 4):  # 4: a receipt is not verified yet
            raise
    print(end={mark!r})
"""
MARK = "\x1e"


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

    def manage(self, *words: str) -> str:
        """Run a command of `manage.py`; return what it prints."""
        return self._run("manage.py", *words)

    def manage_in_turn(self, *commands: tuple[str, ...]) -> list[str]:
        """Run several commands in one process; return what each prints."""
        return self._run("-c", IN_TURN.format(mark=MARK), json.dumps(commands)).split(MARK)[:-1]

    def shell(self, code: str) -> str:
        return self.manage(*shell(code))

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.python, "-W", "error", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


def shell(code: str) -> tuple[str, ...]:
    """Return the words of the command that runs this code."""
    return ("shell", "--verbosity=0", "-c", textwrap.dedent(code))


def environment(folder: Path) -> Path:
    """An empty environment; gives its Python."""
    way = [UV, "venv", "--quiet", "--python"] if UV else []
    command = [*way, sys.executable, *([] if UV else ["-m", "venv", "--without-pip"]), str(folder)]
    subprocess.run(command, check=True)
    return folder / "bin" / "python"


def build(folder: Path) -> Path:
    """Build the wheel from the working tree, in `folder`; return it."""
    way = [UV, "build", "--quiet", "--wheel", "--out-dir"] if UV else []
    pip = [*_pip(), "wheel", "--quiet", "--no-deps", "-w"]
    subprocess.run([*(way or pip), str(folder), str(ROOT)], check=True, cwd=folder)
    wheel = built(folder)
    assert wheel
    return wheel


def built(folder: Path) -> Path | None:
    """Return the wheel in `folder`, or None."""
    return next(folder.glob("django_crossdb_integrity-*.whl"), None)


def install(python: Path, wheel: Path, *others: str, extras: frozenset[str] = frozenset()) -> None:
    """Install the wheel with these extras, and other packages, into the environment of `python`.

    What they need, and nothing else, is lent to it from this environment: no index is asked.
    """
    [product] = distributions(path=[str(wheel)])
    needed = [*_required_by(product, extras), *map(Requirement, others)]
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(python.parents[1])}))
    for lent in _with_what_they_need(needed):
        _link(lent, site_packages)
    named = f"{wheel}[{','.join(sorted(extras))}]" if extras else str(wheel)
    _change(python, "install", "--quiet", "--no-index", named, *others)


def _with_what_they_need(requirements: Iterable[Requirement]) -> Iterator[Distribution]:
    """Return the packages of this environment that are required, directly or not."""
    waiting, known = list(requirements), set[str]()
    while waiting:
        one = waiting.pop()
        if str(one) not in known:
            known.add(str(one))
            installed = distribution(one.name)
            waiting += _required_by(installed, one.extras)
            yield installed


def _required_by(package: Distribution, extras: Iterable[str]) -> list[Requirement]:
    """Return what the package says that it requires here, with these extras."""
    stated = [Requirement(text) for text in package.requires or ()]
    chosen = ["", *extras]
    return [
        one
        for one in stated
        if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in chosen)
    ]


def _link(package: Distribution, site_packages: Path) -> None:
    """Link its modules. Installers expect its metadata in a folder that is no link."""
    for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        source, target = Path(str(package.locate_file(name))), site_packages / name
        if target.exists():
            continue
        if name.endswith(".dist-info"):
            shutil.copytree(source, target)
        else:
            target.symlink_to(source)


def copy(python: Path, folder: Path) -> Path:
    """Return the Python of a copy of its environment."""
    shutil.copytree(python.parents[1], folder, symlinks=True)
    return folder / "bin" / python.name


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
