"""A real worker of the project, in the databases of this test run."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.db import connections

from sandbox import project, tables
from sandbox.environment import VARIABLES, WEB, WORKER, as_role, of_roles
from sandbox.project import QUEUES, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.processes import Process


def environment(settings: str = "config.settings") -> dict[str, str]:
    """Variables of a process that works on the tests' rows; `as_role` picks it another role."""
    databases = {
        f"{role}{variable}": _url(alias, os.environ.get(f"{role}{variable}", ""))
        for role in ("", *([WEB, WORKER] if of_roles() else []))
        for alias, variable in VARIABLES.items()
    }
    return {
        **os.environ,
        **databases,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "DJANGO_SETTINGS_MODULE": settings,
    }


def worker(folder: Path, name: str, *options: str, env: Mapping[str, str] | None = None) -> Process:
    """One that takes from every queue, to be started; it leaves its files in `folder`.

    It logs in as workers do, with what they are granted.
    """
    granted()
    own = as_role(WORKER, {**environment(), "TMPDIR": str(folder), **(env or {})})
    command = project.worker(name, ",".join(QUEUES), *options)
    return project.process(folder, "worker", *command, env=own, cwd=folder)


@cache
def granted() -> None:
    """Let the roles of web and workers at the tests' databases; once is enough."""
    tables.grant()


def _url(alias: str, given: str) -> str:
    """The database of an alias in this test run, for who logs in with the URL `given`."""
    settings = connections[alias].settings_dict
    own = urlsplit(given)
    user, password = own.username or settings["USER"], own.password or settings["PASSWORD"]
    scheme = own.scheme or "postgresql"
    return "{0}://{1}:{2}@{HOST}:{PORT}/{NAME}".format(scheme, user, password, **settings)
