"""Fixtures for the tests of a project that uses pytest-django.

Named in its `conftest.py`, so that projects without such tests load nothing of it:
`pytest_plugins = ["crossdb_integrity.pytest_plugin"]`. A test that asks for one of the fixtures
gets all databases that cascades need, as if `django_db(databases=[…])` had been written over it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that needs the databases, unless its own mark says which.

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
    """The databases that cascades need, open to the test, with wake-ups off."""
    from . import testing

    with testing.quiet():
        yield testing.databases()


@pytest.fixture
def integrity_drain(integrity_databases: frozenset[str]) -> Callable[..., Counter[str]]:  # noqa: ARG001
    """`drain()`: dispatch and cascade until nothing is due."""
    from .testing import drain

    return drain


@pytest.fixture
def assert_no_orphans(integrity_databases: frozenset[str]) -> Callable[..., None]:  # noqa: ARG001
    """`assert_no_orphans()`, or of those relations."""
    from .testing import assert_no_orphans

    return assert_no_orphans


@pytest.fixture
def assert_cascades(integrity_databases: frozenset[str]) -> Callable[..., None]:  # noqa: ARG001
    """`assert_cascades("blog.Post.author", parent=…, child=…)`."""
    from .testing import assert_cascades

    return assert_cascades
