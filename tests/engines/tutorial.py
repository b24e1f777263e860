"""The project of docs/tutorial.md, with the files that its page prints, for real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.processes import Process
from tests import snippets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAGE = snippets.ROOT / "docs" / "tutorial.md"


@dataclass
class Tutorial:
    """A project in `folder`, which imports the product under the name of its wheel.

    `settings` are further lines, `packages` are folders with further packages. With `made`, the
    folder has a project already: a copy of one.
    """

    folder: Path
    settings: str = ""
    packages: Sequence[Path] = ()
    python: str = sys.executable
    made: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the project and its tables."""
        own = self.folder / "packages"
        self.environment |= {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": os.pathsep.join(map(str, (own, *self.packages))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        if not self.made:
            own.mkdir(parents=True)
            (own / snippets.SHIPPED).symlink_to(snippets.ROOT / "apps" / "integrity")
            self._make()

    def _make(self) -> None:
        self.run("-m", "django", "startproject", "mysite", ".")
        self.run("manage.py", "startapp", "notes")
        for name, text in self.files().items():
            self.append(name, text)
        self.append("mysite/settings.py", self.settings)
        self.run("manage.py", "makemigrations", "notes")
        self.run("manage.py", "migrate")
        self.run("manage.py", "migrate", "--database", "notes_db")

    @staticmethod
    def files() -> dict[str, str]:
        """Return path → what the page adds to the file, of those that the project keeps."""
        texts = [block.text for block in snippets.blocks(PAGE, "python")]
        named = {text.split()[1].rstrip(","): text for text in texts if text.startswith("# ")}
        return {name: text for name, text in named.items() if "/" in name}

    def append(self, name: str, text: str) -> None:
        """Add lines to a file of the project."""
        path = self.folder / name
        before = path.read_text() if path.exists() and "models" not in name else ""
        path.write_text(f"{before}\n{textwrap.dedent(text)}")

    def run(self, *arguments: str, ok: bool = True) -> str:
        """Run Python in the project and return what it prints. Fail if it ends with an error."""
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not ok or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stdout + done.stderr

    def shell(self, code: str) -> str:
        """Run code in the project's shell and return what it prints."""
        return self.run("manage.py", "shell", "-v0", "-c", textwrap.dedent(code)).strip()

    def process(self, name: str, *arguments: str) -> Process:
        """Return a process of the project that is not started yet."""
        return Process(
            [self.python, *arguments],
            log=self.folder / f"{name}.log",
            env=self.environment,
            cwd=self.folder,
        )
