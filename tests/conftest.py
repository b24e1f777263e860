"""What tests with several real databases share."""

from __future__ import annotations

import gc
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import hypothesis
import pytest
from celery import _state
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections, router, transaction
from django.test.utils import CaptureQueriesContext, setup_databases, teardown_databases
from xdist.scheduler import LoadFileScheduling

from apps.integrity import cascade
from apps.integrity.backends import batch_size
from apps.integrity.models import (
    Cascade,
    Deletion,
    FailedAttempt,
    Identity,
    Scope,
    Suspect,
    Tally,
)
from apps.integrity.queues import dispatch
from apps.integrity.relations import discovery
from apps.integrity.report import probes
from config.settings import DATABASE_OPTIONS
from sandbox.processes import free_port
from tests import superuser

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from django.db.models import QuerySet
    from pytest_django import DjangoDbBlocker
    from pytest_django.fixtures import Settings

pytest_plugins = ["apps.integrity.pytest_plugin"]

#: An INSERT, or several that the driver makes one of.
INSERT = re.compile(r"(\d+ times: )?INSERT INTO")
#: Rows that migrations make and that no test writes; and those that a process writes once.
KEPT = {ContentType, Permission, Group, Scope}
PROJECT = {"default", "blog_db", "shop_db"}

# `--hypothesis-profile=long` looks further than the suite does, and each time elsewhere.
hypothesis.settings.register_profile("long", max_examples=3_000, print_blob=True)


# Else the collector of garbage would take a quarter of the time: again and again, it would walk
# through Django and the tests, which are no garbage.
gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected, and never look at what is there then."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


#: Scenes with processes and servers of their own, whose windows are measured in seconds.
SCENES = {
    "test_storm.py",
    "test_storm_of_restores.py",
    "test_erased_files.py",
    "test_matrix.py",
    "test_faults.py",
    "test_named_faults.py",
    "test_differential.py",
    "test_attack_clocks.py",
    "test_demo.py",
    "test_adopt_and_leave.py",
    "test_wheel_celery.py",
}


class Spread(LoadFileScheduling):
    """Hand out the tests of a file together, and the scenes one after another."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "scenes" if Path(file).name in SCENES else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread | None:
    """Return the scheduler for `--dist loadfile`."""
    return Spread(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Leave the project's catalogue and its Celery app to the next test, whatever a test replaced.

    And no batch sizes: a test begins with the first batch.

    After all fixtures are undone, in whatever order: a catalogue that was discovered under settings
    or models of a test is discovered again, and a worker in this process, which made its own app
    the current one, gives it back.
    """
    before = discovery.catalogue()
    default, current = _state.default_app, _state._tls.current_app
    result = yield
    if not any(known is before for known in discovery._known):
        discovery.forget()
    batch_size.forget()
    _state.set_default_app(default)
    _state._set_current_app(current)
    return result


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Each process has servers of its own, so the databases need no names of their own."""


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_blocker: DjangoDbBlocker,
    django_db_keepdb: bool,  # noqa: FBT001
    django_db_modify_db_settings: None,
) -> Iterator[None]:
    """Make the test databases: those of the project, and all when a test asks for all.

    In place of pytest-django's, which only makes the databases that marks name.
    """
    everything = any(_wants_everything(item) for item in request.session.items)
    with django_db_blocker.unblock():
        made = setup_databases(
            verbosity=0,
            interactive=False,
            aliases=set(connections) if everything else PROJECT,
            serialized_aliases=set(),
            keepdb=django_db_keepdb,
        )
        for alias in connections:
            _deletes(alias)
    yield
    if not django_db_keepdb:
        with django_db_blocker.unblock():
            teardown_databases(made, verbosity=0)


def _wants_everything(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("django_db")
    named = (
        mark.kwargs.get("databases", ())
        if mark
        else getattr(getattr(item, "cls", None), "databases", ())
    )
    return "committed" in getattr(item, "fixturenames", ()) or not PROJECT.issuperset(named)


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Real transactions on every database; afterwards no row is left in any of them.

    As `TransactionTestCase`, but with DELETEs of a millisecond in place of TRUNCATE and
    `post_migrate`, on six databases, after each test.
    """
    probes.forget()
    probes.register_broker(str)  # it answers, unless a test says otherwise
    with django_db_blocker.unblock():
        yield
        for alias in connections:
            _empty(alias)


def _empty(alias: str) -> None:
    connection = connections[alias]
    deletes = _deletes(alias)
    # PostgreSQL takes all statements in one round trip.
    batches = ["; ".join(deletes)] if connection.vendor == "postgresql" else deletes
    if connection.vendor == "mysql":  # it defers no constraint to the end of the transaction
        batches = ["SET foreign_key_checks = 0", *deletes, "SET foreign_key_checks = 1"]
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        for statements in batches:
            cursor.execute(statements)
    if connection.vendor == "mysql":
        _count_anew(connection)


def _count_anew(connection: Any) -> None:
    """Let keys be small again: after a row with a large key, MySQL goes on from there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND auto_increment > 1000000000"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {connection.ops.quote_name(table)} AUTO_INCREMENT = 1")


@cache  # by the routers of the project, whatever catalogue or router a test plays with
def _deletes(alias: str) -> list[str]:
    """Return a statement for each table that the database has of the tests' models."""
    quote_name = connections[alias].ops.quote_name
    return [
        f"DELETE FROM {quote_name(model._meta.db_table)}"  # noqa: S608
        for model in apps.get_models(include_auto_created=True)
        if model not in KEPT and not model._meta.proxy and _migrated(alias, model)
        if model._meta.app_label != "music"  # who spreads them, empties them
    ]


