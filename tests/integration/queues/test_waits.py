"""How often a worker waits for a server before the first rows are gone: round trips, not time."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

from apps.blog.models import Post
from apps.integrity.queues import celery
from tests.integration.queues.test_tasks import empty_queues, run, users

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("committed", "empty_queues")
__all__ = ["empty_queues"]

#: What belongs to logs of other parents, which the sample project does not have.
ELSEWHERE = {"test_left", "test_lite"}
MOST = {"default": 6, "blog_db": 8}


class Waits(list[tuple[str, str]]):
    """Alias and statement of each round trip, until the first commit in `blog_db`."""

    over = False

    def note(self, alias: str, what: str) -> None:
        if not self.over and alias not in ELSEWHERE:
            self.append((alias, what))

    def of(self, alias: str) -> list[str]:
        return [what for where, what in self if where == alias]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    found = Waits()

    def executed(alias: str) -> Any:
        def note(execute: Any, sql: str, *rest: Any) -> Any:
            found.note(alias, sql)
            return execute(sql, *rest)

        return note

    def noted(name: str, what: str) -> None:
        original = getattr(DatabaseWrapper, name)

        def call(self: DatabaseWrapper, *given: Any) -> Any:
            if name != "_set_autocommit" or not given[0]:
                found.note(self.alias, what)
            done = original(self, *given)
            found.over = found.over or (name, self.alias) == ("_commit", "blog_db")
            return done

        monkeypatch.setattr(DatabaseWrapper, name, call)

    for name, what in (("is_usable", "ping"), ("_commit", "COMMIT"), ("_set_autocommit", "BEGIN")):
        noted(name, what)
    with ExitStack() as stack:
        for alias in connections:
            connections[alias].ensure_connection()
            stack.enter_context(connections[alias].execute_wrapper(executed(alias)))
        yield found


@pytest.mark.postgresql  # MySQL's statements on the log are several where PostgreSQL's are one
def test_few_round_trips_come_before_the_first_rows_are_gone(waits: Waits) -> None:
    first, second, kept = users(3)
    first.delete()
    run(celery.cascade_into, "blog_db")  # this process has connections, and knows the identities
    waits.clear()
    second.delete()
    waits.clear()
    waits.over = False
    run(celery.cascade_into, "blog_db")
    assert Post.objects.get().author_id == kept.pk
    for alias, most in MOST.items():
        assert len(waits.of(alias)) <= most, "\n".join(waits.of(alias))
