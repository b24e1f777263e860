"""The wheel in a newcomer's project with Celery and three PostgreSQL databases.

Its settings and its Celery app get the lines of README.md as it prints them, and lose them in the
end. secure-the-broker.md, adopt-existing-project.md and checks.md print the same line of the Celery
app.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import django
import psycopg
import pytest
import redis
from psycopg.sql import SQL, Identifier

from sandbox import binaries
from sandbox.environment import BROKER, VARIABLES
from sandbox.processes import Process, eventually, stop_all, tree
from sandbox.servers import Redis
from tests import snippets
from tests.acceptance import newcomer
from tests.acceptance.forger import Forger, attacks
from tests.acceptance.newcomer import Project, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 60
#: A look at a database is a connection to it, which costs more than the look.
POLL_SECONDS = 0.1
NAME, ADOPTED = f"newcomer_{os.getpid()}", "adopted"
#: Of the session's broker, one that nobody else uses.
BROKER_DATABASE = 9
#: What prints the line of the Celery app.
PAGES = {"README.md", "secure-the-broker.md", "adopt-existing-project.md", "checks.md"}
#: As the README prints them, and where they belong.
LINES = {"settings.py": newcomer.IN_THE_SETTINGS, "celery.py": newcomer.IN_THE_CELERY_APP}

FILES = {
    "proj/__init__.py": """
        from .celery import app as celery_app

        __all__ = ("celery_app",)
        """,
    # As Django's chapter of Celery's documentation writes it, with a clock that may be wrong.
    "proj/celery.py": """
        import datetime
        import os

        from celery import Celery

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")


        class Project(Celery):
            def now(self):
                behind = float(os.environ.get("BEHIND_SECONDS", "0"))
                return super().now() - datetime.timedelta(seconds=behind)


        app = Project("proj")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.autodiscover_tasks()
        """,
    "proj/router.py": """
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
    "blog/models.py": """
        from django.conf import settings
        from django.db import models


        class Post(models.Model):
            author = models.ForeignKey(
                settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False
            )


        class Tag(models.Model):
            name = models.CharField(max_length=9)


        class Tagging(models.Model):
            tag = models.ForeignKey(Tag, on_delete=models.CASCADE)
        """,
    "shop/__init__.py": "",
    "shop/models.py": """
        from django.conf import settings
        from django.db import models


        class Order(models.Model):
            customer = models.ForeignKey(
                settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False
            )
        """,
    "manage.py": """
        import os
        import sys

        from django.core.management import execute_from_command_line

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
        execute_from_command_line(sys.argv)
        """,
}
SETTINGS = """
SECRET_KEY = "newcomer"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "blog", "shop"]
DATABASES = {databases!r}
DATABASE_ROUTERS = ["proj.router.Router"]
CELERY_BROKER_URL = {broker!r}

"""

#: Prints what deleting rows to which nothing elsewhere points asks of each database.
QUERIES = r"""
    import json
    import re
    from blog.models import Tag, Tagging
    from django.contrib.auth.models import Group
    from django.db import connections
    from django.db.models.deletion import Collector
    from django.test.utils import CaptureQueriesContext

    found = {"fast": Collector(using="blog_db").can_fast_delete(Tagging.objects.all())}
    for alias, model in {"default": Group, "blog_db": Tag}.items():
        row = model.objects.create(name="unrelated")
        if model is Tag:
            Tagging.objects.bulk_create(Tagging(tag=row) for _ in range(3))
        with CaptureQueriesContext(connections[alias]) as captured:
            row.delete()
        found[alias] = [re.sub(r"\d+", "N", each["sql"]) for each in captured.captured_queries]
    print(json.dumps(found))
    """
#: The README's delete, in a project as it was before.
PROBLEM = f"""
    from django.contrib.auth.models import User

    try:
        {newcomer.DELETE}
    except Exception as error:
        message = str(error).splitlines()[0]
        print(f"{{type(error).__module__}}.{{type(error).__qualname__}}: {{message}}")
    """
#: The README's commands after the installation, by their program: `manage.py …` and Celery's.
COMMANDS = {
    program: [shlex.split(line)[skipped:] for line in newcomer.START if line.startswith(program)]
    for program, skipped in {"python": 2, "celery": 1}.items()
}
MIGRATE = """
    from django.core.management import call_command
    from django.db import connections

    for alias in connections:
        call_command("migrate", verbosity=0, database=alias)
    """
