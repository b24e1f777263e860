"""The dashboard in a browser: accounts, rows, what workers would do, and what a page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from django.urls import reverse
from playwright.sync_api import expect

from tests.acceptance import chromium
from tests.dashboard_rows import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse
    from playwright.sync_api import Page

PATH = chromium.found()
SELF = ("script-src", "style-src", "img-src", "connect-src", "form-action")
expect.set_options(timeout=15_000)  # three times what the page takes to refresh itself
POLICY = "; ".join(["default-src 'none'", *(f"{kind} 'self'" for kind in SELF)])
#: Violations of axe that count; what the admin's own frame has is not ours.
SERIOUS = {"serious", "critical"}


def policy(get_response: Callable[[HttpRequest], HttpResponse]) -> object:
    """Middleware: what an adopter's site may demand of every page."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer


def note(complaints: list[str], kind: str, text: str) -> None:
    if kind in {"error", "warning"} and "favicon.ico" not in text:
        complaints.append(text)


def log_in(page: Page, user: User) -> None:
    """Log in with the form."""
    page.goto(reverse("admin:login"))
    page.get_by_label("Username").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**" + reverse("admin:index"))


def logged_in(page: Page, user: User) -> None:
    """Give the browser a session of the user, without the form and its two pages."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"]
    page.context.add_cookies(
        [{"name": cookie.key, "value": cookie.value, "domain": "127.0.0.1", "path": "/"}]
    )


def overview(page: Page) -> None:
    page.goto(reverse("admin:integrity_dashboard_changelist"))


def refresh(page: Page) -> None:
    """Let the page refresh itself now, as when its window is shown again."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def card(page: Page, database: str) -> object:
    return page.locator(f"[data-database={database}]")


def figure(page: Page, database: str, name: str) -> object:
    row = card(page, database).locator("dl > div", has_text=name)
    return row.locator("dd")


def accessible(page: Page) -> None:
    """axe-core finds nothing serious in what is ours."""
    found = Axe().run(page, context="#content").response["violations"]
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in SERIOUS
    ]
    assert serious == [], (page.url, serious)
