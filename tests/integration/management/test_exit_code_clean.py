"""Exit code 0 means what the reference says, for random states: the verb against plain SQL."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from apps.blog.models import Post
from apps.integrity.control import actions
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.shop.models import Order

if TYPE_CHECKING:
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

CLEAN = 0
POST, ORDER = "blog.Post.author", "shop.Order.customer"
ENDED = {"done", "verified", "kept", "cancelled"}


def run(*arguments: str) -> int:
    try:
        call_command("integrity", *arguments)
    except CommandError as error:
        return int(error.returncode)
    except SystemExit as ended:
        return int(ended.code or 0)
    return CLEAN


def random_state(chance: random.Random) -> None:
    """Users with rows elsewhere; each stays, is deleted, or vanishes without a trace."""
    users = [User.objects.create(username=f"user{n}") for n in range(chance.randint(1, 4))]
    for user in users:
        for number in range(chance.randint(0, 2)):
            Post.objects.create(title="t", content="c", author=user)
            Order.objects.create(order_number=f"{user.pk}-{number}", customer=user, total=1)
    for user in users:
        match chance.choice(["stays", "stays", "deleted", "vanished"]):
            case "deleted":
                user.delete()
                if chance.random() < 0.5:
                    dispatch.sweep_all()
            case "vanished":
                User.objects.filter(pk=user.pk)._raw_delete("default")
    if chance.random() < 0.3:
        Cascade.objects.filter(database="blog_db").update(state="blocked", due_at=None)
    if chance.random() < 0.2:
        actions.pause("blog_db", actor="test", reason="", using="default")


def orphans() -> set[int]:
    """Keys of users that are gone and that posts refer to."""
    living = {*User.objects.values_list("pk", flat=True)}
    return {*Post.objects.values_list("author_id", flat=True)} - living


def deleted(relation: str) -> set[int]:
    """Keys in the log: what a scan has found goes along one relation only."""
    rows = Deletion.objects.filter(parent="auth.User", relation__in=["", relation])
    return {int(row.key) for row in rows}


def on_their_way() -> set[int]:
    """Keys in the log whose work in blog_db goes on by itself."""
    return {
        int(row.key)
        for row in Deletion.objects.filter(parent="auth.User")
        if row.batch is None
        or any(
            one.database == "blog_db" and one.state in {"pending", "running", "waiting"}
            for one in row.databases
        )
    }


@pytest.mark.parametrize("seed", range(12))
def test_zero_of_scan_repair_and_drain_is_true(seed: int, tune: Tune) -> None:
    tune(grace_seconds=0.001)
    chance = random.Random(seed)  # noqa: S311 (states to try)
    random_state(chance)

    scanned = run("scan", "--full", "--relation", POST)
    unseen = orphans() - on_their_way()
    assert (scanned == CLEAN) <= (not unseen)

    suspects = Suspect.objects.filter(relation=POST)
    outlook = run("repair", "--relation", POST)
    assert (outlook == CLEAN) <= (not suspects.exists())
    if chance.random() < 0.5:
        repaired = run("repair", "--relation", POST, "--apply")
        assert (repaired == CLEAN) <= (not suspects.exists())

    drained = run("drain")
    if drained == CLEAN:
        assert {*Cascade.objects.values_list("state", flat=True)} <= ENDED
        assert not Deletion.objects.filter(batch=None).exists()
        assert not orphans() & deleted(POST)
        assert not Order.objects.filter(customer_id__in=deleted(ORDER)).exists()
    states = {*Cascade.objects.values_list("state", flat=True)}
    assert ("blocked" in states) <= (drained != CLEAN)
