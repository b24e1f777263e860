"""What visitors and open tabs cost: a few index entries, once for all of them, and never a 500."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connections, transaction
from django.test import Client, RequestFactory
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import capture, relations, scan
from apps.integrity.backends.backlogs import Backlog, backlogs
from apps.integrity.backends.bounded import timed_read
from apps.integrity.control import actions, heartbeats
from apps.integrity.dashboard import figures
from apps.integrity.exceptions import FiguresUnavailable
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.relations import Catalogue, discovery
from apps.integrity.report import health as report_health
from apps.integrity.report import limits, overview, preview, shared, views
from apps.integrity.report.shared import Shared
from tests import log_rows, walked
from tests.busy_tables import locked_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

HEALTHZ, METRICS = "/integrity/healthz", "/integrity/metrics"
#: `reach` asks once more, below what is captured.
STATEMENTS = 5


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """The relations of the sample apps: one log, two child databases."""
    chosen = ("blog.", "shop.")
    found = Catalogue(tuple(r for r in relations.discover().relations if r.label[:5] in chosen))
    monkeypatch.setattr(discovery, "_known", [found])
    return found


@pytest.fixture
def root() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    return client


def open_rows(number: int, database: str = "blog_db", state: str = "pending") -> None:
    """So many deletions with a batch and a cascade each, without a look at each of them."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "WITH made AS (INSERT INTO integrity_deletion (parent, key, source, batch)"
            " SELECT 'auth.User', n::text, 'trigger', n FROM generate_series(1, %s) n"
            " RETURNING id)"
            " INSERT INTO integrity_cascade"
            " (batch, parent, deletions, size, database, state, recorded_at)"
            " SELECT id, 'auth.User', ARRAY[id], 1, %s, %s, now() FROM made",
            [number, database, state],
        )


def sent(captured: Captured) -> list[str]:
    return [sql for alias in captured for sql in captured[alias]]


def pages_read(statements: list[str]) -> int:
    """Pages of the database that those statements touch, when they are run again."""

    def pages(plan: dict[str, Any]) -> int:
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    with connections["default"].cursor() as cursor:
        found = 0
        for sql in statements:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
            [(told,)] = cursor.fetchall()
            document = json.loads(told) if isinstance(told, str) else told
            found += pages(document[0]["Plan"])
    return found


class TestStatements:
    @pytest.mark.parametrize("seen", [True, False])
    def test_a_probe_asks_the_same_few_questions_whatever_is_open(
        self, client: Client, captured: Captured, project: Catalogue, *, seen: bool
    ) -> None:
        if seen:
            heartbeats.record("beat", using="default")
        with captured:
            client.get(HEALTHZ)
        nothing = sent(captured)
        log_rows.make("auth.User", range(2_000), ["blog_db"], apart=True)
        capture.record((User, range(10_000, 10_200)), using="default")
        with captured:
            client.get(HEALTHZ)
        assert len(walked.once(sent(captured))) == len(walked.once(nothing)) <= STATEMENTS

    def test_more_child_databases_cost_no_more_statements(
        self, client: Client, captured: Captured
    ) -> None:
        found = relations.catalogue()
        assert len(found.child_databases) > len(found.log_databases)
        with captured:
            client.get(HEALTHZ)
        assert len(sent(captured)) <= STATEMENTS * len(found.log_databases)
        for using in found.log_databases:
            assert len(captured[using]) <= STATEMENTS

    @pytest.mark.postgresql  # by its plans; tests/engines/mariadb/test_log_plans.py
    @pytest.mark.parametrize("analyzed", [False, True])
    @pytest.mark.parametrize("before", ["recorded", "pending", "blocked", "done", "verified"])
    def test_no_question_reads_the_backlog(
        self, client: Client, captured: Captured, project: Catalogue, *, before: str, analyzed: bool
    ) -> None:
        """Not even where the planner knows that each row of the log is one that it looks for.

        Nor where it goes by what the log was like before.
        """
        with connections["default"].cursor() as cursor:
            open_rows(1_000, state=before)
            if before == "recorded":
                cursor.execute("UPDATE integrity_deletion SET batch = NULL")
            cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
            cursor.execute("DELETE FROM integrity_cascade")
            cursor.execute("DELETE FROM integrity_deletion")
            cursor.execute("VACUUM integrity_cascade, integrity_deletion")
            open_rows(20_000)
            open_rows(20_000, state="done")
            if analyzed:
                cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
        with captured:
            client.get(HEALTHZ)
        assert pages_read(sent(captured)) < 100

    def test_once_for_all_who_ask_within_the_time(
        self, client: Client, captured: Captured, tune: Tune
    ) -> None:
        tune(figures_seconds=60)
        for path, answer in ((HEALTHZ, report_health.current_health), (METRICS, metrics_figures())):
            answer.forget()
            first = client.get(path)
            with captured:
                answers = [client.get(path) for _ in range(5)]
            assert sent(captured) == []
            assert {each.content for each in answers} == {first.content}
            answer.forget()


