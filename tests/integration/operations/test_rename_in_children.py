"""`integrity rename` renames what child databases hold: a step's findings, and the ledgers.

Runs the command of docs/how-to/rename-models-and-aliases.md.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.cascade import verification
from apps.integrity.models import Audit, Cascade, Finding, Tally
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from tests.erasure_steps import Files
from tests.integration.log.test_names import OLD_PARENT, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Tune
    from tests.integration.log.test_names import Run

__all__ = ["run"]

pytestmark = pytest.mark.usefixtures("committed")

OLD, NEW = "step:files", "step:media"


def named(tune: Tune, name: str, directory: Path) -> None:
    step = ("tests.erasure_steps.Files", {"directory": str(directory)})
    tune(steps={name: step}, grace_seconds=0.01)


@pytest.fixture
def directory(tmp_path: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files whose rows are gone from two databases. The step had another name by then."""
    monkeypatch.setattr(Files, "erased", [])
    monkeypatch.setattr(Files, "probed", [])
    named(tune, "files", tmp_path)
    user = User.objects.create(username="gone")
    Post.objects.create(title="post", content="", author=user)
    Order.objects.create(order_number="order", customer=user, total=1)
    for name in ("post", "order", "living"):
        (tmp_path / name).write_text("text")
    user.delete()
    dispatch.sweep_all()
    for database in ("blog_db", "shop_db"):
        cascade.drain(database)
    named(tune, "media", tmp_path)
    return tmp_path


def steps_of_findings() -> set[str]:
    aliases = ("blog_db", "shop_db")
    return {one.step for alias in aliases for one in Finding.objects.using(alias).all()}


def places() -> set[str]:
    return set(Cascade.objects.values_list("database", flat=True))


def verified() -> None:
    for _ in range(3):
        Cascade.objects.exclude(due_at=None).update(due_at="2020-01-01T00:00Z")
        for place in ("blog_db", "shop_db", NEW):
            cascade.drain(place)
            verification.verify(place)


def test_a_step_is_renamed_with_all_that_it_has_found(directory: Path, run: Run) -> None:
    dry = run("rename", OLD, NEW)
    assert (dry.code, dry.document["tables"]["findings"]) == (3, 2)
    assert dry.document["tables"]["log"] == 1
    assert (steps_of_findings(), OLD in places()) == ({"files"}, True)
    text = run("rename", OLD, NEW, "--apply").document
    assert text["tables"] | {"findings": 2, "log": 1} == text["tables"]
    assert text["unreachable"] == []
    assert (steps_of_findings(), OLD in places()) == ({"media"}, False)
    assert Audit.objects.filter(verb="rename", target__contains=NEW).count() >= 3
    verified()
    assert {path.name for path in directory.iterdir()} == {"living"}
    assert set(Cascade.objects.values_list("state", flat=True)) == {"verified"}
    again = run("rename", OLD, NEW, "--apply")
    assert (again.code, again.document["changed"]) == (0, 0)


def test_no_cascade_of_a_step_is_renamed_before_all_that_it_has_found(
    directory: Path, run: Run, refuse: Callable[[str], Any]
) -> None:
    with refuse("shop_db"):
        first = run("rename", OLD, NEW, "--apply")
        assert (first.code, first.document["unreachable"]) == (5, ["shop_db"])
        assert first.document["tables"] == {"findings": 1}
        assert (OLD in places(), NEW in places()) == (True, False)
    assert steps_of_findings() == {"files", "media"}
    assert run("rename", OLD, NEW, "--apply").code == 0
    verified()
    assert {path.name for path in directory.iterdir()} == {"living"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((OLD, "blog_db"), "one is a step and one is not"),
        (("posts_db", NEW), "one is a step and one is not"),
        ((OLD, "step:nothing"), "unknown alias 'step:nothing'"),
        ((NEW, "step:other", "--force"), "unknown alias 'step:other'"),
    ],
)
def test_what_makes_no_sense_is_refused(directory: Path, words: Any, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        call_command("integrity", "rename", *words, "--apply")
    assert (steps_of_findings(), OLD in places()) == ({"files"}, True)
    assert (directory / "post").exists()


def test_a_step_that_is_still_in_the_settings_is_not_renamed_by_force(
    directory: Path, tune: Tune
) -> None:
    step = ("tests.erasure_steps.Files", {"directory": str(directory)})
    tune(steps={"files": step, "media": step})
    with pytest.raises(CommandError, match="still in the catalogue") as raised:
        call_command("integrity", "rename", OLD, NEW, "--force", "--apply")
    assert "--force" not in str(raised.value)
    assert (steps_of_findings(), OLD in places()) == ({"files"}, True)


def erased_under_another_name() -> None:
    """A user's rows are gone; the ledgers have the parent under the name that it had then."""
    user = User.objects.create(username="gone")
    post = Post.objects.create(title="post", content="", author=user)
    Comment.objects.create(post=post, author=user, content="")
    Order.objects.create(order_number="order", customer=user, total=1)
    user.delete()
    dispatch.sweep_all()
    for database in ("blog_db", "shop_db"):
        cascade.drain(database)
        Tally.objects.using(database).filter(batch__gt=0).update(parent=OLD_PARENT)


def ledgers() -> set[str]:
    return {
        row.parent
        for alias in ("blog_db", "shop_db")
        for row in Tally.objects.using(alias).filter(batch__gt=0)
    }


def test_a_renamed_parent_is_renamed_in_the_ledgers_of_its_log_only(
    run: Run, refuse: Callable[[str], Any]
) -> None:
    erased_under_another_name()
    foreign = Tally.objects.using("blog_db").filter(batch__gt=0).first()
    assert foreign is not None
    foreign.pk, foreign.log = uuid.uuid4(), uuid.uuid4()
    foreign.save(using="blog_db", force_insert=True)
    mine = Tally.objects.using("blog_db").filter(batch__gt=0).exclude(log=foreign.log)
    number = mine.count() + Tally.objects.using("shop_db").filter(batch__gt=0).count()
    dry = run("rename", OLD_PARENT, "auth.User")
    assert (dry.code, dry.document["tables"]) == (3, {"ledgers": number})
    assert ledgers() == {OLD_PARENT}
    with refuse("shop_db"):
        first = run("rename", OLD_PARENT, "auth.User", "--apply")
        assert (first.code, first.document["unreachable"]) == (5, ["shop_db"])
    assert {*mine.values_list("parent", flat=True)} == {"auth.User"}
    second = run("rename", OLD_PARENT, "auth.User", "--apply")
    assert second.code == 0
    assert second.document["tables"] == {"ledgers": 1}
    kept = Tally.objects.using("blog_db").get(pk=foreign.pk)
    assert kept.parent == OLD_PARENT
    Tally.objects.using("blog_db").filter(pk=kept.pk).delete()
    assert ledgers() == {"auth.User"}
    assert run("rename", OLD_PARENT, "auth.User", "--apply").document["changed"] == 0
