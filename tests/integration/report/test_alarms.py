"""Alarms: each is told once when it begins, once when it is over, and again after a death."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import DatabaseError
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import cascade, scan
from apps.integrity.log import retry
from apps.integrity.models import Alarm, Cascade, Suspect
from apps.integrity.queues import dispatch, maintenance
from apps.integrity.report import alarms, status
from apps.integrity.signals import alarm_cleared, alarm_raised
from tests.kinds.left.models import Quote
from tests.kinds.lite.models import Author

if TYPE_CHECKING:
    from collections.abc import Callable, Counter, Iterator

    from pytest_django.fixtures import SettingsWrapper

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "alarms.md"
ADDRESS = "ops@example.com"
LOGS = ("default", "test_left", "test_lite")
Heard = list[tuple[str, str, str]]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """("raised", kind, subject) …, in the order of the signals."""
    found: Heard = []

    def raised(kind: str, subject: str, **_: Any) -> None:
        found.append(("raised", kind, subject))

    def cleared(kind: str, subject: str, **_: Any) -> None:
        found.append(("cleared", kind, subject))

    alarm_raised.connect(raised)
    alarm_cleared.connect(cleared)
    yield found
    alarm_raised.disconnect(raised)
    alarm_cleared.disconnect(cleared)


@pytest.fixture
def behind() -> None:
    """A deletion whose cascades have waited for an hour, in blog_db only."""
    user = User.objects.create(username="ann")
    Post.objects.create(title="t", content="c", author=user)
    user.delete()
    dispatch.sweep_all()
    Cascade.objects.exclude(database="blog_db").delete()
    Cascade.objects.update(recorded_at=timezone.now() - dt.timedelta(hours=1))


def test_work_that_waits_too_long_is_told_once_and_its_end_once(behind: None, heard: Heard) -> None:
    for _ in range(3):
        alarms.watch("default")
    assert heard == [("raised", "stalled", "blog_db")]
    assert "for 3,6" in Alarm.objects.get().reason
    cascade.drain("blog_db")
    for _ in range(2):
        alarms.watch("default")
    assert heard == [("raised", "stalled", "blog_db"), ("cleared", "stalled", "blog_db")]
    assert not Alarm.objects.exists()


def test_work_that_is_on_its_way_is_no_alarm(heard: Heard) -> None:
    User.objects.create(username="ann").delete()
    alarms.watch("default")
    dispatch.sweep_all()
    alarms.watch("default")
    assert heard == []


def test_the_setting_says_how_long_is_too_long(behind: None, heard: Heard, tune: Tune) -> None:
    tune(stalled_seconds=7_200.0)
    alarms.watch("default")
    assert heard == []


def test_what_is_blocked_is_told_and_a_retry_ends_it(behind: None, heard: Heard) -> None:
    Cascade.objects.update(state="blocked", reason="DataError: no")
    alarms.watch("default")
    assert heard == [("raised", "blocked", "blog_db")]  # nothing waits that a worker could do
    retry.retry_blocked(None, using="default")
    cascade.drain("blog_db")
    alarms.watch("default")
    assert heard[1:] == [("cleared", "blocked", "blog_db")]


def test_a_brake_that_holds_is_told_with_its_reason(heard: Heard, tune: Tune) -> None:
    tune(brake_keys=1)
    Post.objects.bulk_create(Post(title="t", content="c", author_id=n) for n in (901, 902))
    User.objects.create(username="ann")
    scan.scan("blog_db", labels=["blog.Post.author"])
    alarms.watch("default")
    assert heard == [("raised", "brake", "blog.Post.author")]
    assert Alarm.objects.get().reason.startswith("2 of 2 keys have no parent")
    Suspect.objects.all().delete()
    alarms.watch("default")
    assert heard[1:] == [("cleared", "brake", "blog.Post.author")]


def test_each_log_has_alarms_of_its_own(heard: Heard, tune: Tune) -> None:
    author = Author.objects.create()
    Quote.objects.create(author=author)
    author.delete()
    dispatch.sweep_all()
    tune(stalled_seconds=1e-9)
    for using in LOGS:
        alarms.watch(using)
    assert heard == [("raised", "stalled", "test_left")]
    assert Alarm.objects.using("test_lite").count() == 1


def test_a_receiver_that_fails_stops_neither_the_others_nor_the_work(
    behind: None, heard: Heard
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("the mail server is away")

    alarm_raised.connect(broken)
    try:
        maintenance.maintain("default")
    finally:
        alarm_raised.disconnect(broken)
    assert heard == [("raised", "stalled", "blog_db")]


def test_who_dies_before_it_is_remembered_tells_it_again(
    behind: None, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(alarms.Alarm.objects.using("default").__class__, "bulk_create", die)
        with pytest.raises(Died):
            alarms.watch("default")
    alarms.watch("default")
    assert heard == [("raised", "stalled", "blog_db")] * 2


def test_figures_that_cannot_be_read_keep_nobody_from_other_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = "no such table: integrity_alarm\nDETAIL: secret"

    def unreadable(_: str) -> None:
        raise DatabaseError(said)

    monkeypatch.setattr(status, "of_log", unreadable)
    maintenance.maintain("default")
    assert "the check of alarms of the log in default failed: DatabaseError" in caplog.text
    assert "secret" not in caplog.text


def test_the_guide_mails_the_admins(
    behind: None, settings: SettingsWrapper, converge: Callable[[], Counter[str]]
) -> None:
    # Addresses are pairs before Django 6.0, which deprecates that; 6.1 asks for MAILERS.
    settings.ADMINS = [ADDRESS] if django.VERSION >= (6, 0) else [("Ops", ADDRESS)]
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    [code] = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("crossdb_integrity", "apps.integrity"), names)  # noqa: S102 (our own guide)
    try:
        alarms.watch("default")
        converge()
        alarms.watch("default")
    finally:
        alarm_raised.disconnect(names["tell"])
        alarm_cleared.disconnect(names["tell_the_end"])
    begun, over = mail.outbox
    assert begun.subject.endswith("integrity: stalled blog_db")
    assert "the oldest has waited for" in begun.body
    assert over.subject.endswith("integrity: no longer stalled blog_db")


def test_the_guide_to_alarms_lists_every_kind() -> None:
    assert {*re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(), re.MULTILINE)} - {"kind"} == {
        *Alarm.Kind.values
    }
