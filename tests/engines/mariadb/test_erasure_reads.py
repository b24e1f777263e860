"""What an erasure step reads of rows on MariaDB is what goes, whatever the isolation level is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.backends.mysql import session
from apps.integrity.models import Cascade, Finding
from apps.integrity.queues import dispatch
from tests.erasure_steps import Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

POST, COMMENT, NEW = "post", "comment", "new"


@pytest.fixture(autouse=True)
def step(tmp_path: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that covers posts and comments."""
    if connections["blog_db"].vendor != "mysql":
        pytest.skip("the rows are on another engine")
    tune(steps={"files": ("tests.erasure_steps.Files", {"directory": str(tmp_path)})})
    monkeypatch.setattr(Files, "before_collect", Renaming())


@pytest.fixture(params=["read committed", "repeatable read"])
def level(request: pytest.FixtureRequest, step: None) -> Iterator[str]:
    """The isolation level of the connection, as a project may configure it."""
    yield from isolated(request.param)


@pytest.fixture
def by_statement(step: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server whose binary log has statements: it takes no writes under READ COMMITTED."""
    monkeypatch.setattr(session, "_may_set", lambda _using: False)
    yield from isolated("repeatable read")


def isolated(level: str) -> Iterator[str]:
    connection = connections["blog_db"]
    connection.close()
    connection.settings_dict["OPTIONS"]["isolation_level"] = level
    yield level
    connection.close()
    del connection.settings_dict["OPTIONS"]["isolation_level"]


class Renaming:
    """Somebody gives a row another file, after the step has read the first rows, of a model."""

    done = False

    def __call__(self, names: Any) -> None:
        if not self.done:
            self.done = True
            change = "UPDATE blog_post SET title = %s WHERE title = %s", [NEW, POST]
            if [*names] == [POST]:
                change = "UPDATE blog_comment SET content = %s WHERE content = %s", [NEW, COMMENT]
            other = connections["blog_db"].copy()
            with other.cursor() as cursor:
                cursor.execute(*change)
            other.close()


def deleted() -> None:
    """Delete a user with a post, and with a comment below the post of somebody else."""
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    Post.objects.create(author=ann, title=POST, content="")
    kept = Post.objects.create(author=bob, title="kept", content="")
    Comment.objects.create(author=ann, post=kept, content=COMMENT)
    ann.delete()
    dispatch.sweep_all()
    cascade.drain("blog_db")


def found() -> list[str]:
    rows = Finding.objects.using("blog_db").values_list("items", flat=True)
    return sorted(str(item) for items in rows for item in items)


def test_what_was_changed_before_the_lock_is_found(level: str) -> None:
    deleted()
    kept = {POST, COMMENT}.intersection(found())
    assert found() == sorted([NEW, *kept])
    assert len(kept) == 1
    assert not Comment.objects.exists()
    assert Post.objects.get().title == "kept"


def test_where_reads_may_be_old_nothing_goes_and_the_remedy_is_named(by_statement: str) -> None:
    deleted()
    assert found() == []
    assert Comment.objects.count() == 1
    assert Post.objects.count() == 2
    row = Cascade.objects.get(database="blog_db")
    assert "binlog_format" in row.reason
    assert row.attempts == 0
