"""Every page of the dashboard: with axe, by keyboard, on a phone, in the dark, and on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.report import receipts
from tests import dashboard_rows
from tests.acceptance import chromium
from tests.acceptance.window import PATH, accessible, logged_in
from tests.dashboard_rows import staff

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from apps.integrity.models import Deletion

pytestmark = [
    pytest.mark.skipif(PATH is None, reason=chromium.MISSING),
    pytest.mark.usefixtures("committed", "project"),
]
#: The deletion for which the log does not answer.
UNANSWERED = 999_999
PHONE, DESK = 375, 1280
#: The width of A4 between its margins, in CSS pixels.
PAPER = 718

#: What can be operated, and is shown.
OPERABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
SHOWN = """(which) => [...document.querySelectorAll("#content .ix *")].filter((node) =>
  node.matches(which) && node.checkVisibility({visibilityProperty: true})
  && node.getClientRects().length).map((node, at) => {
    node.dataset.at = at;
    return node.outerHTML;
  })"""
#: What has the focus: its number among those, and whether one sees it.
FOCUSED = """() => {
  const node = document.activeElement, style = getComputedStyle(node);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [node.dataset.at ?? null, seen, node.outerHTML.slice(0, 120)];
}"""
#: What sticks out of the page, and is not in a box that scrolls.
WIDE = """() => [...document.querySelectorAll("#content .ix *")].filter((node) =>
  !node.closest(".ix-scroll, .ix-hidden") && node.getBoundingClientRect().right
    > document.documentElement.clientWidth + 1).map((node) => node.outerHTML.slice(0, 120))"""
#: What is cut on paper, where nothing scrolls.
CUT = """() => [...document.querySelectorAll(".ix-scroll, .ix-reason, .ix-error")].filter((node) =>
  node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1
  ).map((node) => [node.scrollWidth, node.clientWidth, node.outerHTML.slice(0, 160)])"""
#: What nobody can use on paper.
USELESS = """() => [...document.querySelectorAll(
  "button, input:not([type=hidden]), select, summary, form, nav a, a.ix-button, #header"
  )].filter((node) => node.checkVisibility() && node.getClientRects().length
  ).map((node) => node.outerHTML.slice(0, 120))"""


@pytest.fixture
def addresses(page: Page, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every page, with something of all kinds on it, and one whose log does not answer."""
    dashboard_rows.fill()
    logged_in(page, staff("root"))
    deletion = receipts.deletion

    def answering(pk: int, *, using: str) -> Deletion | None:
        if pk == UNANSWERED:
            raise DatabaseUnreachable(using, "connection refused")
        return deletion(pk, using=using)

    found = dashboard_rows.addresses()
    monkeypatch.setattr(receipts, "deletion", answering)
    return [*found, reverse("admin:integrity_dashboard_deletion", args=["default", UNANSWERED])]


def show(page: Page, address: str, **media: str) -> None:
    page.goto(address)
    page.emulate_media(**media)  # type: ignore[arg-type]  # typed as literals
    # Colours that still change are those of neither scheme.
    page.evaluate("document.getAnimations().forEach((change) => change.finish())")


def test_nothing_serious_is_found_by_axe(page: Page, addresses: list[str]) -> None:
    for address in addresses:
        for scheme, width in (("dark", DESK), ("light", PHONE)):
            page.set_viewport_size({"width": width, "height": 900})
            show(page, address, color_scheme=scheme)
            accessible(page)


def test_a_phone_never_scrolls_sideways(page: Page, addresses: list[str]) -> None:
    page.set_viewport_size({"width": PHONE, "height": 800})
    for address in addresses:
        show(page, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, address
        assert page.evaluate(WIDE) == [], address


def test_every_action_is_reached_with_the_keyboard_and_seen(
    page: Page, addresses: list[str]
) -> None:
    page.add_init_script("window.setInterval = () => 0")  # nothing is replaced meanwhile
    for address in addresses:
        show(page, address)
        wanted = page.evaluate(SHOWN, OPERABLE)
        page.evaluate("document.querySelector('#content').tabIndex = -1")
        page.evaluate("document.querySelector('#content').focus()")
        reached = set[int]()
        for _ in range(len(wanted) + 5):
            page.keyboard.press("Tab")
            at, seen, html = page.evaluate(FOCUSED)
            if at is not None:
                assert seen, (address, html)
                reached.add(int(at))
        missed = [html[:160] for at, html in enumerate(wanted) if at not in reached]
        assert missed == [], address


def test_paper_has_all_of_the_tables_and_no_buttons(page: Page, addresses: list[str]) -> None:
    page.set_viewport_size({"width": PAPER, "height": 1_000})
    for address in addresses:
        for scheme in ("light", "dark"):
            show(page, address, media="print", color_scheme=scheme)
            assert page.evaluate(CUT) == [], address
            assert page.evaluate(USELESS) == [], address
            assert page.evaluate("getComputedStyle(document.body).colorScheme") == "light"
            accessible(page)
