"""`integrity status` for people: what it shows, in colours on a terminal only, and again."""

from __future__ import annotations

import io
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.color import color_style
from django.db.backends.signals import connection_created

from apps.integrity import relations
from apps.integrity.backends import connections
from apps.integrity.control import circuit_breaker, heartbeats
from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.management.commands import integrity
from apps.integrity.management.terminal import CLEAR
from apps.integrity.management.verbs import status as verb
from apps.integrity.models import Suspect
from apps.integrity.report import overview, rows
from apps.integrity.report.status import collect_status
from tests import log_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

USAGE, FINDINGS, UNREACHABLE = 2, 3, 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def blocked() -> None:
    log_rows.make("auth.User", [1], ["blog_db"], state="blocked")


def test_it_shows_scans_the_brake_workers_and_beat() -> None:
    heartbeats.record("beat", using="default")
    Suspect.objects.create(parent="auth.User", relation="blog.Post.author", value="1")
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("integrity", "status", "--wide", stdout=out)
    assert ended.value.code == FINDINGS
    lines = out.getvalue().splitlines()
    [post] = [line for line in lines if line.startswith("blog.Post.author ")]
    assert post.split()[1:5] == ["blog_db", "0.0", "-", "1"]
    assert post.endswith("the parent's table is empty")
    assert any(line.endswith(" What to do: guide brake.") for line in lines)
    assert "workers: never seen" in lines
    assert "beat: last seen 0 s ago" in lines


