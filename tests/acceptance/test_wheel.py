"""The wheel in somebody else's project, in an environment that has nothing of this repository."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from sandbox.processes import eventually
from tests import snippets

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ROOT / "apps" / "integrity"
PATIENCE_SECONDS = 30

#: Before the app: what a newcomer has.
SETTINGS = """
from pathlib import Path

SECRET_KEY = "newcomer"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "people", "library"]
AUTH_USER_MODEL = "people.Person"
HERE = Path(__file__).parent
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "people.sqlite3"},
    "books": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "books.sqlite3"},
}
DATABASE_ROUTERS = ["router.Router"]
"""

#: What the README says, for a project without Celery: "leave out 1, 4 and 5".
[FIVE] = [
    block
    for block in snippets.blocks(ROOT / "README.md", "python")
    if block.heading == "Five lines"
]
LINES = "".join(
    line for line in FIVE.text.splitlines(keepends=True) if not re.search(r"# [145]$", line)
)

FILES = {
    "router.py": """
        class Router:
            def db_for_read(self, model, **hints):
                return "books" if model._meta.app_label == "library" else "default"

            db_for_write = db_for_read

            def allow_relation(self, one, other, **hints):
                return True

            def allow_migrate(self, db, app_label, **hints):
                return db == ("books" if app_label == "library" else "default")
        """,
    "people/__init__.py": "",
    "people/models.py": """
        from django.contrib.auth.models import AbstractUser
        from django.db import models

        class Person(AbstractUser):
            nickname = models.CharField(max_length=9, blank=True)
        """,
    "library/__init__.py": "",
    "library/models.py": """
        from django.conf import settings
        from django.db import models

        class Book(models.Model):
            owner = models.ForeignKey(
                settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False
            )
        """,
    "manage.py": """
        import os
        import sys

        from django.core.management import execute_from_command_line

        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
        execute_from_command_line(sys.argv)
        """,
}

FILL = """
from library.models import Book
from people.models import Person

ada, bob = (Person.objects.create_user(name) for name in ("ada", "bob"))
Book.objects.bulk_create(Book(owner=each) for each in (ada, bob) for _ in range(3))
"""
DELETE = "from people.models import Person; Person.objects.get(username={!r}).delete()"
COUNT = "from library.models import Book; print('books', Book.objects.count())"


class Project:
    """A folder with a project, and a Python that has only what was installed into it."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder, python
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name in {"PATH", "HOME", "LANG", "TMPDIR"}
            or name.startswith(("PIP_", "UV_", "SSL_"))
        }
        for name, text in {"settings.py": SETTINGS, **FILES}.items():
            (folder / name).parent.mkdir(exist_ok=True)
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
        return self.manage("shell", "--verbosity=0", "-c", code)

    def books(self) -> int:
        return int(self.shell(COUNT).split()[-1])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(Path(sys.executable), "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT))
    [built] = folder.glob("django_crossdb_integrity-*.whl")
    return built


@pytest.fixture
def project(wheel: Path, tmp_path: Path) -> Project:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    pip(python, "install", "--quiet", str(wheel))
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, python)


def pip(python: Path, *arguments: str) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    subprocess.run(command, check=True, cwd=python.parent)


def test_the_wheel_holds_the_whole_product_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [each for each in PRODUCT.rglob("*") if each.is_file() and each.suffix != ".pyc"]
    assert held == {f"crossdb_integrity/{each.relative_to(PRODUCT)}" for each in files}
    assert "crossdb_integrity/py.typed" in held


def test_a_newcomer_adopts_it_uses_it_and_leaves_it(project: Project) -> None:
    project.manage("makemigrations", "people", "library")
    project.manage("migrate")
    project.manage("migrate", "--database=books")
    project.shell(FILL)

    settings = project.folder / "settings.py"
    settings.write_text(SETTINGS + LINES)
    project.manage("check")
    project.manage("migrate")
    project.manage("migrate", "--database=books")
    project.manage("makemigrations", "--check", "--dry-run")
    both = ("--database=default", "--database=books")
    project.manage("check", "--fail-level=WARNING", *both)

    key = project.shell("from people.models import Person; print(Person.objects.first().pk)")
    project.shell(DELETE.format("ada"))
    assert project.books() == 6
    assert json.loads(project.manage("integrity", "drain", "--json"))["cascaded"] == 1
    assert project.books() == 3
    project.manage("integrity", "scan")
    receipt = json.loads(
        project.manage("integrity", "receipt", "people.Person", key.strip(), "--json")
    )
    [cascade] = receipt["cascades"]
    assert (cascade["database"], cascade["rows"]) == ("books", {"library.Book.owner": 3})

    forever(project)
    assert project.books() == 0

    settings.write_text(SETTINGS)
    pip(project.python, "uninstall", "--quiet", "--yes", "django-crossdb-integrity")
    project.manage("check")
    project.manage("makemigrations", "--check", "--dry-run")
    project.manage("migrate")
    assert project.books() == 0


def forever(project: Project) -> None:
    """Let `drain --forever` find a deletion, show itself, and end when it is asked to."""
    with subprocess.Popen(
        [project.python, "manage.py", "integrity", "drain", "--forever"],
        cwd=project.folder,
        env=project.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            project.shell(DELETE.format("bob"))
            assert eventually(lambda: project.books() == 0, timeout=PATIENCE_SECONDS)
            status = json.loads(project.manage("integrity", "status", "--json"))
            assert status["beat"]["name"] == "beat"
            assert [each["name"].split("@")[0] for each in status["workers"]] == ["drain"]
        finally:
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert "books: 3 rows" in told
    assert told.rstrip().endswith("stopped")