def metrics_figures() -> Any:
    from apps.integrity.report.metrics import shared_exposition

    return shared_exposition


class TestStandings:
    """The one statement on all child databases, on a log in PostgreSQL and on one in SQLite."""

    @pytest.fixture(params=["default", "test_lite"])
    def using(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def cascade(self, using: str, database: str, state: str, seconds: float = 0) -> None:
        at = timezone.now() - dt.timedelta(seconds=seconds)
        log_rows.make("auth.User", ["1"], [database], state=state, recorded_at=at, using=using)

    def test_they_are_what_the_rows_say(self, using: str) -> None:
        for state in ("pending", "running", "waiting"):
            self.cascade(using, f"of {state}", state)
        self.cascade(using, "of blocked", "blocked")
        self.cascade(using, "of old", "done", seconds=100)
        self.cascade(using, "of new", "done", seconds=1)
        for state in ("verified", "cancelled"):
            self.cascade(using, "over", state, seconds=100)
        names = ["pending", "running", "waiting", "blocked", "old", "new"]
        asked = [*(f"of {name}" for name in names), "over", "of none'; --"]
        moment = timezone.now() - dt.timedelta(seconds=50)
        found = backlogs(asked, moment, using=using)
        idle = Backlog(waiting=False, blocked=False, failing=False, overdue=False)
        waits = Backlog(waiting=True, blocked=False, failing=False, overdue=False)
        assert found == {
            **dict.fromkeys(asked, idle),
            **dict.fromkeys(["of pending", "of running"], waits),
            "of waiting": Backlog(waiting=True, blocked=False, failing=True, overdue=False),
            "of blocked": Backlog(waiting=False, blocked=True, failing=False, overdue=False),
            "of old": Backlog(waiting=False, blocked=False, failing=False, overdue=True),
        }

    def test_without_a_child_database_nothing_is_asked(self, using: str) -> None:
        assert backlogs([], timezone.now(), using=using) == {}


class TestHealth:
    def health(self, client: Client, tune: Tune) -> tuple[list[str], dict[str, str]]:
        tune(metrics_token="t")
        answer = client.get(HEALTHZ, headers={"authorization": "Bearer t"}).json()
        return answer["failing"], answer["databases"]

    def test_it_says_what_the_overview_says(
        self, client: Client, tune: Tune, project: Catalogue
    ) -> None:
        def agree() -> tuple[list[str], dict[str, str]]:
            failing, databases = self.health(client, tune)
            seen = overview.collect_overview()
            assert databases == {card["database"]: card["state"] for card in seen.cards}
            kinds = {fault.kind for fault in seen.faults}
            assert {*failing} == kinds & {"beat", "workers"}
            return failing, databases

        assert agree() == (["beat"], {"blog_db": "idle", "shop_db": "idle"})
        heartbeats.record("beat", using="default")
        assert agree()[0] == []
        long_ago = timezone.now() - dt.timedelta(days=1)
        capture.record((User, [1, 2]), using="default")
        Deletion.objects.update(recorded_at=timezone.now() - dt.timedelta(seconds=15))
        assert agree() == (["workers"], {"blog_db": "working", "shop_db": "working"})
        dispatch.sweep_all()
        Cascade.objects.update(due_at=long_ago)
        assert agree()[0] == ["workers"]
        Cascade.objects.filter(database="blog_db").update(state="blocked")
        actions.pause("shop_db", actor="x", reason="y", using="default")
        assert agree() == ([], {"blog_db": "blocked", "shop_db": "paused"})
        actions.resume("shop_db", actor="x", reason="y", using="default")
        Cascade.objects.update(state="done", done_at=long_ago)
        assert agree() == ([], {"blog_db": "unproven", "shop_db": "unproven"})
        Cascade.objects.update(state="verified")
        assert agree() == ([], {"blog_db": "idle", "shop_db": "idle"})

    def test_a_log_without_its_tables_fails_and_is_no_500(
        self, client: Client, renamed: Callable[[str, str], Any]
    ) -> None:
        heartbeats.record("beat", using="default")
        with renamed("default", "integrity_childdatabase"):
            answer = client.get(HEALTHZ)
        assert (answer.status_code, answer.json()["failing"][0]) == (503, "logs")

    def test_where_no_log_answers_nothing_else_is_said(
        self, client: Client, refuse: Callable[[str], Any], project: Catalogue
    ) -> None:
        with refuse("default"):
            answer = client.get(HEALTHZ)
        assert (answer.status_code, answer.json()["failing"]) == (503, ["logs"])


class TestTokens:
    WRONG = (
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic token",
        "token",
        "Bearer tok\xebn",
        "Bearer tok€n",
        "Bearer \udcff\ud800",
        "Bearer \x00token",
        f"Bearer {'token' * 100_000}",
    )

    @pytest.mark.parametrize("given", WRONG, ids=range(len(WRONG)))
    @pytest.mark.parametrize("path", [HEALTHZ, METRICS])
    def test_a_wrong_one_is_refused_whatever_its_bytes(
        self, tune: Tune, path: str, given: str
    ) -> None:
        tune(metrics_token="token", healthz_token="other")
        view = views.healthz if path == HEALTHZ else views.metrics
        answer = view(RequestFactory().get(path, HTTP_AUTHORIZATION=given))
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert answer.content == b""

    @pytest.mark.parametrize("token", ["token", "tok€n", "t\xf6ken"])
    def test_the_right_one_is_the_one_with_the_same_bytes(self, tune: Tune, token: str) -> None:
        """A server hands on as Latin-1 what a probe has sent as UTF-8."""
        tune(metrics_token=token)
        given = f"bearer {token}".encode().decode("latin-1")
        request = RequestFactory().get(METRICS, HTTP_AUTHORIZATION=given)
        assert views.metrics(request).status_code == 200

    def test_each_address_has_its_own_and_the_metrics_token_opens_both(
        self, client: Client, tune: Tune
    ) -> None:
        tune(metrics_token="m", healthz_token="h")

        def status(path: str, token: str) -> int:
            given = client.get(path, headers={"authorization": f"Bearer {token}"})
            return 200 if given.status_code == 503 else given.status_code

        assert [status(HEALTHZ, token) for token in "mhx"] == [200, 200, 401]
        assert [status(METRICS, token) for token in "mhx"] == [200, 401, 401]

    @pytest.mark.parametrize("tokens", [{}, {"metrics_token": "m"}])
    def test_a_stranger_is_told_no_alias(
        self, client: Client, tune: Tune, tokens: dict[str, str]
    ) -> None:
        tune(**tokens)
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Bearer "}):
            answer = client.get(HEALTHZ, headers=headers)
            assert set(answer.json()) == {"status", "failing"}
            assert not any(alias in answer.text for alias in relations.catalogue().child_databases)


class TestShared:
    """One computation at a time, and nobody queues behind it."""

    @pytest.fixture
    def gate(self) -> threading.Event:
        return threading.Event()

    def test_callers_at_the_same_time_get_the_one_under_way(
        self, at_once: Callable[..., list[int]], tune: Tune
    ) -> None:
        tune(figures_seconds=60)
        number = iter(range(100))

        def compute() -> int:
            time.sleep(0.2)
            return next(number)

        figure = Shared(compute)
        assert at_once(*[figure] * 8) == [0] * 8
        assert figure() == 0
        figure.forget()
        assert figure() == 1

    def test_while_one_computes_the_others_get_the_last(self, gate: threading.Event) -> None:
        gate.set()
        number = iter(range(100))

        def compute() -> int:
            assert gate.wait(30)
            return next(number)

        figure = Shared(compute)
        assert figure() == 0
        gate.clear()
        computing = threading.Thread(target=figure)
        computing.start()
        began = time.monotonic()
        assert [figure() for _ in range(5)] == [0] * 5
        assert time.monotonic() - began < 15
        gate.set()
        computing.join(30)
        assert figure() == 2

    def test_without_a_last_one_the_wait_is_bounded(
        self, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, client: Client
    ) -> None:
        monkeypatch.setattr(shared, "PATIENCE_SECONDS", 0.1)
        figure = Shared(lambda: gate.wait(30))
        computing = threading.Thread(target=figure)
        computing.start()
        while figure._under_way is None:
            time.sleep(0.01)
        monkeypatch.setattr(report_health, "current_health", figure)
        monkeypatch.setattr("apps.integrity.report.metrics.shared_exposition", figure)
        with pytest.raises(FiguresUnavailable):
            figure()
        assert client.get(HEALTHZ).json()["failing"] == ["logs"]
        assert client.get(METRICS).status_code == 503
        gate.set()
        computing.join(30)

    def test_an_error_is_shared_and_forgotten_like_a_result(self, tune: Tune) -> None:
        tune(figures_seconds=0.2)
        calls = list[int]()

        def compute() -> int:
            calls.append(1)
            if len(calls) == 1:
                raise TimeoutError("no answer")
            return 7

        figure = Shared(compute)
        for _ in range(3):
            with pytest.raises(TimeoutError, match="no answer"):
                figure()
        assert len(calls) == 1
        time.sleep(0.3)
        assert figure() == 7

    @pytest.mark.parametrize(("took", "kept"), [(0.01, 2), (0.5, 5), (30, 10)])
    def test_what_took_long_serves_for_longer(self, took: float, kept: float) -> None:
        assert shared.kept_seconds(took, 2, 5) == kept
        assert shared.kept_seconds(took, 2, 1) == 2


#: What somebody may write into an address, by whatever name.
VALUES = (
    "",
    "0",
    "-1",
    "1.5",
    "1e5",
    "x",
    "9" * 30,
    "1" * 5_000,
    "-" + "1" * 5_000,
    str(2**63),
    str(2**63 - 1),
    str(-(2**63)),
    "\x00",
    "1\x00",
    "\u0663",
    "\u00b2",
    "\u2028\x1b[31m",
    "'; DROP TABLE integrity_deletion; --",
    "%s%(x)s{0}",
    "blog.Post.author\x00",
    "a" * 5_000,
    "None",
    "__class__",
)
#: Page → the parameters that it knows; each is given one that it does not know, too.
READ = {
    "": (),
    "deletions/": ("log", "model", "key", "state", "before"),
    "relations/": (),
    "scans/": (),
    "repair/": ("relation",),
    "audit/": ("log", "before"),
}
PATHS = ("{}/", "{}/receipt/", "{}/receipt.json")
WRITTEN = ("pause/", "resume/", "retry/", "scan/", "repair/apply/")
FIELDS = ("database", "reason", "relation", "confirmation", "override", "csrfmiddlewaretoken")
DASHBOARD = "/admin/integrity/dashboard/"


class TestParameters:
    """Each value of each parameter of each page: an answer, and never an error of the server."""

    def bad(self, answers: dict[object, Any]) -> list[object]:
        return [asked for asked, answer in answers.items() if answer.status_code >= 500]

    @pytest.mark.parametrize("page", READ)
    def test_of_a_page(self, root: Client, project: Catalogue, page: str) -> None:
        User.objects.create(username="ann").delete()
        asked = {
            (name, value): root.get(DASHBOARD + page, {name: value})
            for name in (*READ[page], "unknown")
            for value in VALUES[:: 1 if name in READ[page] else 5]
        }
        assert self.bad(asked) == []
        query = [(name, value) for name in READ[page] for value in (VALUES[-1], "1", VALUES[7])]
        assert self.bad({page: root.get(f"{DASHBOARD}{page}?{urlencode(query)}")}) == []

    def test_of_a_page_of_one_deletion(self, root: Client, project: Catalogue) -> None:
        pk = User.objects.create(username="ann").pk
        User.objects.get(username="ann").delete()
        assert Deletion.objects.get(parent="auth.User", key=str(pk))
        asked = {
            (using, value, path): root.get(
                f"{DASHBOARD}deletions/{quote(using, safe='')}/"
                + path.format(quote(value, safe=""))
            )
            for using, value in (
                *((using, "1") for using in VALUES),
                *(("default", value) for value in VALUES),
            )
            for path in PATHS
        }
        assert self.bad(asked) == []
        assert {each.status_code for each in asked.values()} <= {200, 301, 302, 404}

    @pytest.mark.parametrize("page", WRITTEN)
    def test_of_an_act(self, root: Client, project: Catalogue, page: str) -> None:
        right = {"database": "blog_db", "reason": "x", "relation": "blog.Post.author"}
        asked = {
            (name, value): root.post(DASHBOARD + page, {**right, name: value})
            for name in FIELDS
            for value in VALUES
        }
        assert self.bad(asked) == []

    @pytest.mark.parametrize("act", ["retry", "acknowledge"])
    def test_of_an_act_on_one_deletion(self, root: Client, project: Catalogue, act: str) -> None:
        asked = {
            value: root.post(f"{DASHBOARD}deletions/default/{quote(value, safe='')}/{act}/")
            for value in VALUES
        }
        assert self.bad(asked) == []

    @pytest.mark.parametrize(
        "page", ["blog/post/", "blog/comment/", "shop/order/", "auth/user/", "integrity/"]
    )
    def test_of_a_list_of_the_admin(self, root: Client, page: str) -> None:
        """Ours are those that the mixin reads; the others are Django's."""
        names = ("q", "o", "p", "e", "author__username", "author")
        asked = {
            (name, value): root.get(f"/admin/{page}", {name: value})
            for name in names
            for value in VALUES[:: 1 if name == "q" else 4]
        }
        assert self.bad(asked) == []


class TestTabs:
    """Open tabs cost what one costs, and no page counts or waits without an end."""

    @pytest.fixture
    def tabs(self, tune: Tune, project: Catalogue) -> Iterator[list[Client]]:
        """Two accounts with different rights, and figures that serve for a minute."""
        clients = list[Client]()
        for name in ("view", "operate"):
            user = User.objects.create(username=name, is_staff=True)
            wanted = {"view_dashboard", f"{name}_dashboard"}
            user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
            clients.append(Client())
            clients[-1].force_login(user)
        tune(figures_seconds=60)
        figures.forget()
        yield clients
        figures.forget()

    def asked_of_the_log(self, captured: Captured) -> list[str]:
        return [sql for sql in sent(captured) if "integrity_" in sql]

    @pytest.mark.parametrize("page", ["", "scans/", "relations/"])
    def test_one_computation_serves_all_and_shows_each_what_is_theirs(
        self, tabs: list[Client], captured: Captured, page: str
    ) -> None:
        orphan()
        viewer, operator = tabs
        first = viewer.get(DASHBOARD + page)
        with captured:
            again, other = viewer.get(DASHBOARD + page), operator.get(DASHBOARD + page)
        assert self.asked_of_the_log(captured) == []
        assert {each.status_code for each in (first, again, other)} == {200}
        if page != "scans/":
            assert b'<form method="post" action="/admin/integrity' not in again.content
            assert b'<form method="post" action="/admin/integrity' in other.content

    def test_who_may_not_look_gets_nothing_of_it(self, tabs: list[Client]) -> None:
        assert tabs[0].get(DASHBOARD).status_code == 200
        nobody = Client()
        nobody.force_login(User.objects.create(username="nobody", is_staff=True))
        for page in READ:
            assert nobody.get(DASHBOARD + page).status_code == 403
            assert Client().get(DASHBOARD + page).status_code == 302

    def test_what_an_operator_did_is_seen_at_once(self, tabs: list[Client]) -> None:
        _, operator = tabs
        assert b"why not" not in operator.get(DASHBOARD).content
        data = {"database": "blog_db", "reason": "why not"}
        assert b"why not" in operator.post(f"{DASHBOARD}pause/", data, follow=True).content

    def test_the_catalogue_is_asked_once_a_name(
        self, project: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = list[tuple[str, ...]]()
        known = Catalogue.databases_of

        def counted(self: Catalogue, *names: str) -> tuple[str, ...]:
            asked.append(names)
            return known(self, *names)

        capture.record((User, range(1, 501)), using="default")
        monkeypatch.setattr(Catalogue, "databases_of", counted)
        cards = overview.collect_overview().cards
        assert asked == [("auth.User", "")]
        assert [card["backlog"] for card in cards] == [500, 500]

    def test_a_preview_stops_counting(
        self, root: Client, project: Catalogue, monkeypatch: pytest.MonkeyPatch, captured: Captured
    ) -> None:
        orphan(rows=5)
        monkeypatch.setattr(limits, "COUNT_MAX", 3)
        with captured:
            page = root.get(f"{DASHBOARD}repair/?relation=blog.Post.author").content.decode()
        assert '<td class="ix-number">3+</td>' in page
        counts = [sql for sql in captured["blog_db"] if "COUNT(" in sql]
        assert counts
        assert all("LIMIT 4" in sql for sql in counts)

    def test_a_preview_stops_after_a_while_and_says_so(self, project: Catalogue) -> None:
        orphan(rows=2)
        relation = project.relation("blog.Post.author")
        limits = preview.Limits(suspects=1_000, rows=10, seconds=0)
        effects, uncounted = preview.repairs([relation], limits)
        assert [each["rows"] for each in effects] == [2]
        assert uncounted[relation.label].partly
        assert "at 1 missing parents" in uncounted[relation.label].reason

    def test_a_count_that_takes_too_long_is_given_up(self, project: Catalogue) -> None:
        orphan()
        relation = project.relation("blog.Post.author")
        limits = preview.Limits(suspects=1_000, rows=10, statement_seconds=0.2)
        with locked_table("blog_db", "blog_post"):
            began = time.monotonic()
            _, uncounted = preview.repairs([relation], limits)
        assert time.monotonic() - began < 5
        assert uncounted[relation.label].reason.startswith("OperationalError")

    @pytest.mark.parametrize("before", [0, 0.1, 9])
    def test_on_mysql_the_time_of_other_statements_is_as_before(self, before: float) -> None:
        if connections["blog_db"].vendor != "mysql":
            pytest.skip("settings of MySQL")
        asked = "SELECT CAST(@@max_statement_time AS DOUBLE)"
        with connections["blog_db"].cursor() as cursor:
            cursor.execute("SET SESSION max_statement_time = %s", [before])
            try:
                with timed_read("blog_db", 2):
                    cursor.execute(asked)
                    assert cursor.fetchone() == (0.1 if before == 0.1 else 2,)
                with pytest.raises(OperationalError), timed_read("blog_db", 0.05):
                    cursor.execute("SELECT SLEEP(5)")
                cursor.execute(asked)
                assert cursor.fetchone() == (before,)
            finally:
                cursor.execute("SET SESSION max_statement_time = 0")

    @pytest.mark.postgresql
    @pytest.mark.parametrize("before", ["0", "100ms", "9s"])
    def test_the_time_of_other_statements_is_as_before(self, before: str) -> None:
        with transaction.atomic("blog_db"), connections["blog_db"].cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{before}'")
            cursor.execute("SHOW statement_timeout")
            shown = cursor.fetchone()
            with timed_read("blog_db", 2):
                cursor.execute("SHOW statement_timeout")
                assert cursor.fetchone() == ("100ms" if before == "100ms" else "2s",)
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == shown
            with pytest.raises(OperationalError), timed_read("blog_db", 0.01):
                cursor.execute("SELECT pg_sleep(5)")
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == shown


def orphan(rows: int = 1) -> None:
    for _ in range(rows):
        Post.objects.create(title="t", content="c", author_id=9_000)
    scan.scan("blog_db", labels=["blog.Post.author"])
