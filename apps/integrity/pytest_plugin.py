"""Fixtures for projects that use pytest-django.

Add it to `conftest.py`: `pytest_plugins = ["crossdb_integrity.pytest_plugin"]`. A test that uses
one of the fixtures may access all databases that cascades need, as with
`pytest.mark.django_db(databases=[…])`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that needs the databases, unless its own mark names them.

    Raises `pytest.UsageError` without pytest-django: the test would use the real databases.
    """
    if "integrity_databases" not in getattr(item, "fixturenames", ()):
        return
    if not item.config.pluginmanager.has_plugin("django"):
        raise pytest.UsageError(f"{item.nodeid}: integrity_databases needs pytest-django")
    mark = item.get_closest_marker("django_db")
    given: dict[str, Any] = dict(mark.kwargs) if mark else {}
    if "databases" not in given:
        from .testing import databases  # not at the top: Django may not be set up yet

        given["databases"] = sorted(databases())
        args = mark.args if mark else ()
        item.add_marker(pytest.mark.django_db(*args, **given), append=False)


@pytest.fixture
def integrity_databases() -> Iterator[frozenset[str]]:
    """Open the databases that cascades need, and yield their aliases. Publish no messages."""
    from . import testing

    with testing.quiet():
        yield testing.databases()


@pytest.fixture
def integrity_drain(integrity_databases: frozenset[str]) -> Callable[..., Counter[str]]:  # noqa: ARG001 (asked for, so that the databases are there)
    """Return `testing.drain`, which dispatches and cascades until nothing is due."""
    from .testing import drain

    return drain


@pytest.fixture
def assert_no_orphans(integrity_databases: frozenset[str]) -> Callable[..., None]:  # noqa: ARG001 (asked for, so that the databases are there)
    """Return `testing.assert_no_orphans`."""
    from .testing import assert_no_orphans

    return assert_no_orphans


@pytest.fixture
def assert_cascades(integrity_databases: frozenset[str]) -> Callable[..., None]:  # noqa: ARG001 (asked for, so that the databases are there)
    """Return `testing.assert_cascades`."""
    from .testing import assert_cascades

    return assert_cascades
