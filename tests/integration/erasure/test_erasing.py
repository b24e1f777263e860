"""Erasure steps: what belongs to rows that a cascade removes is found, erased and proven gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.cascade import verification
from apps.integrity.models import Cascade, Finding
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from tests.erasure_steps import Files
from tests.log_rows import cascade_states, in_database

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

PLACE = "step:files"
FILES = "tests.erasure_steps.Files"


@pytest.fixture
def directory(tmp_path: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the files; the step is in the settings."""
    monkeypatch.setattr(Files, "erased", [])
    monkeypatch.setattr(Files, "probed", [])
    tune(steps={"files": (FILES, {"directory": str(tmp_path)})}, grace_seconds=0.01)
    return tmp_path


def with_files(directory: Path, name: str, *, posts: int = 2) -> User:
    """Create a user whose posts, comments of others below them, and order have files."""
    user, other = User.objects.create(username=name), User.objects.create(username=f"{name}-2")
    for number in range(posts):
        title = f"{name}-post-{number}"
        post = Post.objects.create(title=title, content="", author=user)
        Comment.objects.create(post=post, author=other, content=f"{title}-comment")
    Order.objects.create(order_number=f"{name}-order", customer=user, total=1)
    for names in (
        Post.objects.filter(author=user).values_list("title", flat=True),
        Comment.objects.filter(author=other).values_list("content", flat=True),
        Order.objects.filter(customer=user).values_list("order_number", flat=True),
    ):
        for each in names:
            (directory / each).write_text("text")
    return user


def work(*databases: str) -> None:
    """Dispatch, and work on those places once."""
    dispatch.sweep_all()
    for database in databases or ("blog_db", "shop_db", PLACE):
        cascade.drain(database)


def make_due() -> None:
    Cascade.objects.exclude(due_at=None).update(due_at="2020-01-01T00:00Z")


def until_verified() -> None:
    for _ in range(6):
        make_due()
        work()
        make_due()
        for database in ("blog_db", "shop_db", PLACE):
            verification.verify(database)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def findings() -> int:
    return sum(Finding.objects.using(alias).count() for alias in ("blog_db", "shop_db"))


def test_files_go_with_their_rows_in_every_database_and_below_and_no_others(
    directory: Path,
) -> None:
    gone, kept = with_files(directory, "gone"), with_files(directory, "kept")
    everything = names(directory)
    pk = gone.pk
    gone.delete()
    until_verified()
    assert names(directory) == {name for name in everything if name.startswith("kept")}
    assert cascade_states(database=PLACE) == ["verified"]
    assert in_database(pk, PLACE).rows == {PLACE: 5}
    assert findings() == 0
    assert Post.objects.filter(author=kept).count() == 2