FILL = """
    from blog.models import Post
    from django.contrib.auth.models import User
    from shop.models import Order

    for name in ("ada", "bob"):
        user = User.objects.create_user(name)
        for model, key in ((Post, "author"), (Order, "customer")):
            model.objects.bulk_create(model(**{key: user}) for _ in range(3))
    """
DELETE = """
    from celery import current_app
    from django.contrib.auth.models import User

    ada = User.objects.get(username="ada")
    print(ada.pk)
    ada.delete()
    for task in ("integrity.maintain", "integrity.scan"):  # beat's first ticks are a minute away
        current_app.send_task(task)
    """
TABLES = {"blog_db": "blog_post", "shop_db": "shop_order"}


@contextmanager
def databases(suffix: str, *, template: str = "template1") -> Iterator[dict[str, str]]:
    """URLs of three new databases, one on each of the session's servers, copied from a template."""
    with ExitStack() as stack:
        yield {
            alias: stack.enter_context(_database(os.environ[variable], suffix, template))
            for alias, variable in VARIABLES.items()
        }


@contextmanager
def _database(url: str, suffix: str, template: str) -> Iterator[str]:
    name = f"{NAME}_{suffix}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template))
        )
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def broker() -> Iterator[str]:
    """URL of the broker, which holds no message."""
    with redis.Redis.from_url(broker_url()) as client:
        client.flushdb()
        yield broker_url()
        client.flushdb()


def broker_url() -> str:
    return urlsplit(os.environ[BROKER])._replace(path=f"/{BROKER_DATABASE}").geturl()


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the wheel, Celery and psycopg."""
    made = newcomer.environment(tmp_path_factory.mktemp("newcomer") / "environment")
    newcomer.install(made, wheel, "psycopg[binary]", extras=frozenset({"celery"}))
    return made


@dataclass(frozen=True)
class Adoption:
    """A project before and after the README's lines, migrated, with two users and their rows."""

    folder: Path
    plain: dict[Path, str]
    """The files that get lines, as they were before."""
    error: str
    """What the README's delete of a user raised before."""
    queries: dict[str, Any]
    queries_adopted: dict[str, Any]

    @property
    def databases(self) -> str:
        """The name of its database on each server."""
        return f"{NAME}_{ADOPTED}"


@pytest.fixture(scope="module")
def adoption(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adoption]:
    """Adopt the product once. Tests work on copies: nothing of this project runs later."""
    with databases(ADOPTED) as urls:
        folder = tmp_path_factory.mktemp("adoption") / "project"
        project = Project(folder, python, {**FILES, "proj/settings.py": settings(urls)})
        *_, plain, error = project.manage_in_turn(
            ("makemigrations", "--verbosity=0", "blog", "shop"),
            shell(MIGRATE + FILL + QUERIES),
            shell(PROBLEM),
        )
        before = adopt(project)
        every = [f"--database={alias}" for alias in VARIABLES]
        *_, adopted = project.manage_in_turn(
            *((*words, "--verbosity=0") for words in COMMANDS["python"]),
            ("check", "--fail-level=WARNING", *every),
            ("makemigrations", "--check", "--dry-run"),
            shell(QUERIES),
        )
        yield Adoption(folder, before, error, json.loads(plain), json.loads(adopted))


@pytest.fixture
def urls(adoption: Adoption) -> Iterator[dict[str, str]]:
    """URLs of this test's databases."""
    with databases("test", template=adoption.databases) as made:
        yield made


@pytest.fixture
def project(
    python: Path, adoption: Adoption, tmp_path: Path, urls: dict[str, str], broker: str
) -> Project:
    """Return the adopted project with databases and a broker of this test."""
    folder = shutil.copytree(adoption.folder, tmp_path / "project")
    own = f"{settings(urls)}\n{LINES['settings.py']}"
    return Project(folder, python, {"proj/settings.py": own})


def settings(urls: dict[str, str]) -> str:
    """Return the settings without the README's lines."""
    configuration = {alias: configured(url) for alias, url in urls.items()}
    return SETTINGS.format(databases=configuration, broker=broker_url())


