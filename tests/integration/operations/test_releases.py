"""Two releases side by side on one log: each takes what it knows, and the newer one does the rest.

The older one is a process of its own (settings: tests/older.py). It lacks a database, a parent
model and a relation that this process has.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.db.models import F

from apps.blog.models import Post
from apps.integrity import cascade, relations
from apps.integrity.cascade import verification
from apps.integrity.declared import Relation
from apps.integrity.log import candidates
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from sandbox import project
from tests.acceptance import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import DjangoDbBlocker

    from tests.conftest import Tune

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.timeout(300)]

TITLE = "blog.Post.title"


#: Answers each command, a line of JSON, with what `manage.py integrity` writes.
PROGRAM = """
import contextlib, io, json, sys
import django
from django.core.management import call_command
django.setup()
for line in sys.stdin:
    written = io.StringIO()
    with contextlib.suppress(SystemExit):
        call_command("integrity", *json.loads(line), "--json", stdout=written)
    print(json.dumps(json.loads(written.getvalue())), flush=True)
"""


class Older:
    """The older release: one process for all tests, because a start takes seconds."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=project.ROOT,
            env=workers.environment("tests.older"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> dict[str, Any]:
        """What it does and says. The pytest timeout ends a wait for an answer that never comes."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the older release ended with exit code {self.process.wait(30)}"
        return dict(json.loads(line))


@pytest.fixture(scope="module")
def older(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Older]:
    with django_db_blocker.unblock():
        release = Older()
    with release.process:
        yield release
        release.process.kill()


def newer() -> None:
    """All that this process can do now."""
    Cascade.objects.filter(state__in=Cascade.CLAIMABLE).update(due_at=ServerNow())
    dispatch.sweep_all()
    for alias in relations.catalogue().child_databases:
        if Cascade.objects.filter(database=alias).exists():
            cascade.drain(alias)
            verification.verify(alias)


@pytest.fixture(autouse=True)
def _quick(tune: Tune) -> None:
    tune(grace_seconds=0.000_001, stalled_seconds=1_000.0)


def unknown_database(_: Tune) -> Callable[[], int]:
    """Orders, in a database that the older release does not have."""
    user = User.objects.create(username="ann")
    Order.objects.create(order_number="1", customer=user, total=1)
    user.delete()
    return Order.objects.count


def unknown_parent(tune: Tune) -> Callable[[], int]:
    """Posts whose title holds the key of a group: by a declared relation of the newer release."""
    tune(relations=[Relation(TITLE, "auth.Group")])
    group, author = Group.objects.create(name="g"), User.objects.create(username="bob")
    Post.objects.create(title=f"{group.pk}", content="c", author=author)
    group.delete()
    return Post.objects.count


def unknown_relation(tune: Tune) -> Callable[[], int]:
    """Posts whose title holds the key of a user, found by a scan of that relation alone."""
    tune(relations=[Relation(TITLE, "auth.User")])
    author = User.objects.create(username="cid")
    Post.objects.create(title="987654", content="c", author=author)
    Deletion.objects.create(parent="auth.User", key="987654", relation=TITLE, source="scan")
    return Post.objects.count


@pytest.mark.parametrize("work", [unknown_database, unknown_parent, unknown_relation])
def test_an_older_release_leaves_to_the_newer_one_what_it_does_not_know(
    tune: Tune, older: Older, work: Callable[[Tune], Callable[[], int]]
) -> None:
    rows = work(tune)
    dispatch.sweep_all()
    before = dict(Cascade.objects.values_list("database", "attempts"))
    assert set(before.values()) == {0}
    older("drain", "--verify", "--timeout", "3")  # it waits for what it cannot verify
    strange = Cascade.objects.exclude(state__in=["done", "verified"])
    assert strange.exists()
    assert {*strange.values_list("attempts", flat=True)} == {0}
    assert rows() == 1
    newer()
    assert rows() == 0
    assert {*Cascade.objects.values_list("state", flat=True)} <= {"done", "verified"}
    assert strange.count() == 0


@pytest.mark.parametrize("work", [unknown_parent, unknown_relation])
def test_however_often_it_is_due_no_attempt_is_burnt_and_it_comes_at_a_measured_pace(
    tune: Tune, older: Older, work: Callable[[Tune], Callable[[], int]]
) -> None:
    rows = work(tune)
    dispatch.sweep_all()
    for _ in range(3):
        Cascade.objects.update(due_at=ServerNow())
        older("drain", "--timeout", "10")
        [one] = Cascade.objects.annotate(wait=F("due_at") - ServerNow())
        assert (one.state, one.attempts) == ("waiting", 0)
        assert one.wait.total_seconds() > candidates.ASIDE_SECONDS[0] / 2
        assert "here" in one.reason
    newer()
    assert rows() == 0


@pytest.mark.parametrize("work", [unknown_parent, unknown_relation])
def test_what_is_recorded_and_not_dispatched_waits_for_the_newer_one(
    tune: Tune, older: Older, work: Callable[[Tune], Callable[[], int]]
) -> None:
    rows = work(tune)
    older("drain", "--verify", "--timeout", "10")
    assert Deletion.objects.get().state == "recorded"
    newer()
    assert rows() == 0


def test_a_suspect_along_an_unknown_relation_stays_one(tune: Tune, older: Older) -> None:
    rows = unknown_relation(tune)
    Deletion.objects.all().delete()
    Suspect.objects.create(parent="auth.User", relation=TITLE, value="987654", fence={})
    older("scan", "--full")
    older("repair", "--apply")
    assert [*Suspect.objects.values_list("relation", flat=True)] == [TITLE]
    assert not Deletion.objects.exists()
    assert rows() == 1


def test_a_state_that_only_the_newer_release_knows_is_not_over() -> None:
    """The deletion is neither cascaded nor verified because somebody cannot read its cascades."""
    user = User.objects.create(username="dan")
    Post.objects.create(title="t", content="c", author=user)
    user.delete()
    dispatch.sweep_all()
    Cascade.objects.filter(database="blog_db").update(state="archived")
    newer()
    assert Deletion.objects.get().state == "dispatched"
