"""The pages of the dashboard: what they show, who may do what, and what they cost."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import cascade, conf, relations, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions, heartbeats
from apps.integrity.models import (
    Audit,
    Cascade,
    ChildDatabase,
    Deletion,
    Heartbeat,
    Identity,
    Suspect,
)
from apps.integrity.queues import dispatch
from apps.integrity.relations import Catalogue, discovery
from apps.integrity.report import limits, overview
from apps.integrity.report.status import collect_status
from apps.shop.models import Order
from tests import log_rows, walked
from tests.log_rows import cascade_of

if TYPE_CHECKING:
    from collections.abc import Callable, Counter

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

DOWN = "cannot be reached: connection failed: Down <now>"

pytestmark = pytest.mark.usefixtures("committed")

ACTS = {
    "pause": {"database": "blog_db", "reason": "index build"},
    "resume": {"database": "blog_db"},
    "retry": {"database": "blog_db"},
    "scan": {"relation": "blog.Post.author", "database": "blog_db"},
}
REPAIR = {"relation": "blog.Post.author", "confirmation": "blog.Post.author"}


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """The relations of the sample apps: what an adopter's pages would show."""
    chosen = ("blog.", "shop.")
    found = Catalogue(tuple(r for r in relations.discover().relations if r.label[:5] in chosen))
    monkeypatch.setattr(discovery, "_known", [found])
    return found


def url(name: str, *args: object) -> str:
    return reverse(f"admin:integrity_dashboard_{name}", args=args)


def person(name: str, *permissions: str) -> Client:
    user = User.objects.create(username=name, is_staff=True)
    codenames = [f"{each}_dashboard" for each in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer() -> Client:
    return person("vera", "view")


@pytest.fixture
def operator() -> Client:
    return person("otto", "view", "operate")


@pytest.fixture
def repairer() -> Client:
    return person("rita", "view", "operate", "repair")


def gone(username: str = "ann", posts: int = 2) -> Deletion:
    user = User.objects.create(username=username)
    for _ in range(posts):
        Post.objects.create(title="t", content="c", author=user)
    Order.objects.create(order_number=username, customer=user, total=1)
    user.delete()
    return Deletion.objects.latest("pk")


def text(client: Client, name: str, *args: object, query: str = "") -> str:
    response = client.get(url(name, *args) + query)
    assert response.status_code == HTTPStatus.OK, response
    return " ".join(response.content.decode().split())


class TestWhoMay:
    PAGES = ("changelist", "deletions", "relations", "scans", "audit")

    @pytest.mark.parametrize("name", PAGES)
    def test_strangers_are_asked_to_log_in(self, name: str) -> None:
        response = Client().get(url(name))
        assert response.status_code == HTTPStatus.FOUND
        assert reverse("admin:login") in response["Location"]

    @pytest.mark.parametrize("name", PAGES)
    def test_staff_without_the_permission_sees_no_page(self, name: str) -> None:
        assert person("nobody").get(url(name)).status_code == HTTPStatus.FORBIDDEN

    def test_nor_a_single_deletion(self) -> None:
        deletion, client = gone(), person("nobody")
        for name in ("deletion", "receipt", "receipt_json"):
            page = client.get(url(name, "default", deletion.pk))
            assert page.status_code == HTTPStatus.FORBIDDEN
        assert client.get(url("preview") + "?relation=blog.Post.author").status_code == 403

    @pytest.mark.parametrize("name", PAGES)
    def test_a_viewer_sees_all_and_is_offered_nothing(self, viewer: Client, name: str) -> None:
        gone()
        page = text(viewer, name)
        for act in ACTS:
            assert f'action="{url(act)}"' not in page

    @pytest.mark.parametrize("act", ACTS)
    def test_a_viewer_is_refused(self, viewer: Client, act: str) -> None:
        assert viewer.post(url(act), ACTS[act]).status_code == HTTPStatus.FORBIDDEN
        assert not Audit.objects.exists()
        assert not ChildDatabase.objects.exists()

    def test_a_viewer_retries_nothing(self, viewer: Client) -> None:
        deletion = blocked()
        refused = viewer.post(url("retry_deletion", "default", deletion.pk))
        assert refused.status_code == HTTPStatus.FORBIDDEN
        assert Cascade.objects.filter(state="blocked").exists()

    @pytest.mark.parametrize("act", [*ACTS, "repair"])
    def test_looking_is_not_acting(self, repairer: Client, act: str) -> None:
        assert repairer.get(url(act)).status_code == HTTPStatus.METHOD_NOT_ALLOWED

    @pytest.mark.parametrize("act", [*ACTS, "repair"])
    def test_a_forged_form_is_refused(self, act: str) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create_superuser("root"))
        posted = client.post(url(act), {**REPAIR, **ACTS.get(act, {})})
        assert posted.status_code == HTTPStatus.FORBIDDEN
        assert not Audit.objects.exists()

    def test_an_operator_repairs_nothing(self, operator: Client) -> None:
        orphans()
        assert operator.post(url("repair"), REPAIR).status_code == HTTPStatus.FORBIDDEN
        assert Suspect.objects.count() == 3

    @pytest.mark.parametrize("act", ["add", "change", "delete"])
    def test_nobody_edits_the_log(self, act: str) -> None:
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        deletion = gone()
        path = url("changelist") + ("add/" if act == "add" else f"{deletion.pk}/{act}/")
        assert client.post(path, {"post": "yes"}).status_code == HTTPStatus.NOT_FOUND
        assert client.get(reverse("admin:index")).status_code == HTTPStatus.OK
        assert Deletion.objects.filter(pk=deletion.pk).exists()


