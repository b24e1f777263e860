"""The project of somebody who has just begun: SQLite, no `LOGGING`, run in its own processes."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS, COLUMNS = 24, 80
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

SETTINGS = """
import os
from pathlib import Path

SECRET_KEY = "newcomer"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "apps.blog", "apps.integrity",
]
HERE = Path(__file__).parent
DATABASES = {
    alias: {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": HERE / f"{alias}.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
    for alias in ("default", "blog_db")
}
if alias := os.environ.get("AWAY"):
    DATABASES[alias]["NAME"] = HERE / "nowhere" / "at_all.sqlite3"
DATABASE_ROUTING_RULES = {"blog": "blog_db"}
DATABASE_ROUTERS = ["apps.integrity.routers.LogRouter", "apps.integrity.routers.AppLabelRouter"]
INTEGRITY = {"wakeups": False, "grace_seconds": 0.001}
"""

FILL = """
from django.contrib.auth.models import User
from apps.blog.models import Post

ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
Post.objects.bulk_create(Post(title="t", content="c", author=each) for each in (ann, bob))
ann.delete()
User.objects.filter(pk=bob.pk)._raw_delete("default")
User.objects.create(username="eve")
"""
MIGRATE = """
from django.core.management import call_command

for alias in ("default", "blog_db"):
    call_command("migrate", database=alias, verbosity=0)
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with settings and two SQLite files."""

    folder: Path

    def manage(self, *words: str, away: str = "") -> subprocess.CompletedProcess[str]:
        return self._run("-m", "django", *words, away=away)

    def run(self, code: str) -> None:
        done = self._run("-c", f"import django; django.setup()\n{code}")
        assert done.returncode == 0, done.stderr

    def manage_unread(self, *words: str, errors_too: bool) -> tuple[int, str]:
        """Run a command whose output nobody reads any more; return its code and its stderr."""
        read, write = os.pipe()
        os.close(read)
        argv = [sys.executable, "-m", "django", *words]
        with os.fdopen(write, "wb") as closed:
            errors = closed if errors_too else subprocess.PIPE
            done = subprocess.run(
                argv, env=self._environment(), stdout=closed, stderr=errors, check=False
            )
        return done.returncode, (done.stderr or b"").decode()

    def on_terminal(self, *words: str, away: str = "") -> tuple[int, str]:
        """Run a command on a terminal; return its code, and what is seen, without colours."""
        code, shown = self._on_terminal(*words, away=away)
        return code, COLOURS.sub("", shown)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command, whose stderr is a pipe, in a process that Ctrl-C reaches."""
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += "from django.core.management import execute_from_command_line as run\n"
        return subprocess.Popen(
            [sys.executable, "-c", f"{code}run({['manage.py', *words]!r})"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def raw_terminal(self, *words: str) -> str:
        """Run a command on a terminal; return what it shows, with its colours."""
        return self._on_terminal(*words)[1]

    def _on_terminal(self, *words: str, away: str = "") -> tuple[int, str]:
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        with subprocess.Popen(
            [sys.executable, "-m", "django", *words],
            env=self._environment() | {"AWAY": away},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        return process.returncode, shown.decode().replace("\r\n", "\n")

    def _run(self, *words: str, away: str = "") -> subprocess.CompletedProcess[str]:
        environment = self._environment() | {"AWAY": away}
        argv = [sys.executable, *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "newcomer_settings",
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
            "PYTHONUNBUFFERED": "",
        }


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the last writer has closed it
        return b""
