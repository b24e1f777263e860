"""What a task of another queue does with a message of the setting `notify`."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from apps.blog.models import Post
from apps.integrity import relations
from apps.integrity.exceptions import UnknownName
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import messages
from apps.integrity.queues.messages import work_for
from apps.integrity.relations import Catalogue, discovery
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Tune

    Refuse = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("committed")

sent: list[str] = []
#: How many messages were being worked for when each was sent.
depths: list[int] = []


def publish(message: str) -> None:
    sent.append(message)


def run_at_once(message: str) -> None:
    """Like a queue that runs a task in the thread that sends its message."""
    sent.append(message)
    frames = traceback.extract_stack()
    depths.append(sum(frame.name == messages._work.__name__ for frame in frames))
    work_for(message)


def fail(message: str) -> None:
    sent.append(message)
    raise ConnectionError(message)


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tune: Tune) -> None:
    """The relations of the sample apps alone, and messages that are noted."""
    chosen = ("blog.", "shop.")
    found = Catalogue(tuple(r for r in relations.discover().relations if r.label[:5] in chosen))
    monkeypatch.setattr(discovery, "_known", [found])
    sent.clear()
    depths.clear()
    tune(notify=f"{__name__}.publish")


def deleted(rows: int = 3) -> None:
    """Delete a user with posts and orders; keep one with as many."""
    for name in ("gone", "kept"):
        user = User.objects.create(username=name)
        Post.objects.bulk_create(Post(title="t", content="c", author=user) for _ in range(rows))
        Order.objects.bulk_create(
            Order(order_number=f"{name} {number}", customer=user, total=1) for number in range(rows)
        )
    with transaction.atomic():
        User.objects.get(username="gone").delete()


def left() -> tuple[int, int]:
    return Post.objects.count(), Order.objects.count()


def test_the_first_message_dispatches_works_and_tells_the_other_databases() -> None:
    deleted()
    work_for("integrity.blog_db")
    assert left() == (3, 6)
    assert sent == ["integrity.shop_db"]
    work_for(sent.pop())
    assert left() == (3, 3)
    assert sent == []


def test_the_control_message_dispatches_and_tells_all_databases() -> None:
    deleted()
    work_for("integrity")
    assert left() == (6, 6)
    assert sent == ["integrity.blog_db", "integrity.shop_db"]


def test_a_message_that_comes_twice_late_or_for_nothing_does_no_harm() -> None:
    work_for("integrity.blog_db")
    work_for("integrity")
    deleted()
    for _ in range(3):
        work_for("integrity.blog_db")
        work_for("integrity.shop_db")
        work_for("integrity")
    assert left() == (3, 3)
    assert {*Cascade.objects.values_list("state", "attempts")} == {("done", 1)}


@pytest.mark.parametrize("message", ["blog_db", "integrity.default", "integrity.nowhere", ""])
def test_a_message_that_names_no_child_database_is_refused(message: str) -> None:
    deleted()
    with pytest.raises(UnknownName, match="message"):
        work_for(message)
    assert left() == (6, 6)


def test_what_is_not_done_when_time_is_up_is_announced_again(tune: Tune) -> None:
    tune(notify=f"{__name__}.publish", run_seconds=1e-9, turn_seconds=1e-9, statement_rows=1)
    deleted(rows=20)
    work_for("integrity.blog_db")
    assert sent == ["integrity.shop_db", "integrity.blog_db"]
    for _ in range(200):
        if left() == (20, 20):
            break
        work_for(sent.pop(0))
    assert left() == (20, 20)


def test_a_queue_that_runs_tasks_at_once_does_not_recurse(tune: Tune) -> None:
    """Twenty slices, each of which sends the next message from within a task."""
    tune(notify=f"{__name__}.run_at_once", run_seconds=1e-9, turn_seconds=1e-9, statement_rows=1)
    deleted(rows=20)
    messages.send("integrity.blog_db")
    assert left() == (20, 20)
    assert len(sent) > 5
    assert depths == [0, *[1] * (len(sent) - 1)]


def test_a_message_that_cannot_be_sent_fails_no_task(
    tune: Tune, caplog: pytest.LogCaptureFixture
) -> None:
    tune(notify=f"{__name__}.fail")
    deleted()
    work_for("integrity.blog_db")
    assert left() == (3, 6)
    assert "sending the message 'integrity.shop_db' failed" in caplog.text


def test_a_database_that_is_away_is_no_error(refuse: Refuse) -> None:
    deleted()
    with refuse("blog_db"):
        work_for("integrity.blog_db")
    assert left()[0] == 6
    assert sent == ["integrity.shop_db"]
    assert {*Cascade.objects.values_list("attempts", flat=True)} == {0}


def test_a_failure_of_sending_harms_no_delete(tune: Tune) -> None:
    tune(wakeups=True, notify=f"{__name__}.fail")
    deleted()
    assert Deletion.objects.count() == 1
