"""The wheel in somebody else's project, in an environment that has nothing of this repository."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import yaml

from sandbox.processes import eventually
from tests.acceptance import newcomer
from tests.acceptance.newcomer import Project, shell

if TYPE_CHECKING:
    from pathlib import Path

PRODUCT = newcomer.ROOT / "apps" / "integrity"
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
    alias: {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": HERE / f"{name}.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
    for alias, name in {"default": "people", "books": "books"}.items()
}
DATABASE_ROUTERS = ["router.Router"]
"""

#: What the README says, for a project without Celery: "leave out lines 1, 4 and 5".
LINES = re.sub(r"^.+# [14].*\n", "", newcomer.IN_THE_SETTINGS, flags=re.MULTILINE)

FILES = {
    "settings.py": SETTINGS,
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
    "library/tests.py": """
        from django.test import TestCase

        from crossdb_integrity.testing import CrossDatabaseTestMixin
        from people.models import Person

        from .models import Book


        class Gone(CrossDatabaseTestMixin, TestCase):
            def test_books_go_with_their_owner(self):
                ada = Person.objects.create_user("ada")
                Book.objects.create(owner=ada)
                ada.delete()
                self.assertEqual(self.drain(), {"library.Book.owner": 1})
                self.assert_no_orphans()

            def test_on_delete(self):
                self.assert_cascades(
                    "library.Book.owner",
                    parent=lambda: Person.objects.create_user(f"{Person.objects.count()}"),
                    child=lambda person: Book.objects.create(owner=person),
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
PLAIN = """
from people.models import Person

try:
    Person.objects.get(username="ada").delete()
except Exception as error:
    print(error)
"""
DELETE = "from people.models import Person; Person.objects.get(username={!r}).delete()"
COUNT = "from library.models import Book; print('books', Book.objects.count())"


@pytest.fixture
def project(wheel: Path, tmp_path: Path) -> Project:
    python = newcomer.environment(tmp_path / "environment")
    newcomer.install(python, wheel)
    return Project(tmp_path / "project", python, FILES)


def books(project: Project) -> int:
    with closing(sqlite3.connect(project.folder / "books.sqlite3", timeout=20)) as connection:
        return int(connection.execute("SELECT count(*) FROM library_book").fetchone()[0])


def test_the_wheel_holds_the_whole_product_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [each for each in PRODUCT.rglob("*") if each.is_file() and each.suffix != ".pyc"]
    assert held == {f"crossdb_integrity/{each.relative_to(PRODUCT)}" for each in files}
    assert "crossdb_integrity/py.typed" in held


def test_a_newcomer_adopts_it_uses_it_and_leaves_it(project: Project, wheel: Path) -> None:
    *_, failed = project.manage_in_turn(
        ("makemigrations", "people", "library"),
        ("migrate",),
        ("migrate", "--database=books"),
        shell(FILL),
        shell(PLAIN),
    )
    assert f"`{failed.strip()}`".replace("library_book", "blog_post") in newcomer.README.read_text()
    settings = project.folder / "settings.py"
    settings.write_text(SETTINGS + LINES)
    both = ("--database=default", "--database=books")
    *_, key, _, before, drained, after, _ = project.manage_in_turn(
        ("check",),
        ("migrate",),
        ("migrate", "--database=books"),
        ("makemigrations", "--check", "--dry-run"),
        ("check", "--fail-level=WARNING", *both),
        shell("from people.models import Person; print(Person.objects.first().pk)"),
        shell(DELETE.format("ada")),
        shell(COUNT),
        ("integrity", "drain", "--json"),
        shell(COUNT),
        ("integrity", "scan"),
    )
    assert before.split() == ["books", "6"]
    assert json.loads(drained)["cascaded"] == 1
    assert after.split() == ["books", "3"]
    told, _, rules, board = project.manage_in_turn(
        ("integrity", "receipt", "people.Person", key.strip(), "--json"),
        ("test", "--verbosity=0"),
        ("integrity", "alerts"),
        ("integrity", "alerts", "--grafana"),
    )
    assert yaml.safe_load(rules)["groups"]
    assert json.loads(board)["panels"]
    receipt = json.loads(told)
    assert wheel.name.startswith(f"django_crossdb_integrity-{receipt['issued']['version']}-")
    [cascade] = receipt["cascades"]
    assert (cascade["database"], cascade["rows"]) == ("books", {"library.Book.owner": 3})

    forever(project)
    assert books(project) == 0

    settings.write_text(SETTINGS)
    (project.folder / "library" / "tests.py").unlink()
    newcomer.uninstall(project.python)
    *_, count = project.manage_in_turn(
        ("check",), ("makemigrations", "--check", "--dry-run"), ("migrate",), shell(COUNT)
    )
    assert count.split() == ["books", "0"]


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
            assert eventually(lambda: books(project) == 0, timeout=PATIENCE_SECONDS)
            status = json.loads(project.manage("integrity", "status", "--json"))
            assert status["beat"]["name"] == "beat"
            assert [each["name"].split("@")[0] for each in status["workers"]] == ["drain"]
        finally:
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert "books: 3 rows" in told
    assert told.rstrip().endswith("stopped")
