"""The page of processes: who was seen when, on which queues, and what is in hand."""

from __future__ import annotations

import datetime as dt
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.integrity.control import heartbeats
from apps.integrity.log import claims
from apps.integrity.models import Cascade, Heartbeat
from apps.integrity.report import claimed_work, limits
from tests import log_rows, walked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

LOGS = ("default", "test_lite")


def page() -> str:
    user, _ = User.objects.get_or_create(username="vera", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_dashboard"))
    client = Client()
    client.force_login(user)
    response = client.get(reverse("admin:integrity_dashboard_processes"))
    assert response.status_code == HTTPStatus.OK
    return " ".join(response.content.decode().split())


def seen(name: str, seconds: float, queues: list[str] | None, using: str = "default") -> None:
    at = timezone.now() - dt.timedelta(seconds=seconds)
    Heartbeat.objects.using(using).create(name=name, seen_at=at, queues=queues)


def claimed(owner: str, using: str = "default", limit: int = 100) -> None:
    assert claims.claim("shop_db", using=using, limit=limit, lease_seconds=600, owner=owner)


@pytest.mark.parametrize("using", LOGS)
def test_who_was_seen_when_on_which_queues_and_who_is_silent(using: str) -> None:
    seen(heartbeats.BEAT, 600, None, using)
    seen("celery@here", 2, ["integrity", "blog_db"], using)
    seen("celery@gone", 3_600, ["integrity"], using)
    seen("celery@unknown", 3_600, None, using)
    found = {each.name: each for each in claimed_work.processes(using).processes}
    assert {name: each.silent for name, each in found.items()} == {
        "beat": True,
        "celery@here": False,
        "celery@gone": True,
        "celery@unknown": False,
    }
    assert found["celery@here"].queues == ("integrity", "blog_db")
    assert found["celery@unknown"].queues is None


@pytest.mark.parametrize("using", LOGS)
def test_what_is_claimed_by_task_and_nothing_that_waits(using: str) -> None:
    log_rows.make("auth.User", range(7), ["shop_db"], using=using)
    claimed("task-1", using)
    log_rows.make("auth.User", range(3), ["shop_db"], apart=True, using=using)
    claimed("task-2", using, limit=2)
    later = timezone.now() + dt.timedelta(minutes=5)
    log_rows.make("auth.User", ["x"], ["shop_db"], state="waiting", due_at=later, using=using)
    ended = timezone.now() - dt.timedelta(minutes=5)
    log_rows.make("auth.User", ["y"], ["blog_db"], state="running", due_at=ended, using=using)
    found = claimed_work.processes(using)
    hands = {(one.task, one.database, one.parent): one.deletions for one in found.claims}
    assert hands == {
        ("task-1", "shop_db", "auth.User"): 7,
        ("task-2", "shop_db", "auth.User"): 2,
    }
    assert not found.more_claims
    for one in found.claims:
        assert one.until > one.recorded_at


def test_the_page_says_what_is_not_known() -> None:
    assert "No process has been seen yet." in page()
    assert "No worker has claimed anything." in page()
    seen("celery@<b>", 2, None)
    seen("beat@here", 1, None)
    seen("celery@silent", 3_600, ["a", "b"])
    log_rows.make("auth.User", range(3), ["shop_db"])
    claimed("task-1 celery@here")
    shown = page()
    assert 'celery@&lt;b&gt;</th><td><span class="ix-quiet">seen at work</span>' in shown
    assert '<td><span class="ix-quiet">unknown</span></td>' in shown
    assert "silent</span></td><td>a, b</td>" in shown
    assert '<td>celery@here</td><td class="ix-error">task-1</td>' in shown


def test_a_log_that_does_not_answer_is_named(refuse: Callable[[str], object]) -> None:
    with refuse("test_left"):
        shown = page()
    assert "test_left does not answer" in shown


@pytest.mark.usefixtures("new_log")
def test_it_reads_to_a_bound_and_says_so(
    monkeypatch: pytest.MonkeyPatch, captured: Captured
) -> None:
    for name in ("PROCESSES", "CLAIMS"):
        monkeypatch.setattr(limits, name, 2)
    monkeypatch.setattr(limits, "PAGE_CASCADES", 100)
    for number in range(4):
        seen(f"celery@{number}", number, None)
    log_rows.make("auth.Customer", range(5_000), ["shop_db"], apart=True, state="verified")
    log_rows.make("auth.User", range(2_000), ["shop_db"], apart=True)
    for number in range(3):
        claimed(f"task-{number}", limit=1)
    later = timezone.now() + dt.timedelta(hours=5)
    Cascade.objects.filter(state="pending").update(state="waiting", due_at=later)
    is_mysql = connections["default"].vendor == "mysql"
    with connections["default"].cursor() as cursor:
        cursor.execute(f"ANALYZE {'TABLE ' if is_mysql else ''}integrity_cascade")
        if is_mysql:
            cursor.fetchall()
        with captured:
            found = claimed_work.processes("default")
        # Two walks of the names in the log are a statement on PostgreSQL.
        assert len(walked.once(captured["default"])) == (4 if is_mysql else 3)
        assert [each.name for each in found.processes] == ["celery@0", "celery@1"]
        assert len(found.claims) == 2
        assert found.more_processes
        assert found.more_claims
        per_database = "UNION ALL" if is_mysql else "LATERAL"
        [held] = [sql for sql in captured["default"] if per_database in sql]
        cursor.execute(f"EXPLAIN {'FORMAT=JSON ' if is_mysql else ''}{held}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "integrity_cascade_due" in plan
    assert "Seq Scan" not in plan
    assert '"access_type": "ALL",\n      "key"' not in plan
    assert "Only the 2 that were seen last" in page()
