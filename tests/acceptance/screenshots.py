"""Renew the pictures in docs/screenshots: `./run screenshots`. Look at each before it is committed.

The pages show a bad day: a database that refuses rows, a deletion that is blocked, a brake.
"""

from __future__ import annotations

import datetime as dt
import math
import tomllib
import uuid
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity.control import actions, heartbeats
from apps.integrity.models import Audit, Cascade, Deletion, FailedAttempt, Suspect
from apps.integrity.queues import dispatch
from tests.acceptance import chromium
from tests.acceptance.window import PATH, logged_in
from tests.dashboard_rows import author, scanned, staff, work
from tests.log_rows import cascade_of, make

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Tune

pytestmark = [
    pytest.mark.skipif(PATH is None, reason=chromium.MISSING),
    pytest.mark.usefixtures("committed", "project"),
]
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
#: Widths of a desk, a phone, and paper between its margins.
DESK, PHONE, PAPER = 1280, 390, 718
REFUSED = (
    "IntegrityError 23503: a row of newsletter_issue still refers to blog_post"
    " (newsletter_issue_post_id_fk)"
)
#: Worker → its queues.
WORKERS = {
    "control@app-1": ["integrity"],
    "blog@app-1": ["integrity.blog_db"],
    "shop@app-2": ["integrity.shop_db"],
}
TIMEOUT = "OperationalError 57014: canceling statement due to statement timeout"


class Picture(NamedTuple):
    """A picture: its name, the page, and how it is looked at."""

    name: str
    address: str
    width: int = DESK
    scheme: str = "light"
    media: str = "screen"
    whole: bool = True


def page_of(name: str, *args: object, query: str = "") -> str:
    return reverse(f"admin:integrity_dashboard_{name}", args=args) + query


def history() -> None:
    """Leave what was deleted within a day, more of it by day than by night."""
    now = timezone.now()
    for hour in reversed(range(24)):
        at = now - dt.timedelta(hours=hour, minutes=25)
        number = round(14 + 12 * math.sin((at.hour - 8) / 24 * 2 * math.pi)) + hour % 3
        keys = range(4_000 + 100 * hour, 4_000 + 100 * hour + number)
        make("auth.User", keys, ["blog_db", "shop_db"], state="verified", recorded_at=at)


def proven() -> Deletion:
    """Return a verified deletion of a user with rows in both databases."""
    ann = author("ann")
    scanned()
    key = ann.pk
    ann.delete()
    work(prove=True)
    return Deletion.objects.get(key=str(key))


def in_trouble() -> Deletion:
    """Return a blocked deletion; others fail and wait."""
    keys = {name: author(name).pk for name in ("bob", "cleo", "dan", "eve", "finn")}
    for name in keys:
        User.objects.get(username=name).delete()
        dispatch.sweep_all()
    blocked, failing = (Deletion.objects.get(key=str(keys[name])) for name in ("bob", "cleo"))
    now = timezone.now()
    Cascade.objects.filter(pk=cascade_of(blocked, "blog_db").pk).update(
        state="blocked", attempts=8, reason=REFUSED, due_at=None,
        recorded_at=now - dt.timedelta(minutes=14),
    )  # fmt: skip
    work("shop_db", prove=True)
    for name in ("cleo", "dan", "eve", "finn"):
        one = cascade_of(Deletion.objects.get(key=str(keys[name])), "blog_db")
        Cascade.objects.filter(pk=one.pk).update(
            state="waiting", attempts=3, reason=TIMEOUT, due_at=now + dt.timedelta(minutes=4),
            recorded_at=now - dt.timedelta(minutes=6),
        )  # fmt: skip
    running = cascade_of(Deletion.objects.get(key=str(keys["finn"])), "blog_db")
    Cascade.objects.filter(pk=running.pk).update(
        state="running", attempts=1, reason="", due_at=now + dt.timedelta(seconds=55),
        claim=uuid.uuid4(), owner=f"{uuid.uuid4()} blog@app-1", recorded_at=now,
    )  # fmt: skip
    Deletion.objects.filter(pk=blocked.pk).update(recorded_at=now - dt.timedelta(minutes=14))
    for deletion, number, reason in ((blocked, 8, REFUSED), (failing, 3, TIMEOUT)):
        for attempt in range(1, number + 1):
            row = FailedAttempt.objects.create(
                batch=deletion.batch, database="blog_db", attempt=attempt, deletions=1,
                reason=reason,
            )  # fmt: skip
            age = dt.timedelta(seconds=30 + 4 * 2 ** (number - attempt))
            FailedAttempt.objects.filter(pk=row.pk).update(at=now - age)
    return blocked


