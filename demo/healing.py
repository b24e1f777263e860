"""Accounts that vanish by raw SQL, the scan that finds what they left, and the brake."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from sandbox import project
from sandbox.environment import VARIABLES

from .failure import DemoFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from subprocess import CompletedProcess

STRANGER = "stranger"


def vanish(keys: Sequence[int]) -> None:
    """Delete accounts as somebody at a SQL prompt does: no signal is sent, nothing is recorded."""
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM auth_user WHERE id = ANY(%s)", [list(keys)])


def ask(*arguments: str) -> dict[str, Any]:
    """Run `manage.py integrity … --json` here; gives its document."""
    out = io.StringIO()
    try:
        call_command("integrity", *arguments, "--json", stdout=out, stderr=io.StringIO())
    except SystemExit as end:
        if not out.getvalue():
            raise DemoFailure(f"integrity {' '.join(arguments)} ended with {end.code}") from end
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def wait_for_second_look(since: float, seconds: float) -> None:
    """Until so many seconds have passed since the first look."""
    time.sleep(max(0.0, since + seconds - time.monotonic()))


@contextmanager
def wrong_parents() -> Iterator[dict[str, str]]:
    """An environment in which `default` is another, empty database; it is dropped afterwards."""
    url = os.environ[VARIABLES["default"]]
    name = str(connections["default"].settings_dict["NAME"])
    environment = {**os.environ, VARIABLES["default"]: f"{url.rpartition('/')[0]}/{STRANGER}"}
    try:
        _run(url, name, "CREATE DATABASE {}")
        _manage(environment, "migrate", "--verbosity", "0")
        yield environment
    finally:
        _run(url, name, "DROP DATABASE IF EXISTS {} WITH (FORCE)")


def scan_with(environment: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Scan blog_db for the parents of that environment; gives exit code and document."""
    done = _manage(environment, "integrity", "scan", "--database", "blog_db", "--json")
    return done.returncode, json.loads(done.stdout)


def _manage(environment: dict[str, str], *arguments: str) -> CompletedProcess[str]:
    return project.run("manage.py", *arguments, env=environment, seconds=120)


def _run(url: str, name: str, statement: str) -> None:
    with psycopg.connect(url, dbname=name, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(STRANGER)))
