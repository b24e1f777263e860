"""The figures for machines: Prometheus's text, and 200 or 503."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from prometheus_client.parser import text_string_to_metric_families

from apps.blog.models import Post
from apps.integrity import control, dispatch, relations, report, scan
from apps.integrity.models import Cascade
from tests.kinds.left.models import Optional

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.usefixtures("committed")


def scrape(client: Client) -> dict[tuple[str, ...], float]:
    """Name and labels of each sample → its value."""
    answer = client.get("/integrity/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.content.decode())
    return {
        (sample.name, *(sample.labels[each] for each in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def alive(committed: None) -> None:
    for using in relations.catalogue().log_databases:
        control.beat("beat", using=using)
        control.beat("worker-blog_db@host", using=using)


class TestMetrics:
    @pytest.mark.usefixtures("alive")
    def test_they_are_the_report_s_figures(self, client: Client) -> None:
        users = [User.objects.create(username=f"u{n}") for n in range(3)]
        Post.objects.bulk_create(Post(title="t", content="c", author=each) for each in users)
        for each in users:
            each.delete()
        dispatch.sweep_all()
        Cascade.objects.filter(database="shop_db").update(state="blocked")
        control.pause("shop_db", actor="me", reason="x", using="default")
        Optional.objects.create(owner_id=1)
        scan.scan("test_left", seconds=60)
        found = scrape(client)
        assert found["integrity_cascade_backlog", "blog_db"] == 3
        assert found["integrity_cascade_blocked", "blog_db"] == 0
        assert found["integrity_cascade_blocked", "shop_db"] == 3
        assert found["integrity_paused", "shop_db"] == 1
        assert found["integrity_database_up", "blog_db"] == 1
        assert 0 < found["integrity_cascade_oldest_pending_seconds", "blog_db"] < 60
        assert found["integrity_orphans", "test_left", "left.Optional.owner"] == 1
        assert found["integrity_suspects", "test_left", "left.Optional.owner"] == 1
        assert found["integrity_brake_engaged", "test_left", "left.Optional.owner"] == 1
        assert found["integrity_scan_coverage_ratio", "test_left", "left.Optional.owner"] == 1
        assert found["integrity_scan_guarantee_age_seconds", "blog_db", "blog.Post.author"] == -1
        assert found["integrity_beat_heartbeat_age_seconds",] < 60
        assert found["integrity_log_up", "default"] == 1
        for card in report.overview().cards:
            assert found["integrity_cascade_backlog", card.database] == card.backlog

    def test_a_database_that_is_down(self, client: Client, refuse: Callable[[str], Any]) -> None:
        with refuse("blog_db"):
            scan.scan("blog_db", seconds=0)
            assert scrape(client)["integrity_database_up", "blog_db"] == 0

    def test_no_label_is_a_key(self, client: Client) -> None:
        User.objects.create(pk=987_654_321, username="ann").delete()
        text = client.get("/integrity/metrics").content.decode()
        assert "987654321" not in text

    def test_without_prometheus_client_the_remedy_is_told(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        answer = client.get("/integrity/metrics")
        assert answer.status_code == 501
        assert "pip install" in answer.content.decode()

    def test_it_is_read_only(self, client: Client) -> None:
        assert client.post("/integrity/metrics").status_code == 405
        assert client.post("/integrity/healthz").status_code == 405


class TestHealth:
    @pytest.mark.usefixtures("alive")
    def test_well(self, client: Client) -> None:
        answer = client.get("/integrity/healthz")
        assert (answer.status_code, answer.json()["ok"]) == (200, True)

    @pytest.mark.usefixtures("alive")
    def test_work_and_pauses_are_well(self, client: Client) -> None:
        User.objects.create(username="ann").delete()
        dispatch.sweep_all()
        control.pause("shop_db", actor="me", reason="x", using="default")
        assert client.get("/integrity/healthz").status_code == 200

    def test_beat_that_is_silent_is_not(self, client: Client) -> None:
        answer = client.get("/integrity/healthz")
        assert answer.status_code == 503
        assert "Beat has not been seen" in answer.json()["reason"]

    @pytest.mark.usefixtures("alive")
    def test_nor_is_what_is_blocked(self, client: Client) -> None:
        User.objects.create(username="ann").delete()
        dispatch.sweep_all()
        Cascade.objects.update(state="blocked", reason="it would not go")
        answer = client.get("/integrity/healthz")
        assert answer.status_code == 503
        assert "it would not go" in answer.json()["reason"]

    @pytest.mark.usefixtures("alive")
    def test_nor_is_a_log_that_does_not_answer(
        self, client: Client, refuse: Callable[[str], Any]
    ) -> None:
        with refuse("default"):
            answer = client.get("/integrity/healthz")
        assert answer.status_code == 503
        assert "default" in answer.json()["reason"]
