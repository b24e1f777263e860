"""The dashboard in a real browser, under a content security policy that allows nothing inline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from apps.blog.models import Post
from apps.integrity.control import actions
from apps.integrity.models import Cascade
from apps.integrity.queues import celery, dispatch, notifier
from apps.integrity.signals import deletion_recorded
from sandbox.processes import eventually
from tests.acceptance import chromium, workers
from tests.acceptance.window import (
    PATH,
    accessible,
    card,
    figure,
    log_in,
    logged_in,
    overview,
    refresh,
)
from tests.dashboard_rows import DATABASES, author, scanned, staff, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.conftest import Tune

pytestmark = [
    pytest.mark.skipif(PATH is None, reason=chromium.MISSING),
    pytest.mark.usefixtures("committed", "project"),
]


def test_from_the_delete_page_to_the_receipt(page: Page) -> None:
    ann = author("ann")
    scanned()
    work()
    log_in(page, staff("root"))
    page.goto(reverse("admin:auth_user_delete", args=[ann.pk]))
    expect(page.get_by_text("blog_db: 31 comments, 12 posts (CASCADE)")).to_be_visible()
    expect(page.get_by_text("shop_db: 4 orders (CASCADE)")).to_be_visible()
    page.get_by_role("button", name="Yes, I").click()
    expect(page.get_by_text("in blog_db and shop_db follows")).to_be_visible()
    overview(page)
    expect(figure(page, "blog_db", "Backlog")).to_have_text("1")
    expect(card(page, "blog_db").get_by_text("working")).to_be_visible()
    # No click from here: the page keeps itself fresh.
    work(prove=True)
    expect(figure(page, "blog_db", "Backlog")).to_have_text("0")
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    expect(page.locator("#ix-fresh")).to_contain_text("UTC")  # the server's time, not the browser's
    verdict = page.get_by_role("status")
    expect(verdict).to_contain_text("All deletions are applied and verified; no orphan that a")
    page.get_by_role("link", name="Deletions").first.click()
    page.get_by_role("row", name="auth.User").get_by_role("link").click()
    row = page.get_by_role("row", name="shop.Order.customer")
    expect(row).to_contain_text("4")
    expect(row).to_contain_text("verified")
    page.get_by_role("link", name="Receipt").click()
    expect(page.get_by_text("Counted again by")).to_be_visible()
    accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    assert download.value.suggested_filename.endswith(".json")


def test_real_workers_move_the_figures(
    page: Page, tune: Tune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a click to the proof, by the site's own notification and a worker's own process."""
    site_notifier = notifier.Notifier(celery.publish_cascade)
    deletion_recorded.connect(woken := lambda **_: site_notifier.notify(*DATABASES))
    env = workers.environment("tests.chaos.storm.settings")  # verified after three seconds
    worker = workers.worker(tmp_path, "dashboard@test", "--concurrency=2", env=env)
    ann = author("ann")
    scanned()
    logged_in(page, staff("root"))
    worker.start()
    try:
        page.goto(reverse("admin:auth_user_delete", args=[ann.pk]))
        page.get_by_role("button", name="Yes, I").click()
        overview(page)
        # Nothing is clicked from here.
        for database in DATABASES:
            expect(figure(page, database, "Backlog")).to_have_text("0", timeout=60_000)
        assert eventually(lambda: not Cascade.objects.exclude(state="done").exists(), timeout=60)
        assert not Post.objects.exists()
        assert eventually(_proven, timeout=60, pause=1)
        verdict = page.get_by_role("status")
        expect(verdict).to_contain_text("All deletions are applied and verified", timeout=60_000)
        expect(page.get_by_text("dashboard@test")).to_be_visible()
    finally:
        deletion_recorded.disconnect(woken)
        site_notifier.close(1)
        worker.stop()


def _proven() -> bool:
    """What beat's tick of maintenance leads to."""
    celery.maintain.delay()
    return not Cascade.objects.exclude(state="verified").exists()


def test_a_database_goes_away_and_comes_back(page: Page, refuse: Callable[[str], object]) -> None:
    ann = author("ann")
    logged_in(page, staff("vera", "view"))
    with refuse("blog_db"):
        ann.delete()
        work()
        overview(page)
        expect(card(page, "blog_db").get_by_text("hindered")).to_be_visible()
        expect(card(page, "blog_db")).to_contain_text("Connection refused")
        verdict = page.get_by_role("status")
        expect(verdict).to_contain_text("blog_db has been unusable for")
        expect(verdict).to_contain_text("Connection refused; 1 deletion waits.")
        expect(figure(page, "shop_db", "Backlog")).to_have_text("0")
        accessible(page)
    work()
    refresh(page)
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    expect(figure(page, "blog_db", "Backlog")).to_have_text("0")


