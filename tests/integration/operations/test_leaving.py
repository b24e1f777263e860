"""G1, leaving: with capture off deletes go through; the log is dropped when nothing needs it."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.management import call_command
from django.db import connections, transaction

from apps.blog.models import Post
from apps.integrity import capture, relations
from apps.integrity.backends import table_locks
from apps.integrity.capture import recording, triggers
from apps.integrity.exceptions import LogNeeded
from apps.integrity.models import Cascade, Deletion
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

OFF = "the project removes them itself"


def person(name: str = "ann") -> User:
    user = User.objects.create(username=name)
    Post.objects.create(title="t", content="c", author=user)
    Order.objects.create(order_number=name, customer=user, total=1)
    return user


@pytest.fixture
def off(tune: Tune) -> None:
    tune(capture="off")


class Undone(Exception):
    """All is as it was."""


@contextmanager
def undone(using: str) -> Iterator[None]:
    """As after `migrate integrity zero`, for the length of a block."""
    if connections[using].vendor == "mysql":  # it cannot undo a change of tables
        try:
            call_command("migrate", "integrity", "zero", database=using, verbosity=0)
            yield
        finally:
            call_command("migrate", "integrity", database=using, verbosity=0)
        return
    with suppress(Undone), transaction.atomic(using=using):
        call_command("migrate", "integrity", "zero", database=using, verbosity=0)
        yield
        raise Undone


def tables_of(using: str) -> set[str]:
    names = connections[using].introspection.table_names()
    return {name for name in names if name.startswith("integrity_")}


class TestCaptureOff:
    """`INTEGRITY["capture"] = "off"`, while the log is still there."""

    def test_a_delete_goes_through_and_is_not_recorded(self, off: None) -> None:
        person().delete()
        User.objects.filter(pk=person("bob").pk).delete()
        assert not User.objects.exists()
        assert not Deletion.objects.exists()
        assert Post.objects.count() == Order.objects.count() == 2

    def test_what_stays_is_told_once_in_a_process(
        self, off: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recording, "_warned", set())
        with caplog.at_level(logging.WARNING, "integrity.capture"):
            person().delete()
            person("bob").delete()
        [record] = caplog.records
        assert "auth.User are not recorded" in record.getMessage()
        assert "blog.Post.author" in record.getMessage()
        assert OFF in record.getMessage()

    def test_what_is_recorded_by_hand_is_not_either(self, off: None) -> None:
        assert capture.record((User, [1, 2]), using="default") == []
        assert not Deletion.objects.exists()

    def test_what_was_recorded_before_is_drained(
        self, tune: Tune, converge: Callable[[], Any]
    ) -> None:
        person().delete()
        tune(capture="off")
        converge()
        assert not Post.objects.exists()
        assert not Order.objects.exists()

    @pytest.mark.postgresql
    def test_a_trigger_goes_with_the_next_migrate(self, tune: Tune) -> None:
        tune(capture="trigger")
        triggers.install("default")
        try:
            tune(capture="off")
            call_command("migrate", database="default", verbosity=0)
            person().delete()
            assert not Deletion.objects.exists()
        finally:
            tune(capture="signal")
            triggers.install("default")

    def test_one_parent_alone_may_be_off(self, tune: Tune) -> None:
        tune(capture={"auth.User": "off"})
        person().delete()
        assert not Deletion.objects.exists()

    def test_each_start_says_so(self, tune: Tune) -> None:
        def told() -> list[str]:
            return [each.msg for each in checks.run_checks() if each.id == "integrity.W026"]

        assert told() == []
        tune(capture={"auth.User": "off"})
        [message] = told()
        assert "is 'off' for auth.User" in message
        assert "blog.Post.author" in message


class TestMigratingBack:
    """`migrate integrity zero`."""

    def refusal(self, using: str = "default") -> str:
        before = tables_of(using)
        with pytest.raises(LogNeeded) as caught:
            call_command("migrate", "integrity", "zero", database=using, verbosity=0)
        assert tables_of(using) == before
        return str(caught.value)

    @pytest.mark.parametrize("using", ["default", "blog_db", "shop_db"])
    def test_not_while_deletions_are_recorded(self, using: str) -> None:
        told = self.refusal(using)
        assert f"nothing was dropped in {using!r}" in told
        assert "deletions of auth.User" in told
        assert "are recorded" in told
        assert 'INTEGRITY = {"capture": "off"}' in told

    @pytest.mark.parametrize("using", ["default", "blog_db"])
    def test_not_while_a_deletion_waits_for_its_dispatch(self, tune: Tune, using: str) -> None:
        person().delete()
        tune(capture="off")
        told = self.refusal(using)
        assert "1 deletion not dispatched: run `manage.py integrity drain --verify`" in told
        assert '"drop_log": True' in told

    @pytest.mark.parametrize(
        ("state", "word"),
        [
            ("pending", "cascade not done"),
            ("running", "cascade not done"),
            ("waiting", "cascade not done"),
            ("blocked", "cascade blocked"),
            ("done", "cascade not verified"),
        ],
    )
    @pytest.mark.parametrize("using", ["default", "blog_db"])
    def test_not_while_a_cascade_is_open(
        self, tune: Tune, converge: Callable[[], Any], using: str, state: str, word: str
    ) -> None:
        person().delete()
        converge()
        Cascade.objects.exclude(database="blog_db").update(state="verified")
        Cascade.objects.filter(database="blog_db").update(state=state)
        tune(capture="off")
        told = self.refusal(using)
        assert f"1 {word}" in told
        assert ("retry --all" in told) is (state == "blocked")
        call_command("migrate", "shop", database="shop_db", verbosity=0)  # others go on

    def test_a_log_that_today_s_catalogue_does_not_know_is_asked_too(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Deletion.objects.using("test_lite").create(parent="a.B", key="1", source="api")
        tune(capture="off")
        monkeypatch.setattr(relations, "log_databases", lambda: ("default",))
        assert "1 deletion not dispatched" in self.refusal("test_lite")

    def test_what_is_open_elsewhere_keeps_no_other_database(
        self, tune: Tune, converge: Callable[[], Any]
    ) -> None:
        person().delete()
        converge()
        Cascade.objects.exclude(database="blog_db").update(state="verified")
        tune(capture="off")
        with undone("shop_db"):
            assert tables_of("shop_db") == set()

    def test_when_all_is_verified_it_goes_and_deletes_go_on(
        self, tune: Tune, converge: Callable[[], Any]
    ) -> None:
        person().delete()
        converge()
        Cascade.objects.update(state="verified")
        tune(capture="off")
        user = person("bob")
        with undone("default"):
            assert tables_of("default") == set()
            assert user.delete()[0] == 1
            assert User.objects.filter(pk=person("cem").pk).delete()[0] == 1
            assert capture.record((User, [1]), using="default") == []

    def test_on_sqlite_as_well(self, tune: Tune) -> None:
        assert "are recorded" in self.refusal("test_lite")
        tune(capture="off")
        Deletion.objects.using("test_lite").create(parent="lite.Gauge", key="1", source="signal")
        assert "1 deletion not dispatched" in self.refusal("test_lite")

    def test_a_setting_drops_it_all_the_same(self, tune: Tune) -> None:
        person().delete()
        tune(drop_log=True)
        with undone("default"):
            assert tables_of("default") == set()

    def test_what_is_recorded_at_the_last_moment_is_counted(
        self, off: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process with yesterday's settings has deleted, and commits just now."""
        recorded, over = threading.Event(), threading.Event()

        def other() -> None:
            try:
                with transaction.atomic(using="default"):
                    Deletion.objects.create(parent="auth.User", key="1", source="signal")
                    recorded.set()
                    over.wait(0.5)
            finally:
                connections.close_all()

        thread = threading.Thread(target=other)
        thread.start()
        assert recorded.wait(10)
        assert "1 deletion not dispatched" in self.refusal()
        thread.join()

    def test_nobody_queues_behind_it(self, off: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(table_locks, "TRIES", 2)
        monkeypatch.setattr(table_locks, "PAUSE_SECONDS", 0.01)
        held, over = threading.Event(), threading.Event()

        def other() -> None:
            try:
                with transaction.atomic(using="default"):
                    assert not Deletion.objects.filter(key="none").exists()
                    held.set()
                    over.wait(30)
            finally:
                connections.close_all()

        thread = threading.Thread(target=other)
        thread.start()
        try:
            assert held.wait(10)
            who = {"mysql": "an open transaction"}.get(connections["default"].vendor, "pid ")
            assert f"the log is held by {who}" in self.refusal()
        finally:
            over.set()
            thread.join()

    def test_a_log_that_does_not_answer_is_no_log_without_work(
        self, off: None, refuse: Callable[[str], Any]
    ) -> None:
        with refuse("default"):
            assert "the log in default cannot be read" in self.refusal("blog_db")