class TestADatabaseThatIsAway:
    def test_it_shows_before_any_work_was_tried(self, refuse: Callable[[str], Any]) -> None:
        out = io.StringIO()
        with refuse("blog_db"), pytest.raises(SystemExit) as ended:
            call_command("integrity", "status", "--json", stdout=out)
        assert ended.value.code == UNREACHABLE
        rows = {row["database"]: row for row in json.loads(out.getvalue())["databases"]}
        assert (rows["blog_db"]["state"], rows["blog_db"]["unreachable"]) == ("hindered", True)
        assert "cannot be reached: " in rows["blog_db"]["reason"]
        assert "connection failed" in rows["blog_db"]["reason"]
        assert rows["shop_db"]["state"] == "idle"

    def test_each_is_asked_once_and_what_is_known_to_be_away_is_not(
        self, captured: Captured
    ) -> None:
        """A look costs a connection, which no query of the status waits for."""
        circuit_breaker.write_outage(
            DatabaseUnreachable("blog_db", OSError("no route")), using="default"
        )
        asked = list[str]()

        def note(connection: Any, **_: object) -> None:
            asked.append(connection.alias)

        with captured:
            collect_status()
            queries = {alias: len(captured[alias]) for alias in captured}
        connection_created.connect(note)
        try:
            with captured:
                status = collect_status(probe=True)
        finally:
            connection_created.disconnect(note)
        assert {alias: len(captured[alias]) for alias in captured} == queries
        children = {row["database"] for row in status["databases"]}
        assert sorted(asked) == sorted(children - {"blog_db"})
        [blog] = [row for row in status["databases"] if row["database"] == "blog_db"]
        assert blog["reason"] == "cannot be reached: no route"

    def test_several_are_asked_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ten that do not answer take one connect timeout, and not ten."""
        number = len(relations.catalogue().child_databases)
        barrier, reach = threading.Barrier(number), connections.reach

        def together(alias: str) -> None:
            if threading.current_thread() is not threading.main_thread():
                barrier.wait(20)
            reach(alias)

        monkeypatch.setattr(connections, "reach", together)
        assert number > 1
        assert not any(row["reason"] for row in collect_status(probe=True)["databases"])


def stuck(
    reason: str, *, state: str = "waiting", database: str = "blog_db", attempts: int = 1
) -> None:
    columns = {"state": state, "reason": reason, "attempts": attempts}
    log_rows.make("auth.User", [1], [database], **columns)


class TestWorkThatWaits:
    """G11: work into a database that answers waits all the same, and the row says why."""

    @staticmethod
    def row(database: str = "blog_db", *, look: bool = False) -> rows.DatabaseRow:
        rows = collect_status(probe=look)["databases"]
        return next(row for row in rows if row["database"] == database)

    def test_the_row_says_why_and_how_often(self) -> None:
        stuck("rows are locked")
        stuck("a table is hidden")
        stuck("a table is hidden", state="running", attempts=2)  # the last attempt failed with that
        stuck("another one", database="shop_db")
        stuck("", state="pending")
        assert self.row()["reason"] == "2 waiting: a table is hidden; 1 waiting: rows are locked"
        assert (self.row()["state"], self.row()["unreachable"]) == ("failing", False)
        assert self.row("shop_db")["reason"] == "1 waiting: another one"

    def test_the_first_page_says_why_as_well(self) -> None:
        stuck("rows are locked")
        stuck("a trigger raised an error", state="blocked")
        stuck("", state="pending", database="shop_db")
        blog, shop = overview.collect_overview().cards[:2]
        assert blog["failing_reason"] == "rows are locked"
        assert blog["blocked_reason"] == "a trigger raised an error"
        assert shop["failing_reason"] == ""

    def test_on_the_first_page_a_database_that_is_away_says_only_that(self) -> None:
        stuck("rows are locked")
        circuit_breaker.write_outage(
            DatabaseUnreachable("blog_db", OSError("no route")), using="default"
        )
        card = overview.collect_overview().cards[0]
        assert card["reason"] == "cannot be reached: no route"

    def test_what_is_blocked_says_why(self) -> None:
        stuck("a trigger raised an error", state="blocked")
        assert self.row()["reason"] == "1 waiting: a trigger raised an error"
        assert self.row()["state"] == "blocked"

    def test_of_many_reasons_it_tells_the_most_frequent(self) -> None:
        for number in range(6):
            for _ in range(number):
                stuck(f"reason {number}")
        assert self.row()["reason"] == (
            "5 waiting: reason 5; 4 waiting: reason 4; 3 waiting: reason 3; and others"
        )

    def test_what_is_over_or_was_sent_back_says_nothing(self) -> None:
        stuck("rows came after the cascade", state="pending")
        stuck("given up", state="cancelled")
        stuck("", state="waiting")
        assert self.row()["reason"] == ""

    def test_a_database_that_is_away_says_only_that(self) -> None:
        stuck("rows are locked")
        circuit_breaker.write_outage(
            DatabaseUnreachable("blog_db", OSError("no route")), using="default"
        )
        assert self.row()["reason"] == "cannot be reached: no route"

    def test_it_is_asked_whether_it_answers_all_the_same(
        self, refuse: Callable[[str], Any]
    ) -> None:
        stuck("rows are locked")
        with refuse("blog_db"):
            assert self.row(look=True)["unreachable"]
            assert "cannot be reached" in self.row(look=True)["reason"]


@pytest.mark.parametrize("colours", [True, False])
def test_colours_only_where_they_are_wanted(*, colours: bool) -> None:
    blocked()
    out = Terminal() if colours else io.StringIO()
    command = integrity.Command(stdout=out)
    command.style = color_style(force_color=colours)
    with pytest.raises(SystemExit) as ended:
        call_command(command, "status")
    assert ended.value.code == FINDINGS
    [line] = [
        each for each in out.getvalue().splitlines() if "blog_db  " in each and "idle" not in each
    ][:1]
    assert line.startswith("\033[") == colours


def test_it_watches_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    out, waits = Terminal(), list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(verb.time, "sleep", wait)
    blocked()
    with pytest.raises(KeyboardInterrupt):  # of which a shell gets 130, as with the other verbs
        call_command("integrity", "status", "--watch", stdout=out)
    assert waits == [verb.WATCH_SECONDS] * 2
    assert out.getvalue().count(CLEAR) == 2


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_watching_takes_a_terminal(more: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("integrity", "status", "--watch", *more, stdout=io.StringIO())
    assert refused.value.returncode == USAGE
