"""The lists of the dashboard: their filters and links, and what is done with what was ticked."""

from __future__ import annotations

import datetime as dt
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.integrity.control import actions
from apps.integrity.models import Audit, Cascade, Deletion, FailedAttempt
from apps.integrity.report import limits
from apps.integrity.report.filters import Shown
from tests import log_rows

if TYPE_CHECKING:
    from django.http import HttpResponse

pytestmark = pytest.mark.usefixtures("committed")


def url(name: str, *args: object) -> str:
    return reverse(f"admin:integrity_dashboard_{name}", args=args)


def person(name: str, *permissions: str, **options: bool) -> Client:
    user = User.objects.create(username=name, is_staff=True)
    codenames = [f"{each}_dashboard" for each in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client(**options)
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return person("otto", "view", "operate")


def get(client: Client, name: str, *args: object, query: str = "") -> Any:
    response = client.get(f"{url(name, *args)}{query}")
    assert response.status_code == HTTPStatus.OK
    return response


def words(response: HttpResponse) -> str:
    return " ".join(response.content.decode().split())


def shown(response: Any) -> list[int]:
    return [row.pk for row in response.context["page"].rows]


def told(response: Any) -> list[tuple[str, str]]:
    return [(each.level_tag, str(each)) for each in response.context["messages"]]


class TestFilters:
    def test_each_state_has_its_own(self, operator: Client) -> None:
        states = {
            "pending": "pending",
            "working": "running",
            "waiting": "waiting",
            "blocked": "blocked",
            "unproven": "done",
            "kept": "kept",
            "cancelled": "cancelled",
            "verified": "verified",
        }
        made = {
            name: log_rows.make("auth.User", [name], ["blog_db"], state=state)[0].pk
            for name, state in states.items()
        }
        Cascade.objects.filter(state="running").update(
            due_at=timezone.now() + dt.timedelta(hours=1)
        )
        made["failing"] = log_rows.make(
            "auth.User", ["failing"], ["blog_db"], state="waiting", attempts=2
        )[0].pk
        made["recorded"] = log_rows.make("auth.User", ["recorded"], [])[0].pk
        [young] = [row.pk for row in log_rows.make("auth.User", ["young"], ["blog_db"])]
        long_ago = timezone.now() - dt.timedelta(hours=1)
        Deletion.objects.exclude(pk=young).update(recorded_at=long_ago)
        Deletion.objects.filter(pk=young).update(recorded_at=timezone.now())
        assert made.keys() == {*Shown.values} - {"late"}
        late = {"pending", "working", "waiting", "blocked", "failing", "recorded"}
        for name in Shown.values:
            wanted = {made[each] for each in (late if name == "late" else {name})}
            also = {"pending": young, "failing": made["waiting"]}  # both wait for another try
            wanted |= {also[name]} if name in also else set()
            response = get(operator, "deletions", query=f"?state={name}")
            assert {*shown(response)} == wanted, name
            if name != "verified":  # they have no index, so they are not counted
                number = len(wanted)
                assert f">{number} deletion{'' if number == 1 else 's'}<" in words(response)

    def test_links_keep_the_filter_in_both_directions(
        self, operator: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "PAGE_ROWS", 2)
        log_rows.make("auth.User", range(3), ["blog_db"])
        blocked = log_rows.make("auth.User", range(5), ["blog_db"], state="blocked")
        log_rows.make("auth.User", range(5), ["shop_db"], state="blocked")
        ids = [row.pk for row in blocked][::-1]
        first = get(operator, "deletions", query="?state=blocked&database=blog_db")
        assert (shown(first), first.context["newer"]) == (ids[:2], "")
        assert ">5 deletions<" in words(first)
        second = get(operator, "deletions", query=f"?{first.context['older']}")
        third = get(operator, "deletions", query=f"?{second.context['older']}")
        assert (shown(second), shown(third)) == (ids[2:4], ids[4:])
        assert third.context["older"] == ""
        back = get(operator, "deletions", query=f"?{third.context['newer']}")
        assert shown(back) == ids[2:4]
        assert "state=blocked&amp;database=blog_db" in words(back)
        oldest = get(operator, "deletions", query="?state=blocked&database=blog_db&order=oldest")
        assert shown(oldest) == ids[:2:-1]

    def test_a_number_that_is_not_counted_to_the_end_says_so(
        self, operator: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "COUNT_MAX", 3)
        log_rows.make("auth.User", range(5), ["blog_db"])
        assert ">3+ deletions<" in words(get(operator, "deletions"))
        assert "not counted" in words(get(operator, "deletions", query="?state=verified"))

    @pytest.mark.parametrize(
        "query", ["state=x", "database=x", "age=7", "order=x", "after=x", "after=1" + "0" * 40]
    )
    def test_what_cannot_be_is_told(self, operator: Client, query: str) -> None:
        response = get(operator, "deletions", query=f"?{query}")
        assert 'role="alert"' in words(response)


class TestChosen:
    @pytest.fixture
    def five(self) -> list[int]:
        """A batch, of which all but the last are blocked in one database, and two in another."""
        made = log_rows.make("auth.User", range(5), ["blog_db"], state="blocked")
        ids = [row.pk for row in made]
        Cascade.objects.update(deletions=ids[:4], size=4, attempts=8)
        for group, state in ((ids[4:], "verified"), (ids[:2], "blocked"), (ids[2:], "done")):
            Cascade.objects.create(
                batch=ids[0],
                database="blog_db" if state == "verified" else "shop_db",
                parent="auth.User",
                deletions=group,
                size=len(group),
                state=state,
                due_at=None,
                recorded_at=timezone.now(),
                ended_at=timezone.now() if state == "verified" else None,
            )
        return ids

    def post(self, client: Client, name: str, ids: list[Any], **data: Any) -> Any:
        chosen = {"log": "default", "deletion": ids, **data}
        return client.post(url(name), chosen, follow=True)

    def test_retry_these_and_no_others(self, operator: Client, five: list[int]) -> None:
        page = words(get(operator, "deletions"))
        assert page.count('name="deletion"') == 5
        response = self.post(
            operator, "retry_chosen", [five[0], five[3], five[4]], back="state=blocked"
        )
        assert told(response) == [
            ("success", "2 of 3 chosen deletions will be tried again. The others are not blocked.")
        ]
        assert response.redirect_chain[-1][0] == f"{url('deletions')}?state=blocked"
        assert log_rows.cascade_states(state="pending") == ["pending"] * 3
        assert log_rows.in_database(Deletion.objects.get(pk=five[1]), "blog_db").is_blocked
        row = Audit.objects.get()
        assert (row.actor, row.verb) == ("otto", "retry")
        assert row.target == f"{five[0]}, {five[3]}"
        assert row.reason == "3 deletions"
        log_rows.check_partitions()

    def test_what_changes_nothing_is_not_audited(self, operator: Client, five: list[int]) -> None:
        for name in ("retry_chosen", "acknowledge_chosen"):
            response = self.post(operator, name, [five[4]])
            assert [level for level, _ in told(response)] == ["info"]
            assert "0 of 1 chosen deletion" in told(response)[0][1]
        operator.post(url("retry_deletion", "default", five[4]))
        operator.post(url("acknowledge", "default", five[4]))
        assert not Audit.objects.exists()
        for _ in range(2):
            operator.post(url("pause"), {"database": "shop_db", "reason": "an index"})
        for _ in range(2):
            operator.post(url("resume"), {"database": "shop_db"})
        for _ in range(2):
            operator.post(url("retry"), {"database": "blog_db"})
        verbs = Audit.objects.order_by("pk").values_list("verb", flat=True)
        assert list(verbs) == ["pause", "resume", "retry"]

    def test_acknowledge_these(self, operator: Client) -> None:
        made = log_rows.make(
            "auth.User", range(3), ["blog_db"], state="kept", kept_at=timezone.now()
        )
        ids = [row.pk for row in made]
        assert "Acknowledge these" in words(get(operator, "deletions", query="?state=kept"))
        response = self.post(operator, "acknowledge_chosen", ids[:2])
        assert told(response) == [("success", "2 of 2 chosen deletions were acknowledged.")]
        one = log_rows.in_database(Deletion.objects.get(pk=ids[2]), "blog_db")
        assert one.is_unacknowledged
        assert Audit.objects.get().target == f"{ids[0]}, {ids[1]}"

    @pytest.mark.parametrize("name", ["retry_chosen", "acknowledge_chosen"])
    def test_only_an_operator_may(self, name: str, five: list[int]) -> None:
        viewer = person("vera", "view")
        assert 'type="checkbox"' not in words(get(viewer, "deletions"))
        data = {"log": "default", "deletion": five}
        assert viewer.post(url(name), data).status_code == HTTPStatus.FORBIDDEN
        forged = person("otto", "view", "operate", enforce_csrf_checks=True)
        assert forged.post(url(name), data).status_code == HTTPStatus.FORBIDDEN
        assert forged.get(url(name)).status_code == HTTPStatus.METHOD_NOT_ALLOWED
        assert Cascade.objects.filter(state="blocked").count() == 2
        assert not Audit.objects.exists()

    @pytest.mark.parametrize(
        "data",
        [
            {"deletion": []},
            {"deletion": ["x"]},
            {"deletion": ["-1"]},
            {"deletion": ["9" * 30]},
            {"deletion": [str(number) for number in range(1, 60)]},
            {"log": "blog_db"},
        ],
    )
    def test_what_no_page_sends_is_refused(
        self, operator: Client, five: list[int], data: dict[str, Any]
    ) -> None:
        posted = {"log": "default", "deletion": five, **data}
        response = operator.post(url("retry_chosen"), posted, follow=True)
        assert [level for level, _ in told(response)] == ["error"]
        assert not Audit.objects.exists()
        assert Cascade.objects.filter(state="blocked").count() == 2

    @pytest.mark.parametrize("back", ["//evil.example/", "https://evil.example", "a=1\r\nX: y"])
    def test_it_returns_to_its_own_page_alone(
        self, operator: Client, five: list[int], back: str
    ) -> None:
        data = {"log": "default", "deletion": five, "back": back}
        response = operator.post(url("retry_chosen"), data)
        assert response["Location"].startswith(f"{url('deletions')}?")
        assert "\n" not in response["Location"]


class TestHistory:
    def test_the_page_of_a_deletion_has_its_failed_attempts(self, operator: Client) -> None:
        made = log_rows.make(
            "auth.User",
            range(2),
            ["blog_db"],
            state="waiting",
            attempts=2,
            reason="IntegrityError",
        )
        due = timezone.now() + dt.timedelta(minutes=30)
        Cascade.objects.update(due_at=due)
        for attempt in (1, 2):
            FailedAttempt.objects.create(
                batch=made[0].pk,
                database="blog_db",
                attempt=attempt,
                deletions=2,
                reason=f"{attempt}: connection to server at 10.1.2.3, port 5432 failed: <b>no</b>",
            )
        page = words(get(operator, "deletion", "default", made[1].pk))
        assert page.index(">2: &lt;b&gt;no") < page.index(">1: &lt;b&gt;no")
        assert "10.1.2.3" not in page
        assert "next attempt <time" in page
        assert "in 29 min" in page
        assert "Failed attempts" not in words(
            get(operator, "deletion", "default", log_rows.make("auth.User", ["9"], [])[0].pk)
        )

    def test_it_lists_the_latest_and_says_so(
        self, operator: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [made] = log_rows.make("auth.User", ["1"], ["blog_db"], state="blocked", attempts=8)
        FailedAttempt.objects.bulk_create(
            FailedAttempt(batch=made.pk, database="blog_db", attempt=1, deletions=1)
            for _ in range(60)
        )
        page = words(get(operator, "deletion", "default", made.pk))
        assert "(the latest 50)" in page
        assert "no further attempt until somebody retries it" in page


class TestTimes:
    def test_a_time_is_relative_with_the_moment_on_hover(
        self, operator: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the clock of the log's server: that of this process may be off."""
        at = timezone.now() - dt.timedelta(hours=2, minutes=5)
        log_rows.make("auth.User", ["1"], ["blog_db"], recorded_at=at)
        actions.audit("pause", "blog_db", actor="otto", reason="", using="default")
        Audit.objects.update(at=at)
        now = timezone.now() + dt.timedelta(days=3)
        monkeypatch.setattr(timezone, "now", lambda: now)
        for name in ("deletions", "audit"):
            page = words(get(operator, name))
            local = f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"
            assert f'title="{local}">2 h 5 min ago</time>' in page


class TestAudit:
    @pytest.fixture
    def rows(self) -> list[int]:
        for number in range(7):
            who = "ann" if number % 2 else "Bob"
            verb = "retry" if number < 4 else "pause"
            actions.audit(verb, f"db_{number}", actor=who, reason="", using="default")
        return [*Audit.objects.order_by("-pk").values_list("pk", flat=True)]

    def test_search_by_who_what_and_to_what(self, operator: Client, rows: list[int]) -> None:
        def found(query: str) -> list[int]:
            return shown(get(operator, "audit", query=query))

        assert found("?actor=bob") == rows[::2]
        assert found("?verb=pause") == rows[:3]
        assert found("?target=db_3") == [rows[3]]
        assert found("?actor=ann&verb=retry") == [rows[3], rows[5]]
        assert found("?order=oldest") == rows[::-1]
        assert "No such action" in words(get(operator, "audit", query="?actor=nobody"))

    @pytest.mark.parametrize("looked", [3, 20_000])
    @pytest.mark.parametrize("query", ["", "actor=bob"])
    def test_pages_in_both_directions(
        self,
        operator: Client,
        rows: list[int],
        monkeypatch: pytest.MonkeyPatch,
        looked: int,
        query: str,
    ) -> None:
        monkeypatch.setattr(limits, "PAGE_ROWS", 2)
        monkeypatch.setattr(limits, "PAGE_LOOKED", looked)
        wanted = rows[::2] if query else rows
        for order, expected in (("", wanted), ("&order=oldest", wanted[::-1])):
            forth, back = ("newer", "older") if order else ("older", "newer")
            seen, at = list[int](), f"log=default&{query}{order}"
            while at:
                response = get(operator, "audit", query=f"?{at}")
                seen += shown(response)
                last, at = response, response.context[forth]
            assert seen == expected
            again, at = shown(last), last.context[back]
            while at:
                response = get(operator, "audit", query=f"?{at}")
                again = [*shown(response), *again]
                at = response.context[back]
            assert again == expected
