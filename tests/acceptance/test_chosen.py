"""The lists of the dashboard in a real browser: what is ticked, and what fits a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from apps.integrity.control import actions
from apps.integrity.models import FailedAttempt
from apps.integrity.report import limits
from tests import log_rows
from tests.acceptance import chromium
from tests.acceptance.window import PATH, accessible, log_in, logged_in, refresh
from tests.dashboard_rows import DATABASES, staff

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.skipif(PATH is None, reason=chromium.MISSING),
    pytest.mark.usefixtures("committed", "project"),
]


#: Leave the box that was ticked, refresh the page, and wait until it says that it is done.
REFRESHED = """() => new Promise((done) => {
  document.activeElement.blur();
  const told = new MutationObserver(() => done());
  told.observe(document.getElementById("ix-fresh"), {childList: true, subtree: true});
  document.dispatchEvent(new Event("visibilitychange"));
})"""


def chosen_from(window: Page) -> None:
    """Three deletions are blocked; two are ticked, and retried, on the list of the blocked."""
    made = log_rows.make("auth.User", range(3), ["blog_db"], state="blocked", attempts=8)
    FailedAttempt.objects.create(
        batch=made[0].pk, database="blog_db", attempt=8, deletions=3, reason="IntegrityError"
    )
    window.goto(f"{reverse('admin:integrity_dashboard_deletions')}?state=blocked")
    for row in made[:2]:
        window.get_by_label(f"Choose deletion {row.pk}").check()
    window.get_by_label(f"Choose deletion {made[0].pk}").uncheck()
    window.get_by_label(f"Choose deletion {made[2].pk}").check()


def retried_from(window: Page) -> None:
    window.get_by_role("button", name="Retry these").click()
    text = "2 of 2 chosen deletions will be tried again."
    expect(window.get_by_text(text)).to_be_visible()
    expect(window.locator("#ix-total")).to_have_text("1 deletion")
    assert log_rows.cascade_states() == ["blocked", "pending", "pending"]
    expect(window.get_by_label("State", exact=True)).to_have_value("blocked")


def test_what_is_ticked_stays_ticked_and_is_retried(page: Page) -> None:
    logged_in(page, staff("otto", "view", "operate"))
    chosen_from(page)
    page.evaluate(REFRESHED)
    expect(page.locator("input[name=deletion]:checked")).to_have_count(2)
    accessible(page)
    retried_from(page)
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("row", name="otto")).to_contain_text("2 deletions")


def test_all_of_a_page_are_ticked_at_once(page: Page) -> None:
    log_rows.make("auth.User", range(3), ["blog_db"], state="blocked", attempts=8)
    logged_in(page, staff("otto", "view", "operate"))
    page.goto(f"{reverse('admin:integrity_dashboard_deletions')}?state=blocked")
    with page.expect_response("**/deletions/?state=blocked"):
        refresh(page)
    every = page.get_by_label("Choose all on this page")
    every.check()
    expect(page.locator("input[name=deletion]:checked")).to_have_count(3)
    every.uncheck()
    expect(page.locator("input[name=deletion]:checked")).to_have_count(0)
    every.check()
    page.get_by_role("button", name="Retry these").click()
    expect(page.get_by_text("3 of 3 chosen deletions will be tried again.")).to_be_visible()


def test_a_selection_is_retried_without_javascript(browser: Browser, site: str) -> None:
    context = browser.new_context(base_url=site, java_script_enabled=False)
    window = context.new_page()
    log_in(window, staff("otto", "view", "operate"))
    chosen_from(window)
    retried_from(window)
    context.close()


def test_the_lists_fit_a_phone_with_all_that_they_have(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_ROWS", 2)
    made = log_rows.make("auth.User", range(5), DATABASES, state="waiting", attempts=2)
    log_rows.make("auth.User", range(5), [], source="api")
    reason = "IntegrityError (23503) blog_comment_post_id_fk_" + "x" * 60
    for attempt in (1, 2):
        FailedAttempt.objects.create(
            batch=made[0].pk, database="blog_db", attempt=attempt, deletions=5, reason=reason
        )
    for number in range(5):
        actions.audit("retry", "1, 2, 3", actor=f"ann{number}", reason="why", using="default")
    logged_in(page, staff("root"))
    pages = {
        "deletions": f"{reverse('admin:integrity_dashboard_deletions')}?state=failing",
        "deletion": reverse("admin:integrity_dashboard_deletion", args=["default", made[1].pk]),
        "audit": f"{reverse('admin:integrity_dashboard_audit')}?actor=ann",
    }
    for name, address in pages.items():
        page.goto(address)
        if name != "deletion":
            page.get_by_role("link", name="Older").click()
            expect(page.get_by_role("link", name="Newer")).to_be_visible()
        else:
            expect(page.get_by_role("region", name="Failed attempts")).to_contain_text("23503")
        for scheme, width in (("dark", 1280), ("light", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("document.getAnimations().forEach((change) => change.finish())")
            accessible(page)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (name, wide)
