"""An app of others, whose tables are in another database than the users, in a project of its own.

The app is in a folder named `site-packages`, in two versions, with migrations whose keys had other
names at first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.db import connections
from django.db.migrations.state import ProjectState

from apps.blog.models import Comment, Post
from apps.integrity import relations
from apps.integrity.contrib.unconstrained import keys
from apps.integrity.relations import historical
from apps.shop.models import Order
from tests import snippets
from tests.newcomer import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django import DjangoDbBlocker

    from tests.conftest import Tune

GUIDE = ROOT / "docs" / "how-to" / "third-party-apps.md"
SETTINGS = """
import json, os

SECRET_KEY = "x"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "apps.integrity", "django.contrib.contenttypes", "django.contrib.auth", "vendored",
]
DATABASES = json.loads(os.environ["PROJECT_DATABASES"])
if not os.environ.get("TOGETHER"):
    DATABASE_ROUTING_RULES = {"vendored": "blog_db"}
    DATABASE_ROUTERS = ["apps.integrity.routers.LogRouter", "apps.integrity.routers.AppLabelRouter"]
INTEGRITY = {"wakeups": False, **json.loads(os.environ["PROJECT_INTEGRITY"])}
"""

KEY = "models.ForeignKey(settings.AUTH_USER_MODEL, "
HEAD = "from django.conf import settings\nfrom django.db import migrations, models\n"


def migration(after: str, *operations: str) -> str:
    """The text of a migration."""
    needs = [("vendored", after)] if after else []
    user = "migrations.swappable_dependency(settings.AUTH_USER_MODEL)"
    return (
        f"{HEAD}\n\nclass Migration(migrations.Migration):\n"
        f"    dependencies = [{user}, *{needs}]\n"
        f"    operations = [{', '.join(operations)}]\n"
    )


FIRST = {
    "__init__.py": "",
    "models.py": f"""{HEAD}
class Entry(models.Model):
    actor = {KEY}models.CASCADE, null=True, related_name="+")
    text = models.CharField(max_length=20)
""",
    "migrations/__init__.py": "",
    "migrations/0001_initial.py": migration(
        "",
        "migrations.CreateModel('Record', [('id', models.BigAutoField(primary_key=True,"
        " auto_created=True, serialize=False, verbose_name='ID')),"
        f" ('person', {KEY}models.CASCADE, null=True, related_name='+'))])",
    ),
    "migrations/0002_names.py": migration(
        "0001_initial",
        "migrations.RenameModel('Record', 'Entry')",
        "migrations.RenameField('Entry', 'person', 'actor')",
        "migrations.AddField('Entry', 'text', models.CharField(max_length=20, default=''),"
        " preserve_default=False)",
    ),
}
SECOND = {
    "models.py": f"""{HEAD}
class Entry(models.Model):
    actor = {KEY}models.SET_NULL, null=True, related_name="+", db_column="who")
    approver = {KEY}models.CASCADE, null=True, related_name="+")
    text = models.CharField(max_length=40)