def adopt(project: Project) -> dict[Path, str]:
    """Add the README's lines; gives what the files held before."""
    files = {project.folder / "proj" / name: lines for name, lines in LINES.items()}
    before = {file: file.read_text() for file in files}
    for file, lines in files.items():
        file.write_text(f"{before[file]}\n{lines}")
    return before


def configured(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def number(url: str, table: str, condition: str = "true") -> int:
    with psycopg.connect(url) as connection:
        counted = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}")  # noqa: S608
        return int(counted.fetchone()[0])


def process(project: Project, name: str, *arguments: str, **environment: str) -> Process:
    """One of Celery's, to be started, with a log of that name."""
    [words] = [words for words in COMMANDS["celery"] if words[2] == arguments[0]]
    return Process(
        [project.python, "-m", "celery", *words, *arguments[1:]],
        log=project.folder.parent / f"{name}.log",
        env={**project.environment, **environment},
        cwd=project.folder,
    )


def worker(project: Project, name: str = "worker") -> Process:
    """Return a worker as the README starts it."""
    return process(project, name, "worker", "-n", name, "--concurrency=1")


def beat(project: Project, **environment: str) -> Process:
    return process(project, "beat", "beat", "--loglevel=INFO", **environment)


@contextmanager
def running(*processes: Process) -> Iterator[None]:
    """Run these for the length of the block; each must have run until its end."""
    try:
        for each in processes:
            each.start()
        yield
        for each in processes:
            each.check()
    finally:
        stop_all(processes)


#: Prints the Django of an environment, and packages of this one that the wheel does not ask for.
FOUND = """
import importlib.util

import django

print(django.__version__, *filter(importlib.util.find_spec, ("django_celery_beat", "pytest")))
"""


def test_the_newcomer_has_the_django_of_the_tests_and_no_django_celery_beat(
    project: Project,
) -> None:
    """django-celery-beat may not know a new Django yet; what is tested here does not need it."""
    assert project.shell(FOUND).split() == [django.__version__]


def test_a_newcomer_with_celery_adopts_it_uses_it_and_leaves_it(
    adoption: Adoption, project: Project, urls: dict[str, str], tmp_path: Path
) -> None:
    assert adoption.error.strip() == newcomer.ERROR
    assert adoption.queries["fast"]
    assert not any(sql.startswith("SELECT") for sql in adoption.queries["blog_db"])
    assert adoption.queries_adopted == adoption.queries

    ticks = beat(project)
    with running(worker(project), ticks):
        key = project.shell(DELETE).strip()
        for alias, table in TABLES.items():
            url = urls[alias]
            assert eventually(
                lambda u=url, t=table: number(u, t) == 3,
                timeout=PATIENCE_SECONDS,
                pause=POLL_SECONDS,
            )
        scanned = (urls["default"], "integrity_scan", "finished_at IS NOT NULL")
        assert eventually(
            lambda: number(*scanned) == 2, timeout=PATIENCE_SECONDS, pause=POLL_SECONDS
        )
        assert eventually(
            lambda: "due task integrity.dispatch" in ticks.log.read_text(), timeout=PATIENCE_SECONDS
        )
        receipt, doctor = map(
            json.loads,
            project.manage_in_turn(
                ("integrity", "receipt", "auth.User", key, "--json"),
                ("integrity", "doctor", "--json"),
            ),
        )
        assert {each["database"]: each["rows"] for each in receipt["cascades"]} == {
            "blog_db": {"blog.Post.author": 3},
            "shop_db": {"shop.Order.customer": 3},
        }
        assert [each for each in doctor["checks"] if not each["ok"]] == []

    left = leave(project, adoption, settings(urls), tmp_path / "without")
    *_, queries = left.manage_in_turn(
        ("makemigrations", "--check", "--dry-run"),
        ("migrate", "--verbosity=0"),
        shell(FILL.replace('"ada", "bob"', '"cid",') + QUERIES),
    )
    assert json.loads(queries) == adoption.queries
    assert [number(urls[alias], table) for alias, table in TABLES.items()] == [6, 6]


