"""Accounts deleted without a record, the scan and repair of their rows, and the brake."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from django.core.management import call_command
from django.db import connections, transaction
from psycopg import sql

from sandbox import project
from sandbox.environment import VARIABLES

from .failure import DemoFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OTHER_DATABASE = "other_database"
#: In one process, because each one takes seconds to start.
MIGRATE_AND_SCAN = """
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0, interactive=False)
call_command("integrity", "scan", "--database", "blog_db", "--json")
"""


def delete_unrecorded(keys: Sequence[int]) -> None:
    """Delete accounts by SQL with the triggers switched off, as the restore of a dump may do."""
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM auth_user WHERE id = ANY(%s)", [list(keys)])
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # else the table cannot be altered again
        cursor.execute("ALTER TABLE auth_user ENABLE TRIGGER USER")


def run_integrity(*arguments: str) -> dict[str, Any]:
    """Run `manage.py integrity … --json` in this process; return its document.

    Raises DemoFailure if the command prints none.
    """
    out = io.StringIO()
    try:
        call_command("integrity", *arguments, "--json", stdout=out, stderr=io.StringIO())
    except SystemExit as error:
        if not out.getvalue():
            raise DemoFailure(f"integrity {' '.join(arguments)} ended with {error.code}") from error
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def exported(folder: Path) -> list[dict[str, Any]]:
    """Return the receipts of all deletions, as `manage.py integrity receipts` exports them."""
    file = folder / "receipts.jsonl"
    run_integrity("receipts", "--output", str(file))
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def wait_until_old(since: float, seconds: float) -> None:
    """Wait until `seconds` have passed since the monotonic time `since`."""
    time.sleep(max(0.0, since + seconds - time.monotonic()))


@contextmanager
def wrong_parents() -> Iterator[dict[str, str]]:
    """Yield an environment in which `default` is another, empty database; drop it afterwards."""
    url = os.environ[VARIABLES["default"]]
    name = str(connections["default"].settings_dict["NAME"])
    environment = {**os.environ, VARIABLES["default"]: f"{url.rpartition('/')[0]}/{OTHER_DATABASE}"}
    try:
        _run(url, name, "CREATE DATABASE {}")
        yield environment
    finally:
        _run(url, name, "DROP DATABASE IF EXISTS {} WITH (FORCE)")


def scan_with(environment: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Migrate `default` and scan blog_db in this environment; return exit code and document."""
    done = project.run("-c", MIGRATE_AND_SCAN, env=environment, seconds=120)
    return done.returncode, json.loads(done.stdout)


def _run(url: str, name: str, statement: str) -> None:
    with psycopg.connect(url, dbname=name, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(OTHER_DATABASE)))
