"""The verbs and the pages, with the log in MariaDB or beside it: each answers, and is exact."""

from __future__ import annotations

import datetime as dt
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import cascade, scan
from apps.integrity.cascade import verification
from apps.integrity.control import heartbeats
from apps.integrity.models import Audit, Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from tests.integration.management.test_command import integrity

if TYPE_CHECKING:
    from collections.abc import Callable, Counter

    from django.test import Client

    from tests.conftest import Tune
    from tests.integration.management.test_command import Run

    Converge = Callable[[], Counter[str]]

__all__ = ["integrity"]  # a fixture
pytestmark = pytest.mark.usefixtures("committed")

CLEAN, ERROR, USAGE, FINDINGS, INCOMPLETE = range(5)
#: Posts and orders of the user who is deleted.
POSTS, ORDERS = 3, 2


@pytest.fixture
def ann() -> User:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    for user in (ann, bob):
        Post.objects.bulk_create(Post(title="t", content="c", author=user) for _ in range(POSTS))
        for number in range(ORDERS):
            Order.objects.create(order_number=f"{user} {number}", customer=user, total=1)
    return ann


@pytest.fixture
def verified(ann: User, converge: Converge, tune: Tune) -> int:
    """Delete Ann, cascade and verify; return her key."""
    tune(grace_seconds=1e-6)
    key = ann.pk
    ann.delete()
    converge()
    for database in ("blog_db", "shop_db"):
        assert verification.verify(database).verified == 1
    return int(key)


def test_relations_and_preview(integrity: Run, ann: User) -> None:
    rows = integrity("relations", "--json").document["relations"]
    [post] = [each for each in rows if each["relation"] == "blog.Post.author"]
    assert (post["child_database"], post["policy"], post["indexed"]) == ("blog_db", "CASCADE", True)
    document = integrity("preview", "auth.User", str(ann.pk), "--json").document
    effects = {each["relation"]: each["rows"] for each in document["effects"] if each["rows"]}
    assert effects == {"blog.Post.author": POSTS, "shop.Order.customer": ORDERS}
    assert document["total"] == POSTS + ORDERS


def test_status_while_work_is_left_and_after(integrity: Run, ann: User) -> None:
    ann.delete()
    dispatch.sweep("default")
    before = integrity("status", "--json").document
    assert {row["database"]: row["backlog"] for row in before["databases"]}["blog_db"] == 1
    outcome = integrity("drain", "--json")
    assert outcome.document["rows"] == {"blog.Post.author": POSTS, "shop.Order.customer": ORDERS}
    after = integrity("status", "--json").document
    backlog = {row["database"]: row["backlog"] for row in after["databases"]}
    assert (backlog["blog_db"], backlog["shop_db"]) == (0, 0)
    assert after["deletions"]["cascaded"] == 1
    assert "blog_db" in integrity("status").out


def test_drain_verifies(integrity: Run, ann: User, tune: Tune) -> None:
    tune(grace_seconds=1e-6)
    ann.delete()
    document = integrity("drain", "--verify", "--json").document
    assert (document["verified"], document["pending"]) == (2, 0)
    assert Deletion.objects.get().state == "verified"


def test_the_receipt_is_exact(integrity: Run, verified: int) -> None:
    outcome = integrity("receipt", "auth.User", str(verified), "--json")
    assert outcome.code == CLEAN
    receipt = (
        outcome.document["receipts"][0] if "receipts" in outcome.document else outcome.document
    )
    rows = {line["database"]: line["rows"] for line in receipt["cascades"] if line["rows"]}
    assert rows == {
        "blog_db": {"blog.Post.author": POSTS},
        "shop_db": {"shop.Order.customer": ORDERS},
    }
    times = (
        receipt["deletion"]["recorded_at"],
        *(
            line[moment]
            for line in receipt["cascades"]
            if line["rows"]
            for moment in ("done_at", "verified_at")
        ),
    )
    assert times[0] < min(times[1:])
    text = integrity("receipt", "auth.User", str(verified)).text
    assert "blog.Post.author" in text
    assert "verified" in text


#: Less than any zone is away from UTC.
SOON_SECONDS = 900


def test_times_are_utc_whatever_the_zone_of_the_server(integrity: Run, verified: int) -> None:
    document = integrity("receipt", "auth.User", str(verified), "--json").document
    times = [document["deletion"]["recorded_at"]]
    times += [line[each] for line in document["cascades"] for each in ("done_at", "verified_at")]
    assert max(map(_away, times)) < SOON_SECONDS, times


def test_ages_are_those_of_this_moment(integrity: Run, ann: User) -> None:
    heartbeats.write("one@host", using="default", queues=["integrity"])
    ann.delete()
    dispatch.sweep("default")
    document = integrity("status", "--json").document
    lags = {row["database"]: row["lag_seconds"] for row in document["databases"]}
    assert 0 <= lags["blog_db"] < SOON_SECONDS
    assert 0 <= lags["shop_db"] < SOON_SECONDS
    (worker,) = document["workers"]
    assert 0 <= worker["seconds_ago"] < SOON_SECONDS
    integrity("scan")
    scans = integrity("status", "--json").document["scans"]
    ended = [row["last_full_scan"] for row in scans if row["last_full_scan"]]
    assert ended
    assert max(map(_away, ended)) < SOON_SECONDS


