"""The guide docs/how-to/adopt-existing-project.md, followed to the letter on a site at work.

Its settings and commands are taken from the page. Meanwhile processes of the site create people
with posts and orders, and delete others: no delete fails, and no orphan is left.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from sandbox.environment import VARIABLES
from sandbox.processes import Process, eventually, stop_all
from tests import snippets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = snippets.ROOT / "docs" / "how-to" / "adopt-existing-project.md"
OWN = "tests/acceptance/test_adopt_and_leave.py"
NAME = f"adopt_{os.getpid()}"
#: Rows whose parents are gone, from before.
DIRT = 30
#: What each version of the site deletes before the next step, at least.
DELETES = 10
PATIENCE_SECONDS = 60

SETTINGS = """
SECRET_KEY = "site"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "blog", "shop"]
DATABASES = {databases!r}
DATABASE_ROUTERS = ["router.Router"]
INTEGRITY = {{"grace_seconds": 0.5}}
ON_DELETE, HANDLER = "DO_NOTHING", True
"""

MODELS = """
    from django.conf import settings
    from django.db import models


    class {model}(models.Model):
        {field} = models.ForeignKey(
            settings.AUTH_USER_MODEL,
            on_delete=getattr(models, settings.ON_DELETE),
            db_constraint=False,
        )
    """
FILES = {
    "manage.py": """
        import os
        import sys

        from django.core.management import execute_from_command_line

        os.environ["DJANGO_SETTINGS_MODULE"] = os.environ.get("SITE_SETTINGS", "settings")
        execute_from_command_line(sys.argv)
        """,
    "router.py": """
        HOMES = {"blog": "blog_db", "shop": "shop_db"}


        class Router:
            def db_for_read(self, model, **hints):
                return HOMES.get(model._meta.app_label, "default")

            db_for_write = db_for_read

            def allow_relation(self, one, other, **hints):
                return True

            def allow_migrate(self, db, app_label, **hints):
                return db == HOMES.get(app_label, "default")
        """,
    "blog/__init__.py": "",
    # The site's own handling.
    "blog/apps.py": """
        from django.apps import AppConfig
        from django.conf import settings
        from django.db.models.signals import post_delete


        def remove(instance, **_):
            from blog.models import Post
            from shop.models import Order

            Post.objects.filter(author_id=instance.pk).delete()
            Order.objects.filter(customer_id=instance.pk).delete()


        class Blog(AppConfig):
            name = "blog"

            def ready(self):
                if settings.HANDLER:
                    post_delete.connect(remove, sender="auth.User")
        """,
    "blog/models.py": MODELS.format(model="Post", field="author"),
    "shop/__init__.py": "",
    "shop/models.py": MODELS.format(model="Order", field="customer"),
    # Runs each command in a fork of a process that has loaded the site and done nothing else.
    "commands.py": """
        import importlib
        import json
        import os
        import sys

        import django
        from django.core.management import execute_from_command_line

        os.environ["DJANGO_SETTINGS_MODULE"] = sys.argv[1]
        django.setup()
        for line in sys.stdin:
            pid = os.fork()
            if pid:
                print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
                continue
            name, *arguments = json.loads(line)
            output = os.open(name, os.O_WRONLY | os.O_CREAT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            importlib.invalidate_caches()
            execute_from_command_line(["manage.py", *arguments])
            break
        """,
    # Creates and deletes until it is asked to end; then it ends after a whole turn.
    "site_at_work.py": """
        import os
        import signal
        import sys
        import time
        import traceback
        import uuid

        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = sys.argv[1]
        django.setup()

        from blog.models import Post
        from django.contrib.auth.models import User
        from shop.models import Order

        over = []
        signal.signal(signal.SIGTERM, lambda *_: over.append(True))
        while not over:
            user = User.objects.create(username=uuid.uuid4().hex)
            Post.objects.bulk_create(Post(author=user) for _ in range(2))
            Order.objects.create(customer=user)
            if user.pk % 3:
                try:
                    user.delete() if user.pk % 2 else User.objects.filter(pk=user.pk).delete()
                    print("deleted", flush=True)
                except Exception:
                    print("failed", traceback.format_exc().splitlines()[-1], flush=True)
            time.sleep(0.05)
        """,
}


class Site:
    """The project, its settings so far, and the process that is at work."""

    def __init__(self, folder: Path, databases: dict[str, dict[str, str]]) -> None:
        self.folder, self.before = folder, SETTINGS.format(databases=databases)
        self.settings = self.before
        self.versions = 0
        self.at_work: Process | None = None
        self.started: list[Process] = []
        self.commands: dict[int, subprocess.Popen[str]] = {}
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(text))
        self.environment = {**os.environ, "PYTHONPATH": f"{folder}:{snippets.ROOT}"}

    def change(self, lines: str) -> None:
        """Write the settings of the next version: its commands run before it serves."""
        self.settings += lines.replace(snippets.SHIPPED, snippets.HERE)
        self.versions += 1
        (self.folder / f"settings{self.versions}.py").write_text(self.settings)

    def deploy(self) -> None:
        """Let the new version serve beside the old one, and then alone."""
        before, name = self.at_work, f"settings{self.versions}"
        self.at_work = self.process(f"site{self.versions}", "site_at_work.py", name).start()
        self.go_on()
        if before is not None:
            before.stop()

    def roll_back_and_forth(self) -> None:
        """Deploy the site without the app once more, then with it; the tables stay."""
        adopted, self.settings = self.settings, self.before
        self.change("")
        self.deploy()
        self.settings = adopted
        self.change("")
        self.deploy()

    def process(self, name: str, *arguments: str) -> Process:
        process = Process(
            [sys.executable, *arguments],
            log=self.folder / f"{name}.log",
            env={**self.environment, "SITE_SETTINGS": f"settings{self.versions}"},
            cwd=self.folder,
        )
        self.started.append(process)
        return process

    def go_on(self) -> None:
        """Wait until the version that serves has deleted some."""
        begun = self.told().count("deleted")

        def deleted() -> bool:
            assert self.at_work is not None
            self.at_work.check()
            return self.told().count("deleted") >= begun + DELETES

        assert eventually(deleted, timeout=PATIENCE_SECONDS, pause=0.1), self.told()

    def told(self) -> str:
        return "".join(each.read_text() for each in self.folder.glob("site*.log"))

    def manage(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command of the current version, in a process of its own; return what it prints."""
        runner = self.commands.get(self.versions) or self._runner()
        output = self.folder / "output.txt"
        output.unlink(missing_ok=True)
        assert runner.stdin is not None
        assert runner.stdout is not None
        print(json.dumps([str(output), *arguments]), file=runner.stdin, flush=True)
        code = int(runner.stdout.readline())
        printed = output.read_text()
        assert code in codes, f"{arguments}: {code}\n{printed}"
        return printed

    def _runner(self) -> subprocess.Popen[str]:
        """Start what runs the commands of the current version: see commands.py."""
        self.end_commands()
        runner = self.commands[self.versions] = subprocess.Popen(
            [sys.executable, "commands.py", f"settings{self.versions}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return runner

    def end_commands(self) -> None:
        """End the process that runs commands: it ends when its input does."""
        for runner in self.commands.values():
            runner.communicate()
        self.commands.clear()

    def follow(self, heading: str, only: str = "") -> None:
        """Run the commands that the page has under that heading, those with `only` in them."""
        blocks = [each for each in snippets.blocks(PAGE, "console") if each.heading == heading]
        lines = [command for block in blocks for command in snippets.commands(block)]
        chosen = [each for each in lines if only in each.line]
        assert chosen, heading
        for each in chosen:
            python, script, *arguments = shlex.split(each.line)
            assert (python, script) == ("python", "manage.py")
            looks = "integrity" in arguments and "migrate" not in arguments
            self.manage(*arguments, codes=(0, 3, 4) if looks else (0,))


def python_of(heading: str) -> str:
    """What the page says under that heading, for a project without Celery, added to what is set."""
    found = [each for each in snippets.blocks(PAGE, "python") if each.heading == heading]
    [block] = [each for each in found if each.run_by in {"", OWN}]
    lines = re.sub(r"^.+# with Celery.*\n", "", block.text, flags=re.MULTILINE)
    return "\n" + lines.replace("INTEGRITY = {", "INTEGRITY = {**INTEGRITY, ")


@contextmanager
def _database(url: str) -> Iterator[dict[str, str]]:
    parts, name = urlsplit(url), Identifier(NAME)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(name))
        try:
            yield {
                "ENGINE": "django.db.backends.postgresql", "NAME": NAME,
                "USER": parts.username or "", "PASSWORD": parts.password or "",
                "HOST": parts.hostname or "", "PORT": str(parts.port),
            }  # fmt: skip
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        databases = {
            alias: stack.enter_context(_database(os.environ[variable]))
            for alias, variable in VARIABLES.items()
        }
        made = Site(tmp_path, databases)
        made.change("")
        made.manage("makemigrations", "blog", "shop")
        for alias in databases:
            made.manage("migrate", "--database", alias)
        dirt = f"Post.objects.bulk_create(Post(author_id=10**6 + n) for n in range({DIRT}))"
        made.manage("shell", "-c", f"from blog.models import Post; {dirt}")
        made.deploy()
        try:
            yield made
        finally:
            stop_all(made.started)
            made.end_commands()


def orphans(site: Site) -> int:
    """Rows whose parents are not there."""
    count = """
        from blog.models import Post
        from django.contrib.auth.models import User
        from shop.models import Order

        known = set(User.objects.values_list("pk", flat=True))
        keys = [*Post.objects.values_list("author_id", flat=True)]
        keys += Order.objects.values_list("customer_id", flat=True)
        print("orphans", sum(key not in known for key in keys))
        """
    return int(site.manage("shell", "-c", textwrap.dedent(count)).split()[-1])


def is_drained(site: Site) -> bool:
    """Whether it ends with exit code 0, as the page says."""
    try:
        site.manage("integrity", "drain", "--verify")
    except AssertionError:
        return False
    return True


@contextmanager
def at_rest(site: Site) -> Iterator[None]:
    """Let nobody write for the length of a block."""
    assert site.at_work is not None
    site.at_work.stop()
    yield
    site.at_work.start()


@pytest.mark.timeout(600)
def test_it_is_adopted_and_left_while_the_site_is_at_work(site: Site) -> None:
    site.change(python_of("2. Install, migrate first"))
    site.follow("2. Install, migrate first", only="migrat")
    site.deploy()
    site.roll_back_and_forth()
    site.follow("2. Install, migrate first", only="integrity")
    work = site.process("forever", "manage.py", "integrity", "drain", "--forever").start()
    site.follow("3. Report")

    site.change('\nON_DELETE, HANDLER = "CASCADE", False\n')  # step 4
    assert "no changes" not in site.manage("makemigrations", "blog", "shop").lower()
    for alias in ("blog_db", "shop_db"):
        site.manage("migrate", "--database", alias)
    # The workers first: see the page.
    work.stop()
    work = site.process("forever", "manage.py", "integrity", "drain", "--forever").start()
    site.deploy()
    site.follow("3. Report")
    site.manage("integrity", "scan", "--full", codes=(0, 3, 4))
    site.follow("5. Repair, one relation at a time")
    site.go_on()
    with at_rest(site):
        site.manage("integrity", "drain", "--verify", "--timeout", "60")
        assert orphans(site) == 0

    refused = site.manage("migrate", "integrity", "zero", codes=(1,))
    assert "deletions of auth.User are recorded" in refused

    site.change("\nHANDLER = True\n")
    site.deploy()
    site.change(python_of("Record nothing more"))
    site.follow("Record nothing more")
    site.deploy()
    assert eventually(lambda: is_drained(site), timeout=PATIENCE_SECONDS, pause=0.5)
    site.follow("Finish the work")
    work.stop()
    site.follow("Drop the tables")
    site.go_on()
    with at_rest(site):
        assert orphans(site) == 0

    site.settings = site.before  # without the lines
    site.change("")
    site.deploy()
    assert site.at_work is not None
    site.at_work.stop()
    assert orphans(site) == 0
    assert "failed" not in site.told()
    assert site.told().count("deleted") >= DELETES * site.versions
