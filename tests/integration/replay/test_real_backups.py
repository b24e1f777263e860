"""Real base backups: a child's server, and that of the parents with their log, are restored."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import cascade
from apps.integrity.cascade import verification
from apps.integrity.control import actions, restores
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from sandbox.backups import base_backup
from sandbox.processes import eventually
from tests.backups import restored

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from sandbox import servers
    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.postgresql]

YESTERDAY = timezone.now() - dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch, tune: Tune) -> None:
    monkeypatch.setattr(restores, "SECONDS", 0.0)
    tune(grace_seconds=0.001)


def users(*names: str) -> list[User]:
    made = [User.objects.create(username=name, date_joined=YESTERDAY) for name in names]
    for number, one in enumerate(made):
        Post.objects.create(title="t", content="c", author=one)
        Order.objects.create(customer=one, order_number=f"{names[0]}{number}", total=1)
    return made


def verified(database: str) -> bool:
    verification.verify(database)
    rows = Cascade.objects.filter(database=database)
    return not rows.exclude(state="verified").exists()


def posts() -> list[str]:
    """Return the names of the posts' authors; "?" for those who are gone."""
    names = dict(User.objects.values_list("pk", "username"))
    return sorted(names.get(pk, "?") for pk in Post.objects.values_list("author_id", flat=True))


def test_a_child_server_that_is_restored(converge: Converge, sandbox: servers.Sandbox) -> None:
    before, *gone, _ = users("before", "ann", "bob", "living")
    before.delete()
    converge()
    backup = base_backup(sandbox.postgres["blog_db"], "restored-blog")
    for one in gone:
        one.delete()
        converge()
    assert eventually(lambda: verified("blog_db"), timeout=30)
    assert posts() == ["living"]
    with restored(backup, "blog_db"):
        assert posts() == ["?", "?", "living"]
        users("carl")[0].delete()
        dispatch.sweep_all()
        cascade.drain("blog_db")
        assert actions.is_refused("blog_db", using="default")
        assert len(posts()) == 4
        call_command("integrity", "replay", "--database", "blog_db", "--apply")
        assert not actions.is_refused("blog_db", using="default")
        converge()
        assert posts() == ["living"]
        assert eventually(lambda: verified("blog_db"), timeout=30)
        assert restores.reason("blog_db", using="default") == ""
    assert Order.objects.count() == 1


def test_parents_and_their_log_that_are_restored(
    converge: Converge, sandbox: servers.Sandbox
) -> None:
    before, ann, bob, _ = users("before", "ann", "bob", "living")
    before.delete()
    converge()
    backup = base_backup(sandbox.postgres["default"], "restored-default")
    (late,) = users("late")
    key = late.pk
    for one in (ann, bob, late):
        one.delete()
    converge()
    assert posts() == ["living"]
    with restored(backup, "default"):
        assert {*User.objects.values_list("username", flat=True)} == {"ann", "bob", "living"}
        new = User.objects.create(pk=key, username="new")  # of a sequence that was restored, too
        Post.objects.create(title="t", content="c", author=new)
        cascade.drain("blog_db")
        assert "the log in 'default' was restored" in restores.reason("blog_db", using="default")
        with pytest.raises(SystemExit) as ended:
            call_command("integrity", "replay", "--parents", "--apply")
        assert ended.value.code == 3  # the key that is used again is left to an operator
        assert {*User.objects.values_list("username", flat=True)} == {"living", "new"}
        for alias in ("blog_db", "shop_db"):
            call_command("integrity", "resume", "--database", alias, "--accept-restore")
        converge()
        assert posts() == ["living", "new"]
        assert Order.objects.count() == 1
        assert not Deletion.objects.filter(key=str(key)).exists()
        assert Deletion.objects.count() == 3  # `before`, ann and bob