def _away(moment: str) -> float:
    return abs((timezone.now() - dt.datetime.fromisoformat(moment)).total_seconds())


def test_doctor_finds_nothing_wrong_with_the_databases(integrity: Run, verified: int) -> None:
    checks = integrity("doctor", "--json").document["checks"]
    wrong = [
        (check["name"], check["detail"])
        for check in checks
        if not check["ok"] and not check["name"].startswith(("worker", "beat", "queue", "scan"))
    ]
    assert wrong == []


PAGES = {
    **dict.fromkeys(("changelist", "deletions", "relations", "scans", "processes", "audit"), ""),
    "guides": "",
    "preview": "?relation=blog.Post.author",
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_render(client: Client, verified: int, name: str) -> None:
    User.objects.filter(username="bob").delete()
    dispatch.sweep("default")
    client.force_login(User.objects.create_superuser("root"))
    response = client.get(reverse(f"admin:integrity_dashboard_{name}") + PAGES[name])
    assert response.status_code == HTTPStatus.OK


def test_pages_of_a_deletion(client: Client, verified: int) -> None:
    client.force_login(User.objects.create_superuser("root"))
    pk = Deletion.objects.get().pk
    for name in ("deletion", "receipt", "receipt_json"):
        url = reverse(f"admin:integrity_dashboard_{name}", args=["default", pk])
        response = client.get(url)
        assert response.status_code == HTTPStatus.OK, name
    assert json.loads(response.content)["deletion"]["key"] == str(verified)
    for query in ("?state=verified", "?q=auth.User", f"?key={verified}", "?database=blog_db"):
        url = reverse("admin:integrity_dashboard_deletions") + query
        assert client.get(url).status_code == HTTPStatus.OK, query


def test_monitoring(client: Client, verified: int) -> None:
    assert client.get("/integrity/healthz").status_code in {200, 503}
    metrics = client.get("/integrity/metrics")
    assert metrics.status_code in {HTTPStatus.OK, HTTPStatus.FORBIDDEN}


def test_an_operator_pauses_resumes_and_retries(
    integrity: Run, ann: User, converge: Converge
) -> None:
    assert integrity("pause", "--database", "blog_db").code == CLEAN
    ann.delete()
    dispatch.sweep("default")
    assert cascade.drain("blog_db").rows == {}
    assert cascade.drain("shop_db").rows == {"shop.Order.customer": ORDERS}
    assert integrity("resume", "--database", "blog_db").code == CLEAN
    Cascade.objects.filter(database="blog_db").update(state="blocked", due_at=None, attempts=9)
    assert integrity("retry", "--all", "--json").document["changed"] == 1
    assert converge() == {"blog.Post.author": POSTS}
    assert Audit.objects.count() == 3


def orphaned() -> tuple[int, User]:
    """A user who vanished without a record, with POSTS posts; and one who lives."""
    gone, kept = (User.objects.create(username=name) for name in ("gone", "kept"))
    for user in (gone, kept):
        Post.objects.bulk_create(Post(title="t", content="c", author=user) for _ in range(POSTS))
    key = gone.pk
    User.objects.filter(pk=key)._raw_delete("default")
    return key, kept


def test_scan_and_repair(integrity: Run, tune: Tune) -> None:
    tune(grace_seconds=0.001)
    key, kept = orphaned()
    found = integrity("scan", "--json").document["relations"]
    [row] = [each for each in found if each["relation"] == "blog.Post.author"]
    assert (row["suspects"], row["orphans"], row["complete"]) == (1, POSTS, True)
    dry = integrity("repair", "--json").document
    assert sum(each["rows"] for each in dry["effects"]) == POSTS
    assert not dry["applied"]
    assert Post.objects.count() == 2 * POSTS
    document = integrity("repair", "--apply", "--json").document
    assert document["applied"]
    integrity("drain")
    assert {each.author for each in Post.objects.all()} == {kept}
    [deletion] = Deletion.objects.all()
    assert (deletion.key, deletion.source) == (str(key), "scan")


def test_a_suspect_who_came_back_keeps_every_row(integrity: Run, tune: Tune) -> None:
    tune(grace_seconds=0.001)
    key, _ = orphaned()
    scan.scan("blog_db", labels=["blog.Post.author"])
    User.objects.create(pk=key, username="back")
    integrity("repair", "--apply", "--json")
    assert cascade.drain("blog_db").rows == {}
    assert Post.objects.count() == 2 * POSTS


def test_the_brake_refuses_where_the_table_of_parents_is_empty(integrity: Run, tune: Tune) -> None:
    tune(grace_seconds=0.001)
    orphaned()
    User.objects.all()._raw_delete("default")
    integrity("scan")
    outcome: Any = integrity("repair", "--apply", "--json")
    assert outcome.document["exit_reason"] == "brake"
    assert Post.objects.count() == 2 * POSTS
