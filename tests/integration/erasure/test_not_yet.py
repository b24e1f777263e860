"""A step that says `NotYet` waits as long as it says: that is no failure and no attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.contrib.auth.models import User

from apps.blog.models import Post
from apps.integrity import cascade
from apps.integrity.cascade import not_yet, verification
from apps.integrity.erasure import Found, NotYet
from apps.integrity.models import Cascade, ChildDatabase, Finding
from apps.integrity.queues import dispatch
from apps.integrity.report.health import current_health
from apps.integrity.report.status import collect_status
from tests.erasure_steps import Files
from tests.log_rows import in_database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

PLACE = "step:files"
LONG_AGO = "2020-01-01T00:00Z"


class Later(Files):
    """Leaves the files that a test names, for an hour, and says which these are."""

    left: frozenset[str] = frozenset()
    says_which = True
    asked: ClassVar[list[Sequence[Any]]] = []

    def erase(self, items: Sequence[Any]) -> None:
        self.asked.append(items)
        left = [name for name in items if name in self.left]
        super().erase([name for name in items if name not in left])
        if left:
            which = left if self.says_which else None
            raise NotYet("the archive is closed", seconds=3_600, items=which)


@pytest.fixture
def directory(tmp_path: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Files, "erased", [])
    monkeypatch.setattr(Files, "probed", [])
    monkeypatch.setattr(Later, "asked", [])
    step = (f"{__name__}.Later", {"directory": str(tmp_path)})
    tune(steps={"files": step}, grace_seconds=0.01, attempts=3)
    return tmp_path


def erased(*names: str) -> dict[str, int]:
    """Delete users with a post and its file each; return their keys. The posts are gone."""
    users = [User.objects.create(username=name) for name in names]
    for user in users:
        Post.objects.create(title=user.username, content="", author=user)
    keys = {user.username: user.pk for user in users}
    for user in users:
        user.delete()
    dispatch.sweep_all()
    for database in ("blog_db", "shop_db"):
        cascade.drain(database)
    until_verified()
    return keys


def make_due() -> None:
    Cascade.objects.exclude(due_at=None).update(due_at=LONG_AGO)


def until_verified() -> None:
    make_due()
    for database in ("blog_db", "shop_db"):
        verification.verify(database)
    assert not Cascade.objects.exclude(database=PLACE).exclude(state="verified").exists()


def with_files(directory: Path, *names: str) -> dict[str, int]:
    for name in names:
        (directory / name).write_text("text")
    return erased(*names)


def test_what_is_left_waits_uncounted_and_the_rest_is_erased(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Later, "left", frozenset({"new"}))
    keys = with_files(directory, "old", "new", "other")
    for _ in range(5):  # more often than there are attempts
        make_due()
        done = cascade.drain(PLACE)
        assert done.failed == 0
    assert len(Later.asked) == 5  # once in each drain, which would have had the time for more
    assert {path.name for path in directory.iterdir()} == {"new"}
    outcome = in_database(keys["new"], PLACE)
    assert (outcome.state, outcome.attempts) == ("pending", 0)
    assert outcome.reason == "the archive is closed"
    states = {in_database(keys[name], PLACE).state for name in ("old", "other")}
    assert states == {"done"}
    (cascade_row,) = Cascade.objects.filter(state="pending")
    assert cascade_row.due_at is not None
    assert 3_000 < (cascade_row.due_at - cascade_row.dispatched_at).total_seconds() < 4_500
    (row,) = (row for row in collect_status()["databases"] if row["database"] == PLACE)
    assert (row["state"], row["failing"], row["backlog"]) == ("working", 0, 1)
    assert current_health().databases[PLACE] == "working"
    assert cascade.drain(PLACE).finished == 0  # not before it is time
    monkeypatch.setattr(Later, "left", frozenset())
    make_due()
    cascade.drain(PLACE)
    assert [*directory.iterdir()] == []
    assert in_database(keys["new"], PLACE).rows == {PLACE: 1}


@pytest.mark.parametrize("items", [None, [], ["nobody asked for it"]])
def test_without_the_items_nothing_counts_as_erased(
    directory: Path, monkeypatch: pytest.MonkeyPatch, items: list[str] | None
) -> None:
    def later(_: object) -> None:
        raise NotYet("busy", items=items)

    keys = with_files(directory, "one", "two")
    with monkeypatch.context() as patch:
        patch.setattr(Files, "before_erase", staticmethod(later))
        make_due()
        cascade.drain(PLACE)
    assert {in_database(key, PLACE).state for key in keys.values()} == {"pending"}
    assert not Finding.objects.using("blog_db").filter(erased_at__isnull=False).exists()
    make_due()
    cascade.drain(PLACE)
    assert [*directory.iterdir()] == []


def test_a_probe_that_is_put_off_verifies_nothing_and_is_asked_again_when_it_says(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(_: object) -> Found:
        raise NotYet("the index is being built", seconds=7_200)

    keys = with_files(directory, "one")
    make_due()
    cascade.drain(PLACE)
    with monkeypatch.context() as patch:
        patch.setattr(Files, "answer", staticmethod(later))
        make_due()
        assert verification.verify(PLACE).verified == 0
    assert in_database(keys["one"], PLACE).state == "done"
    row = Cascade.objects.get(database=PLACE)
    assert row.due_at is not None
    assert row.done_at is not None
    assert 7_000 < (row.due_at - row.done_at).total_seconds() < 9_000
    assert ChildDatabase.objects.get(alias=PLACE).held_reason == "the index is being built"
    make_due()
    assert verification.verify(PLACE).verified == 1


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5.0, 1.0), (30.0, 30.0), (1e12, 86_400.0), (float("nan"), 86_400.0)],
)
def test_the_wait_has_bounds(seconds: float, expected: float) -> None:
    assert not_yet.seconds_of(NotYet("later", seconds=seconds)) == expected


def test_without_a_reason_there_is_one() -> None:
    assert not_yet.wait_of(NotYet("")).reason
