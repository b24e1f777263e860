"""What monitoring reads: the metrics equal SQL, the health says what is wrong, neither a name."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.blog.models import Post
from apps.integrity import exceptions, relations
from apps.integrity.control import actions, circuit_breaker, heartbeats
from apps.integrity.log import parts, renaming
from apps.integrity.models import Cascade, Deletion, Heartbeat, Scan, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.report.deletion_counts import SUSPECT
from apps.integrity.report.fault import KINDS
from apps.shop.models import Order
from tests import log_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

AUTHOR, BLOG = "blog.Post.author", "blog_db"
INFINITE = float("inf")


@pytest.fixture
def scrape(client: Client) -> Callable[[], dict[Any, float]]:
    """(name, label value …) → value."""

    def run() -> dict[Any, float]:
        response = client.get("/integrity/metrics")
        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/plain")
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }

    return run


def sql(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def deleted(number: int) -> None:
    made = User.objects.bulk_create(User(username=f"u{n}") for n in range(number))
    Post.objects.bulk_create(Post(title="t", content="c", author=each) for each in made)
    User.objects.all().delete()


class TestMetrics:
    def test_how_long_deletes_took_to_arrive(self, scrape: Any) -> None:
        log_rows.make("auth.User", ["more"], [BLOG])
        for n in range(20):
            log_rows.make("auth.User", [n], [BLOG])
        name, now = "integrity_cascade_delay_seconds", timezone.now()
        assert not any(key[0] == name for key in scrape())
        for n, each in enumerate(Cascade.objects.order_by("pk")):
            each.recorded_at, each.done_at = now - dt.timedelta(seconds=n), now
            each.state = "done"
            each.save()
        old = Cascade.objects.order_by("pk")[0]
        Cascade.objects.filter(pk=old.pk).update(done_at=now - dt.timedelta(seconds=400))

        def told() -> dict[Any, float]:
            return {key[1:]: value for key, value in scrape().items() if key[0] == name}

        assert told() == {(BLOG, "0.5"): 11.0, (BLOG, "0.95"): 20.0, (BLOG, "1.0"): 20.0}
        log_rows.make(
            "auth.User", range(100, 180), [BLOG], state="done",
            recorded_at=now - dt.timedelta(seconds=2), done_at=now,
        )  # fmt: skip
        assert told() == {(BLOG, "0.5"): 2.0, (BLOG, "0.95"): 16.0, (BLOG, "1.0"): 20.0}

    @pytest.mark.postgresql
    def test_they_equal_sql(self, scrape: Any) -> None:
        deleted(7)
        dispatch.sweep_all()
        ids, blog = (
            [row.pk for row in Deletion.objects.all()],
            Cascade.objects.filter(database=BLOG),
        )
        for part in (ids[:2], ids[2:3]):
            with transaction.atomic():
                parts.separate(blog, part, using="default", holder=False)
        old = timezone.now() - dt.timedelta(seconds=300)
        Cascade.objects.filter(database=BLOG).update(recorded_at=old)
        Cascade.objects.filter(database=BLOG, size=2).update(state="blocked")
        Cascade.objects.filter(database=BLOG, size=1).update(state="done", done_at=timezone.now())
        found = scrape()
        states = dict.fromkeys([SUSPECT, *Deletion.State.values], 0) | {"dispatched": 7}
        assert {name: found["integrity_deletions", name] for name in states} == states
        [(backlog, blocked, lag)] = sql(
            "SELECT sum(size), sum(size) FILTER (WHERE state = 'blocked'),"
            " extract(epoch FROM clock_timestamp() - min(recorded_at)) FROM integrity_cascade"
            " WHERE database = 'blog_db' AND state <> 'done'"
        )
        assert (backlog, blocked) == (6, 2)
        assert found["integrity_cascade_backlog", BLOG] == backlog
        assert found["integrity_cascade_blocked", BLOG] == blocked
        assert found["integrity_cascade_lag_seconds", BLOG] == pytest.approx(float(lag), abs=2)
        assert found["integrity_cascade_rate", BLOG] == pytest.approx(1 / 300)
        assert found["integrity_cascade_backlog", "test_left"] == 0
        assert found["integrity_cascade_lag_seconds", "test_left"] == 0

    def test_why_a_database_waits(self, scrape: Any) -> None:
        assert scrape()["integrity_paused", BLOG] == 0
        actions.pause(BLOG, actor="op", reason="a look", using="default")
        found = scrape()
        assert found["integrity_paused", BLOG] == 1
        assert found["integrity_database_up", BLOG] == 1
        error = exceptions.DatabaseUnreachable("shop_db", OSError("refused"))
        circuit_breaker.write_outage(error, using="default")
        assert scrape()["integrity_database_up", "shop_db"] == 0

    def test_scans(self, scrape: Any, tune: Tune) -> None:
        tune(brake_keys=2, scan_period_seconds=3600)
        User.objects.create(username="alive")
        age = "integrity_scan_guarantee_age_seconds"
        assert scrape()[age, BLOG, AUTHOR] == INFINITE
        began = timezone.now() - dt.timedelta(seconds=500)
        Scan.objects.create(
            relation=AUTHOR, database=BLOG, covers_at=began, finished_at=began, last_keys=10
        )
        Suspect.objects.bulk_create(
            Suspect(parent="auth.User", relation=AUTHOR, value=f"{n}") for n in range(3)
        )
        found = scrape()
        assert found[age, BLOG, AUTHOR] == pytest.approx(500, abs=2)
        assert found["integrity_scan_coverage_ratio", BLOG, AUTHOR] == 1
        assert found["integrity_suspects", AUTHOR] == 3
        assert found["integrity_brake_engaged", AUTHOR] == 1
        assert found["integrity_brake_engaged", "shop.Order.customer"] == 0
        assert found[("integrity_scan_period_seconds",)] == 3600

    def test_signs_of_life(self, scrape: Any) -> None:
        worker, beat = (f"integrity_{name}_heartbeat_age_seconds" for name in ("worker", "beat"))
        assert scrape()[(worker,)] == scrape()[(beat,)] == INFINITE
        heartbeats.record("beat", using="default")
        for name, seconds in {"dead": 9000, "here": 30}.items():
            seen = timezone.now() - dt.timedelta(seconds=seconds)
            Heartbeat.objects.create(name=name, seen_at=seen)
        found = scrape()
        assert found[(worker,)] == pytest.approx(30, abs=2)
        assert found[(beat,)] == pytest.approx(0, abs=2)

    def test_a_log_that_is_down_leaves_the_others(self, scrape: Any, refuse: Any) -> None:
        with refuse("test_left"):
            found = scrape()
        assert found["integrity_log_up", "test_left"] == 0
        assert found["integrity_log_up", "default"] == 1
        assert ("integrity_cascade_backlog", BLOG) in found

    def test_labels_are_aliases_relations_and_states(self, scrape: Any) -> None:
        User.objects.create(username="mallory-the-name").delete()
        Heartbeat.objects.create(name="worker@secret-host")
        catalogue = relations.catalogue()
        known = {*catalogue.log_databases, *catalogue.child_databases, *Deletion.State.values}
        known |= {SUSPECT, "", *KINDS}
        known |= {each.label for each in catalogue.relations} | {*renaming.Kind}
        assert {label for _, *labels in scrape() for label in labels} <= known


class TestAccess:
    def test_it_is_open_until_a_token_is_set(self, client: Client, tune: Tune) -> None:
        assert client.get("/integrity/metrics").status_code == 200
        tune(metrics_token="tok€n")
        refused = client.get("/integrity/metrics")
        assert refused.status_code == 401
        assert refused["WWW-Authenticate"].startswith("Bearer")
        wrong = client.get("/integrity/metrics", headers={"authorization": "Bearer no"})
        assert wrong.status_code == 401
        tune(metrics_token="token")
        right = client.get("/integrity/metrics", headers={"authorization": "Bearer token"})
        assert right.status_code == 200

    def test_without_its_library_it_says_how_to_get_it(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        response = client.get("/integrity/metrics")
        assert response.status_code == 501
        assert "[metrics]" in response.text

    def test_only_reading(self, client: Client) -> None:
        assert client.post("/integrity/metrics").status_code == 405
        assert client.post("/integrity/healthz").status_code == 405


TOKEN = {"authorization": "Bearer token"}


class TestHealth:
    @pytest.fixture(autouse=True)
    def token(self, tune: Tune) -> None:
        """Who has it is told how each child database stands."""
        tune(metrics_token="token")

    def test_it_is_well_while_beat_tends_the_logs(self, client: Client) -> None:
        response = client.get("/integrity/healthz", headers=TOKEN)
        assert (response.status_code, response.json()["failing"]) == (503, ["beat"])
        heartbeats.record("beat", using="default")
        response = client.get("/integrity/healthz", headers=TOKEN)
        assert (response.status_code, response.json()["status"]) == (200, "ok")
        assert response.json()["databases"][BLOG] == "idle"

    def test_work_that_nobody_takes(self, client: Client) -> None:
        heartbeats.record("beat", using="default")
        Order.objects.create(
            order_number="1", customer=User.objects.create(username="ann"), total=1
        )
        User.objects.get().delete()
        response = client.get("/integrity/healthz", headers=TOKEN)
        assert (response.status_code, response.json()["failing"]) == (503, ["workers"])
        heartbeats.record("worker", using="default")
        assert client.get("/integrity/healthz", headers=TOKEN).status_code == 200

    def test_a_child_database_that_is_down_is_no_failure(self, client: Client) -> None:
        heartbeats.record("beat", using="default")
        error = exceptions.DatabaseUnreachable(BLOG, OSError("no route to db.internal"))
        circuit_breaker.write_outage(error, using="default")
        response = client.get("/integrity/healthz", headers=TOKEN)
        assert (response.status_code, response.json()["databases"][BLOG]) == (200, "hindered")
        assert "internal" not in response.text

    def test_a_log_that_is_down(self, client: Client, refuse: Any) -> None:
        heartbeats.record("beat", using="default")
        with refuse("test_left"):
            response = client.get("/integrity/healthz", headers=TOKEN)
        assert (response.status_code, response.json()["failing"]) == (503, ["logs"])