def leave(project: Project, adoption: Adoption, own: str, environment: Path) -> Project:
    """Take the README's lines out of the project; give it an environment without the product."""
    plain = {str(file.relative_to(adoption.folder)): text for file, text in adoption.plain.items()}
    python = newcomer.copy(project.python, environment)
    newcomer.uninstall(python)
    return Project(project.folder, python, {**plain, "proj/settings.py": own})


#: Takes longer than it takes to see it and to kill whoever waits.
SLOW = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
CREATE TRIGGER slow BEFORE DELETE ON blog_post FOR EACH STATEMENT EXECUTE FUNCTION dawdle();
"""
IN_A_DELETE = "datname = current_database() AND query LIKE '%DELETE%' AND wait_event = 'PgSleep'"
DELETE_ONE = "from django.contrib.auth.models import User; User.objects.get(username={!r}).delete()"


def test_all_pages_print_the_line_that_is_run_here() -> None:
    pages = (newcomer.ROOT / "README.md", *sorted((newcomer.ROOT / "docs").rglob("*.md")))
    found = [block for page in pages for block in snippets.blocks(page, "python")]
    ours = [block for block in found if Path(block.run_by).name == Path(__file__).name]
    assert len(ours) == len(PAGES)
    assert {Path(block.page).name for block in ours} == PAGES
    assert {block.text for block in ours} == {newcomer.IN_THE_CELERY_APP}


@pytest.fixture
def dawdling(project: Project, urls: dict[str, str]) -> Project:
    """Return the adopted project, with a server that takes its time to delete posts."""
    with psycopg.connect(urls["blog_db"], autocommit=True) as connection:
        connection.execute(SLOW)
    return project


@contextmanager
def meanwhile(project: Project, code: str) -> Iterator[None]:
    """Run the code beside the block: on a busy machine, its process ends after what it causes."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(project.shell, code)
        yield
        done.result()


def test_a_worker_that_is_killed_loses_nothing_in_a_project_with_those_lines_alone(
    dawdling: Project, urls: dict[str, str]
) -> None:
    blog = urls["blog_db"]

    def is_deleting() -> bool:
        return number(blog, "pg_stat_activity", IN_A_DELETE) > 0

    def rows(left: int) -> bool:
        return all(number(urls[alias], table) == left for alias, table in TABLES.items())

    # A process of the pool, while no beat runs: the message comes back.
    one = worker(dawdling, "one")
    with running(one):
        assert eventually(
            lambda: len(tree(one.pid)) > 1, timeout=PATIENCE_SECONDS, pause=POLL_SECONDS
        )
        with meanwhile(dawdling, DELETE_ONE.format("ada")):
            assert eventually(is_deleting, timeout=PATIENCE_SECONDS, pause=POLL_SECONDS)
            os.kill(tree(one.pid)[-1], signal.SIGKILL)
        assert eventually(lambda: rows(3), timeout=PATIENCE_SECONDS, pause=POLL_SECONDS)
        # All of the worker. Its message returns in an hour; beat's tick finds the work, by a clock
        # that is ten minutes behind.
        with meanwhile(dawdling, DELETE_ONE.format("bob")):
            assert eventually(is_deleting, timeout=PATIENCE_SECONDS, pause=POLL_SECONDS)
            one.kill()
        one.start()  # as a supervisor would
        with running(beat(dawdling, BEHIND_SECONDS="600")):
            assert eventually(lambda: rows(0), timeout=PATIENCE_SECONDS, pause=POLL_SECONDS)


#: Plain Celery ends at about every second one.
DEATHS = 2
MORE_USERS = f"""
from blog.models import Post
from django.contrib.auth.models import User

for name in {[f"user{number}" for number in range(DEATHS)]}:
    Post.objects.create(author=User.objects.create_user(name))
"""


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Redis]:
    """One that a test may kill."""
    server = Redis(binaries.redis().path, data=tmp_path / "redis", log=tmp_path / "redis.log")
    try:
        yield server.start().wait_until_ready()
    finally:
        server.stop()


