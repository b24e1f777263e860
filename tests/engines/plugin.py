"""Start the MariaDB server of `--layout NAME` before Django reads its settings."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.environment import VARIABLES

from .layouts import LAYOUTS, Layout
from .servers.mariadb import MariaDB

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = pytest.StashKey[MariaDB]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--layout`."""
    parser.addoption("--layout", choices=LAYOUTS, required=True)


# The innermost of the wrappers: sandbox.pytest_plugin has set its URLs by then.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Point the layout's aliases at a MariaDB server until pytest ends."""
    layout = LAYOUTS[early_config.known_args_namespace.layout]
    stack = ExitStack()
    early_config.add_cleanup(stack.close)
    if layout.mariadb and not _only_controls(early_config):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mariadb-"))
        server = MariaDB(Path(folder) / "server", zone=layout.zone)
        stack.callback(server.stop)
        server.start().await_first_start()
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for alias in layout.mariadb:
            patch.setenv(VARIABLES[alias], server.url(alias))
            patch.delenv(f"WEB_{VARIABLES[alias]}", raising=False)
            patch.delenv(f"WORKER_{VARIABLES[alias]}", raising=False)
        early_config.stash[SERVER] = server
    yield


def _only_controls(config: pytest.Config) -> bool:
    """Return whether other processes, those of pytest-xdist, run the tests."""
    spreads = getattr(config.known_args_namespace, "numprocesses", None)
    return bool(spreads) and "PYTEST_XDIST_WORKER" not in os.environ


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that are marked `postgresql` where a database is in MariaDB."""
    layout = LAYOUTS[config.getoption("layout")]
    if layout.mariadb:
        skip = pytest.mark.skip(reason="about what only PostgreSQL has")
        for item in items:
            if item.get_closest_marker("postgresql"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def mariadb(pytestconfig: pytest.Config) -> MariaDB:
    """Return the server of the layout, for tests that stop, freeze or kill it."""
    return pytestconfig.stash[SERVER]


@pytest.fixture(scope="session")
def layout(pytestconfig: pytest.Config) -> Layout:
    """Return the layout of this run."""
    return LAYOUTS[pytestconfig.getoption("layout")]
