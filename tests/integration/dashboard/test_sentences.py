"""What the pages on scans, relations and repairs say is no more than what was looked at."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import relations, scan
from apps.integrity.backends import connections
from apps.integrity.control import heartbeats
from apps.integrity.dashboard import figures, pages
from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.models import Cascade, Deletion, Heartbeat, Suspect
from apps.integrity.relations import Catalogue, discovery
from apps.integrity.report import overview
from tests.log_rows import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed", "project")
LABEL = "blog.Post.author"


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("blog.", "shop.")
    found = Catalogue(tuple(r for r in relations.discover().relations if r.label[:5] in chosen))
    monkeypatch.setattr(discovery, "_known", [found])


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def orphans(number: int = 3) -> None:
    for key in range(number):
        Post.objects.create(title="t", content="c", author_id=9_000 + key)
    scan.scan("blog_db", labels=[LABEL])
    Suspect.objects.update(recorded_at=timezone.now() - dt.timedelta(hours=1))


def page(client: Client, name: str) -> str:
    query = f"?relation={LABEL}" if name == "preview" else ""
    response = client.get(reverse(f"admin:integrity_dashboard_{name}") + query)
    assert response.status_code == 200, response
    return " ".join(response.content.decode().split())


class TestAPreview:
    def test_parents_that_cannot_be_asked_are_no_zero(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orphans()

        def refused(alias: str) -> None:
            raise DatabaseUnreachable(alias, "connection refused")

        monkeypatch.setattr(connections, "reach", refused)
        shown = page(client, "preview")
        assert f"How many missing parents of {LABEL} wait for repair is not known now" in shown
        assert "connection refused" in shown
        assert "0 missing parents" not in shown
        assert "Not counted." in shown
        assert "Nothing" not in shown

    def test_children_that_cannot_be_asked_are_no_zero(
        self, client: Client, refuse: Callable[[str], object]
    ) -> None:
        orphans()
        with refuse("blog_db"):
            shown = page(client, "preview")
        assert f"3 missing parents of {LABEL} wait for repair" in shown
        assert "Not counted." in shown
        assert "No row refers" not in shown
        assert "cannot be counted now" in shown

    def test_what_was_looked_at_in_part_is_said_of_that_part(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orphans()
        Post.objects.all().delete()
        assert "No row refers to a parent that is missing now." in page(client, "preview")
        monkeypatch.setattr(pages, "PREVIEW_SUSPECTS", 1)
        assert "No row refers to the first 1 of them." in page(client, "preview")

    def test_without_suspects_nothing_is_known(self, client: Client) -> None:
        assert "Nothing: no missing parent is known." in page(client, "preview")


class TestARefusedRepair:
    def applied(self, client: Client) -> str:
        data = {"relation": LABEL, "confirmation": LABEL}
        response = client.post(reverse("admin:integrity_dashboard_repair"), data)
        return " ".join(response.content.decode().split())

    def test_what_it_changed_before_is_said(self, client: Client, tune: Tune) -> None:
        """Parents that came back discredit the scan: what it suspected is dropped."""
        tune(brake_keys=1, brake_share=1.0, grace_seconds=0.001)
        orphans()
        for key in range(9_000, 9_003):
            User.objects.create(pk=key, username=str(key))
        shown = self.applied(client)
        assert Suspect.objects.count() == 0
        assert "Refused by the brake: the recheck found 3 of 3 missing parents alive" in shown
        assert "Until then, 0 confirmed and 3 found alive." in shown
        assert "Nothing was changed" not in shown

    def test_that_it_changed_nothing_is_said_if_it_did_not(
        self, client: Client, tune: Tune
    ) -> None:
        tune(brake_keys=1)
        orphans()
        assert "Nothing was changed." in self.applied(client)
        assert Suspect.objects.count() == 3


class TestScans:
    def test_the_brake_is_released_only_if_it_was_asked(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, tune: Tune
    ) -> None:
        tune(brake_keys=1)
        orphans()
        assert "The brake refuses:" in page(client, "scans")
        figures.forget()
        tune(brake_keys=100)
        assert "The brake does not refuse it." in page(client, "scans")
        # A scan that ends between the two figures of the page.
        monkeypatch.setattr(figures, "scans", list)
        assert "Whether the brake refuses it is not known yet." in page(client, "scans")

    def test_a_suspect_leads_to_no_deletion_of_somebody_else(self, client: Client) -> None:
        """Suspects and deletions have ids of their own."""
        orphans()
        first = Suspect.objects.order_by("pk")[0]
        User.objects.create(username="ann").delete()
        Deletion.objects.update(id=first.pk)
        shown = page(client, "scans")
        assert f"<li>{first.value} " in shown
        address = reverse("admin:integrity_dashboard_deletion", args=["default", first.pk])
        assert address not in shown

    def test_a_key_was_missing_when_somebody_looked(self, client: Client) -> None:
        orphans()
        User.objects.create(pk=9_000, username="back")
        assert "3 keys of auth.User had no row when a scan looked" in page(client, "scans")

    def test_suspects_of_a_relation_that_is_renamed_are_not_denied(self, client: Client) -> None:
        orphans()
        Suspect.objects.update(relation="blog.Post.writer")
        heartbeats.record("beat", using="default")
        assert "No missing parent of these relations waits for repair." in page(client, "scans")
        assert "blog.Post.writer" in page(client, "changelist")


def test_a_scan_that_was_not_recorded_may_have_been_made(client: Client) -> None:
    for name in ("scans", "relations"):
        shown = page(client, name)
        assert "<td>none recorded</td>" in shown
        assert "never" not in shown.partition("<table")[2]


def test_rows_of_work_that_goes_on_are_at_least_those(client: Client) -> None:
    (deletion,) = make("auth.User", ["1"], ["blog_db"], state="running", attempts=2)
    Cascade.objects.update(rows={str(deletion.pk): {LABEL: 7}})
    address = reverse("admin:integrity_dashboard_deletion", args=["default", deletion.pk])
    assert "at least 7</td>" in client.get(address).content.decode()
    Cascade.objects.update(state="done", done_at=timezone.now())
    assert ">7</td>" in client.get(address).content.decode()


def test_what_a_silent_log_knows_is_unknown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "<dt>Brake</dt><dd>released</dd>" in page(client, "changelist")
    seen = dataclasses.replace(overview.collect_overview(), unreachable_logs=("eu",))
    monkeypatch.setattr(figures, "overview", lambda: seen)
    shown = page(client, "changelist")
    assert "<dt>Brake</dt><dd>unknown</dd>" in shown
    assert "Without what the log in eu knows, which does not answer." in shown


def test_a_worker_that_was_just_seen_is_not_silent(client: Client) -> None:
    """Whatever is said of another one."""
    heartbeats.record("beat", using="default")
    heartbeats.write("blog@a", using="default", queues=["integrity.blog_db"])
    heartbeats.write("shop@a", using="default", queues=["integrity.shop_db"])
    heartbeats.write("control@a", using="default", queues=["integrity"])
    long_ago = timezone.now() - dt.timedelta(hours=1)
    Heartbeat.objects.filter(name="control@a").update(seen_at=long_ago)
    seen = figures.overview()
    assert [fault.kind for fault in seen.faults] == ["workers"]
    response = client.get(reverse("admin:integrity_dashboard_changelist"))
    words = {row["name"]: word for row, word in response.context["workers"]}
    assert words == {"blog@a": "ok", "shop@a": "ok", "control@a": "silent"}
    assert response.context["beat_word"] == "ok"
    # Of one that only its tasks record, nobody can tell.
    heartbeats.record("plain@a", using="default")
    Heartbeat.objects.filter(name="plain@a").update(seen_at=long_ago)
    figures.forget()
    response = client.get(reverse("admin:integrity_dashboard_changelist"))
    assert ("plain@a", "") in [(row["name"], word) for row, word in response.context["workers"]]


def test_beat_that_was_not_seen_is_not_well(client: Client) -> None:
    row = page(client, "changelist").partition('<th scope="row">beat</th>')[2].partition("</tr>")[0]
    assert "never" in row
    assert "ix-good" not in row