""",
    "migrations/0003_second.py": migration(
        "0002_names",
        f"migrations.AlterField('Entry', 'actor', {KEY}models.SET_NULL, null=True,"
        " related_name='+', db_column='who'))",
        f"migrations.AddField('Entry', 'approver', {KEY}models.CASCADE, null=True,"
        " related_name='+'))",
        "migrations.AlterField('Entry', 'text', models.CharField(max_length=40))",
    ),
}


@dataclasses.dataclass
class Project:
    """A folder with settings and a folder `site-packages`, and two databases."""

    folder: Path
    databases: dict[str, Any]
    integrity: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Whether all tables are in one database, as before the split.
    together: bool = False

    def install(self, *versions: dict[str, str]) -> None:
        for files in versions:
            for name, text in files.items():
                path = self.folder / "site-packages" / "vendored" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        inherited = filter(None, [os.environ.get("PYTHONPATH")])
        places = [self.folder, self.folder / "site-packages", ROOT, *inherited]
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "vendored_settings",
            "PYTHONPATH": os.pathsep.join(map(str, places)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PROJECT_DATABASES": json.dumps(self.databases),
            "PROJECT_INTEGRITY": json.dumps(self.integrity),
            "TOGETHER": "1" if self.together else "",
        }
        return subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
        )

    def manage(self, *words: str) -> str:
        """Run a command that has to succeed; return what it wrote."""
        done = self.run("-m", "django", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def migrate(self, *words: str) -> str:
        return "".join(
            self.manage("migrate", "--database", alias, *words) for alias in ("default", "blog_db")
        )

    def code(self, text: str) -> str:
        done = self.run("-c", f"import django; django.setup()\n{IMPORTS}\n{text}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def constrained(self) -> list[str]:
        """The keys that have a constraint in the database, of the tables of that app."""
        columns = self.code(
            "with connections['blog_db'].cursor() as cursor:\n"
            "    found = connections['blog_db'].introspection.get_constraints("
            "cursor, 'vendored_entry')\n"
            "print(*sorted(each['columns'][0] for each in found.values() if each['foreign_key']))"
        )
        return columns.split()

    def write(self) -> None:
        """Write a row of a user of the other database."""
        self.code(
            "ann = User.objects.create(username=f'ann{User.objects.count()}')\n"
            "Entry.objects.create(actor=ann, text='t')"
        )


IMPORTS = """
from django.db import connections
from django.contrib.auth.models import User
from vendored.models import Entry
"""


#: With `./run test-engines`, those of the layout.
SERVER = "server"
OF_SERVER = pytest.mark.parametrize("project", [SERVER], indirect=True)


@pytest.fixture(params=["sqlite", SERVER])
def project(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Project]:
    (tmp_path / "vendored_settings.py").write_text(SETTINGS)
    free = {"unconstrained": ["vendored"]}
    if request.param == "sqlite":
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20}
        databases: dict[str, Any] = {
            alias: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(tmp_path / alias),
                "OPTIONS": options,
            }
            for alias in ("default", "blog_db")
        }
        yield Project(tmp_path, databases, free)
        return
    own, databases = f"vendored_{uuid.uuid4().hex[:8]}", {}
    with django_db_blocker.unblock():
        for alias in ("default", "blog_db"):
            given = connections[alias].settings_dict
            names = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")
            databases[alias] = {name: given[name] for name in names}
            if connections[alias].vendor == "mysql":  # a schema is a database there
                databases[alias]["NAME"] = f"test_{own}_{alias}"
                run(alias, f"CREATE DATABASE test_{own}_{alias}")
            else:
                databases[alias]["OPTIONS"] = {"options": f"-c search_path={own}"}
                run(alias, f"CREATE SCHEMA {own}")
        yield Project(tmp_path, databases, free)
        for alias in databases:
            if connections[alias].vendor == "mysql":
                run(alias, f"DROP DATABASE test_{own}_{alias}")
            else:
                run(alias, f"DROP SCHEMA {own} CASCADE")


def run(alias: str, statement: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)


class TestItsMigrations:
    def test_from_scratch_and_after_an_upgrade(self, project: Project) -> None:
        project.install(FIRST)
        project.migrate()
        assert not project.constrained()
        project.write()
        assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
        project.install(SECOND)
        project.migrate()
        assert not project.constrained()
        project.write()
        assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
        project.manage("check", "--database", "default", "--database", "blog_db")
        project.migrate("vendored", "0001")
        project.migrate("vendored", "zero")

    @OF_SERVER
    def test_a_new_project_with_the_second_version(self, project: Project) -> None:
        project.install(FIRST, SECOND)
        project.migrate()
        assert not project.constrained()
        project.write()
        project.code("User.objects.get().delete()")
        project.manage("integrity", "drain")
        assert project.code("print(Entry.objects.get().actor_id)") == "None"

    def test_constraints_that_are_there_already(self, project: Project) -> None:
        project.install(FIRST, SECOND)
        project.together = True
        project.integrity = {}
        project.migrate()
        assert project.constrained() == ["approver_id", "who"]
        project.together = False
        project.integrity = {"unconstrained": ["vendored"]}
        found = project.manage("check", "--database", "blog_db")
        assert found.count("integrity.W035") == 2
        told = project.migrate()
        assert "Dropped the constraint of vendored.Entry.actor, vendored.Entry.approver" in told
        assert not project.constrained()
        assert "integrity.W035" not in project.manage("check", "--database", "blog_db")
        project.write()
        assert "Dropped" not in project.migrate()

    @OF_SERVER
    def test_together_again(self, project: Project) -> None:
        project.install(FIRST)
        project.migrate()
        project.together = True
        users = "CREATE TABLE auth_user (id integer PRIMARY KEY)"
        project.code(f"connections['blog_db'].cursor().execute({users!r})\n{_give_back()}")
        assert project.constrained() == ["actor_id"]


def _give_back() -> str:
    """What the page shows, for the app of these tests."""
    [shown] = [each.text for each in snippets.blocks(GUIDE, "python") if "alter_field" in each.text]
    names = {"auditlog.models": "vendored.models", "LogEntry": "Entry", '"default"': '"blog_db"'}
    for name, ours in names.items():
        assert name in shown
        shown = shown.replace(name, ours)
    return shown


@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
class TestWithoutTheSetting:
    def test_the_hint_is_what_helps(self, project: Project) -> None:
        project.install(FIRST)
        project.integrity = {}
        found = project.run("-m", "django", "check")
        assert found.returncode
        assert "integrity.E003" in found.stderr
        assert "Without editing that app: INTEGRITY = {\"unconstrained\": ['vendored']}" in (
            found.stderr
        )

    def test_an_app_that_is_not_there(self, project: Project) -> None:
        project.install(FIRST)
        project.integrity = {"unconstrained": ["vendord"]}
        found = project.run("-m", "django", "check")
        assert "Did you mean 'vendored'?" in found.stderr


def test_keys_of_other_apps_keep_their_word() -> None:
    assert not keys.freed
    assert not historical.is_historical(keys.apps.get_model("auth.User"))


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys of two apps to other databases, as an author writes them who knows of no other."""
    for field in (AUTHOR, CUSTOMER):
        monkeypatch.setattr(field, "db_constraint", True)
    yield
    for field in keys.freed:
        field.__dict__.pop("deconstruct", None)
    keys.freed.clear()