def blocked() -> Deletion:
    deletion = gone()
    dispatch.sweep_all()
    Cascade.objects.filter(pk=cascade_of(deletion, "blog_db").pk).update(
        state="blocked", attempts=8, reason="IntegrityError: <b>it is used</b>"
    )
    return deletion


def orphans(number: int = 3) -> None:
    for key in range(number):
        Post.objects.create(title="t", content="c", author_id=9_000 + key)
    scan.scan("blog_db", labels=["blog.Post.author"])
    Suspect.objects.update(recorded_at=timezone.now() - dt.timedelta(hours=1))


class TestOverview:
    def test_it_says_that_all_is_well(self, viewer: Client, converge: Converge, tune: Tune) -> None:
        tune(grace_seconds=0.001)
        gone()
        converge()
        for database in ("blog_db", "shop_db"):
            scan.scan(database)
            verification.verify(database)
        heartbeats.record("beat", using="default")
        page = text(viewer, "changelist")
        assert "All deletions are applied and verified; no orphan that a cascade would" in page

    def test_it_says_who_is_behind_since_when_and_why(self, viewer: Client) -> None:
        gone()
        long_ago = timezone.now() - dt.timedelta(minutes=12, seconds=8)
        Deletion.objects.update(recorded_at=long_ago)
        ChildDatabase.objects.create(alias="blog_db", unreachable_since=long_ago, reason=DOWN)
        page = text(viewer, "changelist")
        assert "blog_db has been unusable for 12 min: Down &lt;now&gt;; 1 deletion waits." in page
        assert "cannot be reached: connection failed: Down &lt;now&gt;" in page

    def test_what_is_typed_is_escaped(self, viewer: Client) -> None:
        actions.pause("shop_db", actor="x", reason="<script>alert(1)</script>", using="default")
        blocked()
        for name in ("changelist", "audit"):
            page = text(viewer, name)
            assert "<script>alert" not in page
            assert "<b>it is used" not in page

    def test_its_figures_are_those_of_the_command(self, converge: Converge) -> None:
        gone("done")
        converge()
        blocked()
        gone("recorded")
        actions.pause("shop_db", actor="x", reason="why", using="default")
        seen, status = overview.collect_overview(), collect_status()
        for card, row in zip(seen.cards, status["databases"], strict=True):
            for name in ("database", "state", "backlog", "blocked"):
                assert card[name] == row[name]
            told = (card["reason"], card["failing_reason"], card["blocked_reason"])
            assert all(each in row["reason"] for each in told)
            assert bool(row["reason"]) == any(told)
            assert card["throughput"].rate == row["rate"]
            assert card["lag_seconds"] == pytest.approx(row["lag_seconds"], abs=1)

    def test_a_log_without_end_is_counted_to_a_bound(
        self, viewer: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(5):
            gone(f"user-{n}", posts=0)
        dispatch.sweep_all()
        monkeypatch.setattr(limits, "COUNT_MAX", 3)
        card = overview.collect_overview().cards[0]
        assert card["backlog"] == 4
        assert card["eta_seconds"] is None
        assert ">3+<" in text(viewer, "changelist")

    def test_it_takes_no_more_than_twenty_one_queries(
        self, viewer: Client, captured: Captured, converge: Converge
    ) -> None:
        orphans()
        gone("done")
        converge()
        blocked()
        gone("recorded")
        for name in ("beat", "worker-1", "worker-2"):
            heartbeats.record(name, using="default")
        viewer.get(url("changelist"))
        with captured:
            assert viewer.get(url("changelist")).status_code == HTTPStatus.OK
        sent = [sql for alias in captured for sql in captured[alias]]
        assert len(walked.once(sent)) <= 21, "\n".join(sent)
        assert not captured["blog_db"]
        assert not captured["shop_db"]

    def test_silence_is_told(self, viewer: Client) -> None:
        assert "Beat has never been seen" in text(viewer, "changelist")
        heartbeats.record("beat", using="default")
        Heartbeat.objects.update(seen_at=timezone.now() - dt.timedelta(minutes=5))
        assert "Beat has not been seen for 5 min" in text(viewer, "changelist")

    def test_the_link_to_flower(self, viewer: Client, tune: Tune) -> None:
        assert "Flower" not in text(viewer, "changelist")
        tune(flower_url="http://flower.example/")
        assert '<a href="http://flower.example/">Flower</a>' in text(viewer, "changelist")

    def test_no_page_has_anything_inline_that_a_policy_would_refuse(self) -> None:
        client = person("rita", "view", "operate", "repair")
        orphans()
        blocked()
        for name in (*TestWhoMay.PAGES, "preview"):
            page = text(client, name, query="?relation=blog.Post.author")
            assert "<script>" not in page
            assert " style=" not in page
            assert "<style" not in page
            assert " onclick=" not in page


class TestActs:
    def test_pause_and_resume_leave_a_name_and_a_reason(self, operator: Client) -> None:
        operator.post(url("pause"), ACTS["pause"])
        assert actions.paused_reason("blog_db", using="default")
        assert "paused: index build" in text(operator, "changelist")
        operator.post(url("resume"), ACTS["resume"])
        assert not actions.paused_reason("blog_db", using="default")
        rows = list(Audit.objects.order_by("pk").values_list("actor", "verb", "target", "reason"))
        assert rows == [
            ("otto", "pause", "blog_db", "index build"),
            ("otto", "resume", "blog_db", ""),
        ]
        assert "index build" in text(operator, "audit")

    def test_a_database_of_other_parents_is_resumed_by_a_confirmation_of_its_own(
        self, operator: Client, converge: Converge
    ) -> None:
        known, found = uuid.uuid4(), uuid.uuid4()
        Identity.objects.using("default").create(alias="default", uuid=found)
        Identity.objects.using("blog_db").create(alias="default", uuid=known)
        cascade.drain("blog_db")
        assert "ix-accept-blog_db" in text(operator, "changelist")
        page = operator.post(url("resume"), ACTS["resume"], follow=True).content.decode()
        for part in ("blog_db is not resumed", str(known), str(found), "accept-identity"):
            assert part in page
        assert actions.is_refused("blog_db", using="default")
        operator.post(url("resume"), {**ACTS["resume"], "accept_identity": "on"})
        assert not actions.paused_reason("blog_db", using="default")
        assert Identity.objects.using("blog_db").get(alias="default").uuid == found
        audited = Audit.objects.get(verb="accept identity")
        assert (audited.actor, audited.target) == ("otto", "blog_db")
        assert "ix-accept-" not in text(operator, "changelist")

    @pytest.mark.parametrize("data", [{"database": "blog_db"}, {"database": "x", "reason": "y"}])
    def test_a_pause_wants_a_reason_and_a_database(
        self, operator: Client, data: dict[str, str]
    ) -> None:
        page = operator.post(url("pause"), data, follow=True)
        assert [str(each.level_tag) for each in page.context["messages"]] == ["error"]
        assert not Audit.objects.exists()

    @pytest.mark.parametrize("one", [True, False])
    def test_retry(self, operator: Client, converge: Converge, *, one: bool) -> None:
        deletion = blocked()
        assert "IntegrityError: &lt;b&gt;" in text(operator, "deletion", "default", deletion.pk)
        path = url("retry_deletion", "default", deletion.pk) if one else url("retry")
        operator.post(path, ACTS["retry"])
        assert converge()["blog.Post.author"] == 2
        assert Audit.objects.get().actor == "otto"

    def test_retry_touches_the_named_database_only(self, operator: Client) -> None:
        blocked()
        operator.post(url("retry"), {"database": "shop_db"})
        assert Cascade.objects.filter(state="blocked").count() == 1
        Cascade.objects.update(state="blocked", due_at=None)
        page = operator.post(url("retry"), {"database": "shop_db"}, follow=True)
        assert "1 deletion will be tried again in shop_db." in page.content.decode()
        assert [row.database for row in Cascade.objects.filter(state="blocked")] == ["blog_db"]
        assert Audit.objects.latest("pk").target == "shop_db"

    def test_scan_now(self, operator: Client) -> None:
        Post.objects.create(title="t", content="c", author_id=9_000)
        page = operator.post(url("scan"), ACTS["scan"], follow=True).content.decode()
        assert "a pass is finished, 1 row, 1 missing parent" in page
        assert Audit.objects.get().target == "blog.Post.author in blog_db"

    def test_a_database_that_is_down_is_said_so(
        self, operator: Client, refuse: Callable[[str], object]
    ) -> None:
        with refuse("blog_db"):
            page = operator.post(url("scan"), ACTS["scan"], follow=True)
            assert page.status_code == HTTPStatus.OK
            assert "blog_db cannot be reached" in page.content.decode()
            assert "blog_db has been unusable for " in text(operator, "changelist")


class TestRepair:
    def test_a_preview_changes_nothing(self, viewer: Client) -> None:
        orphans()
        page = text(viewer, "preview", query="?relation=blog.Post.author")
        assert "3 missing parents of blog.Post.author" in page
        assert url("repair") not in page
        assert Suspect.objects.count() == 3
        assert Post.objects.count() == 3

    def test_apply_wants_the_name_typed(self, repairer: Client) -> None:
        orphans()
        page = repairer.post(url("repair"), {**REPAIR, "confirmation": "yes"})
        assert "This is not the name" in page.content.decode()
        assert Suspect.objects.count() == 3

    def test_apply(self, repairer: Client, converge: Converge) -> None:
        orphans()
        page = repairer.post(url("repair"), REPAIR, follow=True).content.decode()
        assert "3 confirmed, which workers cascade now" in page
        assert converge() == {"blog.Post.author": 3}
        assert Audit.objects.get(verb="repair").actor == "rita"

    def test_the_brake_holds_until_somebody_says_why(
        self, repairer: Client, converge: Converge, tune: Tune
    ) -> None:
        tune(brake_keys=1)
        orphans()
        assert "3 of 3 keys have no parent" in text(repairer, "scans")
        heartbeats.record("beat", using="default")
        assert "The brake refuses the repair of blog.Post.author" in text(repairer, "changelist")
        page = repairer.post(url("repair"), REPAIR).content.decode()
        assert "Refused by the brake" in page
        assert converge() == {}
        repairer.post(url("repair"), {**REPAIR, "override": "they were test rows"})
        assert converge() == {"blog.Post.author": 3}
        row = Audit.objects.get(verb="override brake")
        assert (row.actor, row.reason) == ("rita", "they were test rows")

    @pytest.mark.parametrize("label", ["", "blog.Post.nothing"])
    def test_an_unknown_relation_is_not_found(self, repairer: Client, label: str) -> None:
        assert repairer.get(url("preview") + f"?relation={label}").status_code == 404
        assert repairer.post(url("repair"), {**REPAIR, "relation": label}).status_code == 404

    def test_a_child_database_that_is_down(
        self, repairer: Client, refuse: Callable[[str], object]
    ) -> None:
        orphans()
        with refuse("blog_db"):
            page = text(repairer, "preview", query="?relation=blog.Post.author")
        assert "cannot be counted now" in page


class TestDeletions:
    def test_search_by_parent_key_and_state(self, viewer: Client, converge: Converge) -> None:
        first = gone("first")
        converge()
        second = gone("second")

        def found(query: str) -> list[int]:
            response = viewer.get(url("deletions") + query)
            assert response.status_code == HTTPStatus.OK
            return [row.pk for row in response.context["page"].rows]

        assert found("") == [second.pk, first.pk]
        assert found(f"?key={first.key}") == [first.pk]
        assert found(f"?model=auth.User&key={second.key}") == [second.pk]
        assert found("?state=recorded") == [second.pk]
        assert found("?state=unproven") == [first.pk]
        assert found("?state=verified") == []
        assert found("?state=blocked") == []
        blocked_one = blocked_again(second)
        assert found("?state=blocked") == [blocked_one.pk]

    @pytest.mark.parametrize(
        "query", ["?key=abc", "?model=auth.Nobody", "?log=nowhere", "?before=x"]
    )
    def test_a_search_that_cannot_be_is_told(self, viewer: Client, query: str) -> None:
        assert 'role="alert"' in text(viewer, "deletions", query=query)

    def test_pages(self, viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "PAGE_ROWS", 2)
        rows = [gone(f"user-{n}", posts=0).pk for n in range(5)]
        seen: list[int] = []
        query = ""
        while True:
            response = viewer.get(url("deletions") + query)
            seen += [row.pk for row in response.context["page"].rows]
            if not response.context["older"]:
                break
            query = "?" + response.context["older"]
        assert seen == rows[::-1]

    @pytest.mark.parametrize(("state", "pages"), [("cancelled", 1), ("verified", 3)])
    def test_a_state_is_looked_for_a_part_of_the_log_at_a_time(
        self, viewer: Client, monkeypatch: pytest.MonkeyPatch, state: str, pages: int
    ) -> None:
        """From where the newest one may be, which is known of rare states."""
        monkeypatch.setattr(limits, "PAGE_IDS", 2)
        (wanted,) = log_rows.make("auth.User", ["1"], ["blog_db"], state=state)
        for number in range(4):
            gone(f"user-{number}", posts=0)
        query, looked = f"state={state}", 0
        while query:
            response = viewer.get(f"{url('deletions')}?{query}")
            rows, query = response.context["page"].rows, response.context["older"]
            looked += 1
            if rows:
                break
            assert "“Older” searches on" in response.content.decode()
        assert [row.pk for row in rows] == [wanted.pk]
        assert looked == pages

    def test_the_detail_and_its_receipt(self, viewer: Client, converge: Converge) -> None:
        deletion = gone()
        page = text(viewer, "deletion", "default", deletion.pk)
        assert "It has not been handed to any child database yet" in page
        converge()
        page = text(viewer, "deletion", "default", deletion.pk)
        for word in ("blog.Post.author", "shop.Order.customer", "CASCADE", "cascaded"):
            assert word in page
        assert "This is not proof yet" in text(viewer, "receipt", "default", deletion.pk)
        response = viewer.get(url("receipt_json", "default", deletion.pk))
        assert "attachment" in response["Content-Disposition"]
        document = json.loads(response.content)
        assert document["deletion"]["key"] == deletion.key
        assert [each["rows"] for each in document["cascades"]] == [
            {"blog.Post.author": 2},
            {"shop.Order.customer": 1},
        ]

    @pytest.mark.parametrize("using", ["default", "blog_db", "nowhere"])
    def test_what_is_not_in_a_log_is_not_found(self, viewer: Client, using: str) -> None:
        for name in ("deletion", "receipt", "receipt_json"):
            assert viewer.get(url(name, using, 424_242)).status_code == HTTPStatus.NOT_FOUND

    def test_the_list_costs_the_same_for_many(self, viewer: Client, captured: Captured) -> None:
        def cost() -> int:
            with captured:
                viewer.get(url("deletions"))
            return sum(len(captured[alias]) for alias in captured)

        gone("first")
        cost()
        few = cost()
        for n in range(10):
            gone(f"user-{n}", posts=0)
        assert cost() == few


def blocked_again(deletion: Deletion) -> Deletion:
    dispatch.sweep_all()
    Cascade.objects.filter(pk=cascade_of(deletion, "blog_db").pk).update(state="blocked")
    return deletion


def test_relations_as_a_table_and_as_a_picture(viewer: Client) -> None:
    page = text(viewer, "relations")
    assert page.count('<svg class="ix-map"') == 1
    for label in ("blog.Post.author", "blog.Comment.author", "shop.Order.customer"):
        assert page.count(label) == 2, label


def test_the_settings_are_validated() -> None:
    assert conf.Settings(flower_url="http://x/").flower_url == "http://x/"