def _migrated(alias: str, model: type) -> bool:
    if model in {Identity, Tally}:  # in all of them, whatever the first test's catalogue is
        return True
    return router.allow_migrate_model(alias, model) and model._meta.managed


@pytest.fixture
def new_log(committed: None) -> Iterator[None]:
    """The log as a new project has it: what a test of query plans needs on PostgreSQL.

    Earlier tests leave statistics, and indexes that are larger than their tables, since VACUUM
    truncates only these. Autovacuum would count rows at any moment.
    """
    if connections["default"].vendor != "postgresql":
        yield
        return
    tables = [model._meta.db_table for model in (Deletion, Cascade, FailedAttempt, Suspect)]
    names = ", ".join(f"'{table}'::regclass" for table in tables)
    superuser.run(
        "default",
        f"TRUNCATE {', '.join(tables)}",
        f"DELETE FROM pg_statistic WHERE starelid IN ({names})",  # noqa: S608 -- names of models
        *(f"ALTER TABLE {table} SET (autovacuum_enabled = off)" for table in tables),
    )
    yield
    superuser.run(
        "default", *(f"ALTER TABLE {table} RESET (autovacuum_enabled)" for table in tables)
    )


@pytest.fixture
def converge(committed: None) -> Callable[[], Counter[str]]:
    """Dispatch, and cascade where it is due, until nothing is; gives rows per relation."""

    def run() -> Counter[str]:
        rows: Counter[str] = Counter()
        for _ in range(200):
            _, due = dispatch.sweep_all()
            if not due:
                return rows
            rows += sum((cascade.drain(database).rows for database in sorted(due)), Counter())
        raise AssertionError("200 rounds, and something is still due")

    return run


Tune = Callable[..., None]


@pytest.fixture
def tune(settings: Settings) -> Tune:
    """Set keys of `settings.INTEGRITY`; the others keep what the tests' settings say."""

    def with_values(**values: object) -> None:
        settings.INTEGRITY = {**base, **values}

    base = settings.INTEGRITY
    return with_values


class Captured(dict[str, CaptureQueriesContext]):
    """The SQL of each database while the block ran."""

    def __getitem__(self, alias: str) -> list[str]:
        return [query["sql"] for query in super().__getitem__(alias).captured_queries]

    def __enter__(self) -> Self:
        for alias in connections:
            connections[alias].ensure_connection()  # its settings are no part of the block
            self.setdefault(alias, CaptureQueriesContext(connections[alias])).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for context in self.values():
            context.__exit__(None, None, None)

    def inserts(self, alias: str = "default") -> list[str]:
        return [sql for sql in self[alias] if INSERT.match(sql)]


@pytest.fixture
def captured() -> Captured:
    return Captured()


class Locked:
    """Rows that another session holds while the block runs."""

    def __init__(self, rows: QuerySet[Any]) -> None:
        self.rows = rows
        self.held, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._hold)

    def _hold(self) -> None:
        try:
            with transaction.atomic(using=self.rows.db):
                assert list(self.rows.select_for_update())
                self.held.set()
                self.over.wait(30)
        finally:
            connections.close_all()

    def __enter__(self) -> None:
        self.thread.start()
        assert self.held.wait(30)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


@pytest.fixture
def locked() -> type[Locked]:
    return Locked


@pytest.fixture
def at_once() -> Callable[..., list[Any]]:
    """Run functions in threads that start together, each with connections of its own."""

    def run(*functions: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(len(functions))

        def one(function: Callable[[], Any]) -> Any:
            try:
                barrier.wait(30)
                return function()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(functions)) as threads:
            return [each.result() for each in [threads.submit(one, f) for f in functions]]

    return run


@pytest.fixture
def refuse() -> Callable[[str], Any]:
    """Let a database refuse connections for the length of a block: nobody listens on its port."""

    @contextmanager
    def refusing(alias: str) -> Iterator[None]:
        connection = connections[alias]
        connection.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
            patch.setitem(connection.settings_dict, "PORT", str(free_port()))
            yield
        connection.close()

    return refusing


@pytest.fixture
def sample_options() -> Callable[[str], Any]:
    """Give a database the sample project's options for the length of a block.

    For what only an option can do: nothing else ends a wait for a connection to a frozen server.
    """

    @contextmanager
    def given(alias: str) -> Iterator[None]:
        connection = connections[alias]
        connection.close()
        options = DATABASE_OPTIONS[connection.settings_dict["ENGINE"]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(connection.settings_dict, "OPTIONS", options)
            yield
        connection.close()

    return given


@pytest.fixture
def renamed() -> Callable[[str, str], Any]:
    """Let a database be without a table for the length of a block, as before `migrate`."""

    @contextmanager
    def renaming(alias: str, table: str) -> Iterator[None]:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME TO hidden_for_a_moment")
        try:
            yield
        finally:
            connections[alias].close()
            with connections[alias].cursor() as cursor:
                cursor.execute(f"ALTER TABLE hidden_for_a_moment RENAME TO {table}")

    return renaming