AUTHOR: Any = Post._meta.get_field("author")
CUSTOMER: Any = Order._meta.get_field("customer")


class TestWhichKeys:
    def test_of_the_apps_that_the_setting_lists_for_as_long_as_it_does(
        self, tune: Tune, bound: None
    ) -> None:
        tune(unconstrained=["blog"])
        keys.follow(relations.catalogue())
        assert (AUTHOR.db_constraint, CUSTOMER.db_constraint) == (False, True)
        assert keys.freed == [AUTHOR]
        assert "db_constraint" not in AUTHOR.deconstruct()[3]
        tune(unconstrained=["shop"])
        keys.follow(relations.catalogue())
        assert (AUTHOR.db_constraint, CUSTOMER.db_constraint) == (True, False)
        assert keys.freed == [CUSTOMER]
        assert "deconstruct" not in AUTHOR.__dict__

    def test_of_historical_models_of_these_apps(self, tune: Tune, bound: None) -> None:
        tune(unconstrained=["blog"])
        old = ProjectState.from_apps(apps).apps
        assert not old.get_model("blog", "Post")._meta.get_field("author").db_constraint
        assert old.get_model("shop", "Order")._meta.get_field("customer").db_constraint

    def test_within_a_database_they_keep_theirs(self, tune: Tune, bound: None) -> None:
        tune(unconstrained=["blog"])
        keys.follow(relations.catalogue())
        within: Any = Comment._meta.get_field("post")
        assert within.db_constraint
        old = ProjectState.from_apps(apps).apps
        assert old.get_model("blog", "Comment")._meta.get_field("post").db_constraint