@pytest.mark.timeout(600)
def test_a_worker_goes_on_when_its_broker_dies_with_messages_in_its_hands(
    dawdling: Project, urls: dict[str, str], own_broker: Redis
) -> None:
    with (dawdling.folder / "proj" / "settings.py").open("a") as settings:
        settings.write(f"CELERY_BROKER_URL = {own_broker.url!r}\n")
    blog = urls["blog_db"]
    before = number(blog, "blog_post") + DEATHS
    one = worker(dawdling, "one")
    with running(one):
        for death in range(DEATHS):
            code = ("" if death else MORE_USERS) + DELETE_ONE.format(f"user{death}")
            with meanwhile(dawdling, code):
                assert eventually(
                    lambda: number(blog, "pg_stat_activity", IN_A_DELETE) > 0,
                    timeout=PATIENCE_SECONDS,
                    pause=POLL_SECONDS,
                )
                own_broker.kill()
            eventually(lambda: not one.running, timeout=2)
            own_broker.start().wait_until_ready()
            one.check()
            left = before - death - 1
            assert eventually(
                lambda n=left: number(blog, "blog_post") == n, timeout=PATIENCE_SECONDS
            )


class Attacked:
    """A worker of the project to which forged messages are sent.

    It stands still if it does nothing for `patience` seconds.
    """

    def __init__(self, project: Project, broker: str, *, patience: float) -> None:
        self.redis = redis.Redis.from_url(broker)
        self.process = worker(project, "attacked")
        self.patience = patience
        self.lost = True

    def survives(self, attack: Any) -> bool:
        """Send it; whether the worker runs afterwards and holds and leaves no message."""
        if self.lost:
            self.start()
        self.process.check()  # an earlier attack may have taken its time
        attack(self.redis)
        self.redis.lpush("integrity", HONEST)
        self.lost = not (self.settles() and self.answers() and self.settles())
        if self.lost:
            self.process.kill()
        return not self.lost

    def start(self) -> None:
        """Start it, and wait until it works."""
        self.redis.flushdb()
        self.process.start()
        self.redis.lpush("integrity", HONEST)
        assert eventually(self.idle, timeout=PATIENCE_SECONDS, pause=POLL_SECONDS)

    def settles(self) -> bool:
        """Whether it runs, and holds and leaves no message.

        For a moment, a message that it takes is neither in the queue nor among those that it holds.
        """
        over = eventually(
            lambda: not self.process.running or self.idle(), timeout=self.patience, pause=0.05
        )
        return over and self.process.running

    def answers(self) -> bool:
        """Whether it takes what its queue gets."""
        self.redis.lpush("integrity", HONEST)
        return eventually(lambda: not self.redis.llen("integrity"), timeout=self.patience)

    def idle(self) -> bool:
        return not self.redis.llen("integrity") and not self.redis.hlen("unacked")


#: Attacks that end plain Celery, one of each kind: they show that the attacks reach the worker.
DEADLY = {"a task that is a list", "150 messages for 2099"}
#: A message takes a worker some milliseconds. The plain one is expected to stand still.
STUCK_SECONDS = {"plain": 5, "installed": 30}
#: So that entries of the unacknowledged are looked at within that time.
OFTEN = """
CELERY_BROKER_TRANSPORT_OPTIONS.update(unacked_restore_interval=1, unacked_restore_throttle=1)
"""
HONEST = Forger(1, Path("nowhere")).envelope(
    {"task": "integrity.maintain", "id": "honest"}, b"[[], {}, {}]"
)


@pytest.mark.timeout(900)
def test_plain_celery_ends_at_forged_messages_and_with_the_lines_no_worker_does(
    project: Project, broker: str
) -> None:
    table = attacks(BROKER_DATABASE)
    lost: dict[str, set[str]] = {}
    with (project.folder / "proj" / "settings.py").open("a") as settings:
        settings.write(OFTEN)
    app = project.folder / "proj" / "celery.py"
    surviving = app.read_text()
    for name, text, attacked in (
        ("plain", surviving.replace("install(app)", ""), DEADLY),
        ("installed", surviving, set(table)),
    ):
        app.write_text(text)
        one = Attacked(project, broker, patience=STUCK_SECONDS[name])
        try:
            lost[name] = {each for each in sorted(attacked) if not one.survives(table[each])}
            assert one.lost or one.process.running
        finally:
            one.process.stop()
            one.redis.flushdb()
            one.redis.close()
    assert lost == {"plain": DEADLY, "installed": set()}
