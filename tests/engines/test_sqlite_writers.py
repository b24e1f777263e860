"""SQLite under several writers, in real processes: the project of the tutorial."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.processes import eventually, stop_all

from .tutorial import Tutorial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.processes import Process

ROWS = 60_000
PATIENCE_SECONDS = 60
#: The line of the tutorial, and what takes it away again.
DEFAULT_OPTIONS = 'DATABASES["notes_db"].pop("OPTIONS")\nDATABASES["default"].pop("OPTIONS")\n'
DRAIN = ("manage.py", "integrity", "drain", "--forever")

#: Writes notes of a living user until SIGTERM, in transactions that read first; prints how many
#: are committed, and how many of its transactions failed.
WRITER = """
    import json, os, signal, sys, time

    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    django.setup()

    from django.contrib.auth.models import User
    from django.db import OperationalError, transaction
    from notes.models import Note

    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    bob, committed, failed = User.objects.get(username="bob"), 0, 0
    while not over:
        try:
            with transaction.atomic(using="notes_db"):
                Note.objects.filter(owner=bob).first()
                Note.objects.create(owner=bob, text="new")
                time.sleep(0.005)
                Note.objects.create(owner=bob, text="new")
            committed += 2
        except OperationalError:
            failed += 1
        time.sleep(0.005)
    print(json.dumps({"committed": committed, "failed": failed}), flush=True)
    """
#: Creates users with three notes each and deletes them; prints how many deletes failed.
SITE = """
    import json, os, sys, time

    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    django.setup()

    from django.contrib.auth.models import User
    from django.db import OperationalError
    from notes.models import Note

    deleted = failed = 0
    for number in range(40):
        user = User.objects.create(username=f"{sys.argv[1]} {number}")
        for text in "abc":
            Note.objects.create(owner=user, text=text)
        try:
            user.delete()
            deleted += 1
        except OperationalError:
            failed += 1
        time.sleep(0.01)
    print(json.dumps({"deleted": deleted, "failed": failed}), flush=True)
    """
FILL = """
    from django.contrib.auth.models import User
    from notes.models import Note

    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    notes = (Note(owner=ada, text="old") for _ in range({rows}))
    Note.objects.bulk_create(notes, batch_size=5_000)
    """
DELETE = """
    from django.contrib.auth.models import User

    User.objects.get(username="ada").delete()
    """


@contextmanager
def running(*processes: Process) -> Iterator[None]:
    try:
        for process in processes:
            process.start()
        yield
    finally:
        stop_all(processes, timeout=20)


def state(project: Tutorial) -> dict[str, Any]:
    """Return what is left to do and what went wrong, as SQL sees it."""
    with closing(sqlite3.connect(project.folder / "db.sqlite3", timeout=30)) as connection:
        connection.execute("ATTACH ? AS notes", [str(project.folder / "notes.sqlite3")])

        def ask(sql: str) -> list[Any]:
            return [row[0] for row in connection.execute(f"SELECT {sql}")]

        alive = "notes.notes_note WHERE owner_id {} (SELECT id FROM auth_user)"
        return {
            "recorded": ask("count(*) FROM integrity_deletion WHERE batch IS NULL")[0],
            "open": ask("reason FROM integrity_cascade WHERE state NOT IN ('done', 'verified')"),
            "attempts": ask("max(attempts) FROM integrity_cascade")[0],
            "failures": ask("reason FROM integrity_failedattempt"),
            "orphans": ask(f"count(*) FROM {alive.format('NOT IN')}")[0],
            "kept": ask(f"count(*) FROM {alive.format('IN')}")[0],
        }


def printed(process: Process) -> dict[str, int]:
    """Return the document that a process prints at its end."""
    found: dict[str, int] = json.loads(process.tail(1))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a migrated project; tests work on copies."""
    return Tutorial(tmp_path_factory.mktemp("tutorial") / "project").folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Tutorial:
    return Tutorial(shutil.copytree(made, tmp_path / "project", symlinks=True), made=True)


@pytest.mark.parametrize("settings", ["", DEFAULT_OPTIONS], ids=["the tutorial", "no options"])
def test_a_cascade_of_sixty_thousand_rows_beside_three_writers(
    settings: str, project: Tutorial
) -> None:
    """With Django's defaults, the application's own transactions fail, and the cascade does not."""
    project.append("mysite/settings.py", settings)
    project.append("writer.py", WRITER)
    project.shell(FILL.format(rows=ROWS))
    writers = [project.process(f"writer {number}", "writer.py") for number in range(3)]
    with running(*writers, project.process("drain", *DRAIN)):
        assert eventually(lambda: state(project)["kept"] > ROWS, timeout=30)
        project.shell(DELETE)
        assert eventually(lambda: state(project)["orphans"] == 0, timeout=PATIENCE_SECONDS)
        assert all(writer.running for writer in writers)
    found, written = state(project), [printed(writer) for writer in writers]
    assert (found["open"], found["attempts"], found["failures"]) == ([], 1, [])
    assert found["kept"] == sum(each["committed"] for each in written)
    if not settings:
        assert [each["failed"] for each in written] == [0, 0, 0]


def test_a_log_in_sqlite_that_six_processes_write(project: Tutorial) -> None:
    """Each delete succeeds, each is cascaded once, and no worker loses its work."""
    project.append("site.py", SITE)
    sites = [project.process(f"site {number}", "site.py", str(number)) for number in range(3)]
    drains = [project.process(f"drain {number}", *DRAIN) for number in range(3)]
    with running(*drains, *sites):
        for site in sites:
            site.finish(timeout=PATIENCE_SECONDS)
        assert [printed(site) for site in sites] == [{"deleted": 40, "failed": 0}] * 3

        def over() -> bool:
            found = state(project)
            return not (found["recorded"] or found["open"] or found["orphans"])

        assert eventually(over, timeout=PATIENCE_SECONDS)
        assert all(drain.running for drain in drains)
    assert (state(project)["failures"], state(project)["attempts"]) == ([], 1)
    assert not [drain.tail() for drain in drains if "failed" in drain.tail()]
    assert [drain.poll() for drain in drains] == [0, 0, 0]


def test_a_killed_worker_of_a_log_in_sqlite(project: Tutorial) -> None:
    """Its lease expires, and another process does the rest: every row goes once."""
    project.append("mysite/settings.py", "INTEGRITY['lease_seconds'] = 1")
    project.shell(FILL.format(rows=ROWS))
    first, second = (project.process(name, *DRAIN) for name in ("first", "second"))
    with running(first):
        project.shell(DELETE)
        assert eventually(lambda: state(project)["orphans"] < ROWS, timeout=PATIENCE_SECONDS)
        first.kill()
        assert first.poll() == -signal.SIGKILL
        with running(second):
            assert eventually(lambda: state(project)["orphans"] == 0, timeout=PATIENCE_SECONDS)
            assert eventually(lambda: not state(project)["open"], timeout=PATIENCE_SECONDS)
    receipt = json.loads(
        project.run("manage.py", "integrity", "receipt", "auth.User", "1", "--json", ok=False)
    )
    assert [each["rows"] for each in receipt["cascades"]] == [{"notes.Note.owner": ROWS}]