def missing_parents() -> None:
    """Leave suspects that the brake does not let a repair touch."""
    Post.objects.bulk_create(Post(title="t", content="c", author_id=81_000 + n) for n in range(140))
    scanned()
    Suspect.objects.update(recorded_at=timezone.now() - dt.timedelta(minutes=50))


def acted() -> None:
    """Leave actions of operators."""
    actions.pause("shop_db", actor="otto", reason="index build on shop_order", using="default")
    actions.resume("shop_db", actor="otto", reason="built", using="default")
    Audit.objects.filter(verb="pause").update(at=timezone.now() - dt.timedelta(minutes=41))
    actions.audit("scan", "blog.Post.author in blog_db", actor="rita", reason="", using="default")


def alive() -> None:
    heartbeats.record("beat", using="default")
    for name, queues in WORKERS.items():
        heartbeats.write(name, using="default", queues=queues)


def test_pictures(page: Page, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    version = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"][
        "version"
    ]
    monkeypatch.setattr(metadata, "version", lambda _: version)
    tune(scan_policy="report", grace_seconds=0.001, probe_seconds=0.001)
    history()
    verified = proven()
    missing_parents()
    blocked = in_trouble()
    acted()
    gone = author("grace")
    Comment.objects.create(post=Post.objects.filter(author=gone)[0], author_id=1, content="c")
    logged_in(page, staff("root"))
    one, receipt = ("default", blocked.pk), ("default", verified.pk)
    for picture in (
        Picture("overview-light", page_of("changelist")),
        Picture("overview-dark", page_of("changelist"), scheme="dark"),
        Picture("overview-phone", page_of("changelist"), width=PHONE),
        Picture("overview-print", page_of("changelist"), width=PAPER, media="print"),
        Picture("deletions-light", page_of("deletions"), whole=False),
        Picture("deletions-phone", page_of("deletions"), width=PHONE, scheme="dark", whole=False),
        Picture("deletion-dark", page_of("deletion", *one), scheme="dark"),
        Picture("receipt-light", page_of("receipt", *receipt)),
        Picture("receipt-print", page_of("receipt", *receipt), width=PAPER, media="print"),
        Picture("relations-light", page_of("relations")),
        Picture("scans-light", page_of("scans")),
        Picture("repair-light", page_of("preview", query="?relation=blog.Post.author")),
        Picture("processes-light", page_of("processes")),
        Picture("guide-light", page_of("guide", "blocked")),
        Picture("delete-page-light", reverse("admin:auth_user_delete", args=[gone.pk])),
    ):
        taken(page, picture)


def taken(page: Page, picture: Picture) -> None:
    """Take a picture of the page, or of what is seen of it first."""
    alive()
    page.set_viewport_size({"width": picture.width, "height": 860})
    # The arguments are typed as literals.
    page.emulate_media(color_scheme=picture.scheme, media=picture.media)  # type: ignore[arg-type]
    page.goto(picture.address)
    page.evaluate("document.getAnimations().forEach((change) => change.finish())")
    page.screenshot(path=FOLDER / f"{picture.name}.png", full_page=picture.whole)