def test_retry_pause_and_resume(page: Page) -> None:
    author("ann").delete()
    dispatch.sweep_all()
    Cascade.objects.filter(database="blog_db").update(
        state="blocked", attempts=8, reason="IntegrityError: a row is in use"
    )
    logged_in(page, staff("otto", "view", "operate"))
    overview(page)
    blog = card(page, "blog_db")
    expect(blog.get_by_text("blocked", exact=True)).to_be_visible()
    expect(blog).to_contain_text("IntegrityError: a row is in use")
    blog.get_by_role("button", name="Retry blocked").click()
    expect(page.get_by_text("1 deletion will be tried again in blog_db.")).to_be_visible()
    work()
    refresh(page)
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    # With the keyboard alone.
    pause = blog.locator("summary")
    pause.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("index build")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Database blog_db is paused")).to_be_visible()
    expect(card(page, "blog_db")).to_contain_text("paused: index build")
    accessible(page)
    card(page, "blog_db").get_by_role("button", name="Resume").click()
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    page.goto(reverse("admin:integrity_dashboard_audit"))
    for verb in ("retry", "pause", "resume"):
        expect(page.get_by_role("row", name=f"otto {verb}")).to_be_visible()
    accessible(page)


def test_scan_preview_and_apply(page: Page) -> None:
    for key in (9_001, 9_002):
        Post.objects.create(title="t", content="c", author_id=key)
    logged_in(page, staff("rita", "view", "operate", "repair"))
    page.goto(reverse("admin:integrity_dashboard_relations"))
    accessible(page)
    page.get_by_role("button", name="blog.Post.author in blog_db").click()
    expect(page.get_by_text("2 missing parents")).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="of blog.Post.author").click()
    expect(page.get_by_role("row", name="blog.Post.author blog_db CASCADE 2")).to_be_visible()
    accessible(page)
    assert Post.objects.count() == 2
    page.get_by_label("to confirm").fill("blog.Post")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("This is not the name of the relation")).to_be_visible()
    page.get_by_label("to confirm").fill("blog.Post.author")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("2 confirmed")).to_be_visible()
    work()
    assert Post.objects.count() == 0
    expect(page.get_by_text("No missing parent of these relations waits")).to_be_visible()


def test_a_viewer_looks_and_is_refused(page: Page, site: str) -> None:
    author("ann").delete()
    logged_in(page, staff("vera", "view"))
    overview(page)
    expect(card(page, "blog_db")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(page.locator(".ix-card summary, .ix-card form")).to_have_count(0)
    cookies = {each["name"]: each["value"] for each in page.context.cookies()}
    answer = page.request.post(
        reverse("admin:integrity_dashboard_pause"),
        form={
            "database": "blog_db",
            "reason": "mine",
            "csrfmiddlewaretoken": cookies["csrftoken"],
        },
        headers={"Referer": site},
    )
    assert answer.status == 403
    assert not actions.paused_reason("blog_db", using="default")


def test_every_page_is_accessible_in_the_dark_and_on_a_phone(page: Page) -> None:
    author("ann").delete()
    work()
    Post.objects.create(title="t", content="c", author_id=9_001)
    scanned()
    logged_in(page, staff("root"))
    names = ("changelist", "deletions", "relations", "scans", "audit")
    for name in names:
        page.goto(reverse(f"admin:integrity_dashboard_{name}"))
        for scheme, width in (("dark", 1280), ("light", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            # Colours that still change are those of neither scheme.
            page.evaluate("document.getAnimations().forEach((change) => change.finish())")
            accessible(page)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (name, wide)


def test_without_javascript_all_is_there(browser: Browser, site: str) -> None:
    author("ann").delete()
    context = browser.new_context(base_url=site, java_script_enabled=False)
    window = context.new_page()
    log_in(window, staff("otto", "view", "operate"))
    overview(window)
    expect(card(window, "blog_db")).to_contain_text("Lag")
    card(window, "blog_db").locator("summary").click()
    window.get_by_label("Why?").first.fill("index build")
    window.get_by_role("button", name="Pause blog_db", exact=True).click()
    expect(window.get_by_text("Database blog_db is paused")).to_be_visible()
    context.close()
