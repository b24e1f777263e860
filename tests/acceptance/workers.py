"""A real worker of the project, in the databases of this test run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connections

from sandbox.environment import VARIABLES
from sandbox.processes import Process

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
QUEUES = ("integrity", "integrity.blog_db", "integrity.shop_db")
CELERY = (sys.executable, "-m", "celery", "-A", "workers")


def environment(settings: str = "config.settings") -> dict[str, str]:
    """Variables of a process that works on the tests' rows."""
    databases = {variable: _url(alias) for alias, variable in VARIABLES.items()}
    return {
        **os.environ,
        **databases,
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": settings,
    }


def worker(folder: Path, name: str, *options: str, env: Mapping[str, str] | None = None) -> Process:
    """One that takes from every queue, to be started; it leaves its files in `folder`."""
    return Process(
        [*CELERY, "worker", "-n", name, "-Q", ",".join(QUEUES), "--without-gossip", *options],
        log=folder / "worker.log",
        env={**environment(), "TMPDIR": str(folder), **(env or {})},
        cwd=folder,
    )


def _url(alias: str) -> str:
    settings = connections[alias].settings_dict
    return "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**settings)
