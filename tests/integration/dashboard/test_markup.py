"""What every page must not have: anything inline that a strict policy forbids, and ids twice."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.integrity import relations
from apps.integrity.relations import Catalogue, discovery
from tests import dashboard_rows

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("committed")


class Markup(HTMLParser):
    """Collects what is inline, the ids, and the tags that were not closed."""

    #: Tags without an end; those of SVG are closed as in XML.
    VOID = ("area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.inline, self.ids, self.open = list[str](), Counter[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        here = self.get_starttag_text() or tag
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(here)
        for name, value in attrs:
            script = (value or "").strip().lower().startswith(("javascript:", "data:"))
            if name == "style" or name.startswith("on") or script:
                self.inline.append(here)
        self.ids.update([given["id"]] if given.get("id") else [])  # type: ignore[list-item]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("blog.", "shop.")
    found = Catalogue(tuple(r for r in relations.discover().relations if r.label[:5] in chosen))
    monkeypatch.setattr(discovery, "_known", [found])


@pytest.mark.usefixtures("project")
def test_every_page_obeys_a_strict_policy_and_is_well_formed(tune: Callable[..., None]) -> None:
    tune(grace_seconds=0.001, probe_seconds=0.001)
    dashboard_rows.fill()
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    found = dashboard_rows.addresses()
    assert len(found) >= 9
    for address in found:
        page, markup = client.get(address).content.decode(), Markup()
        markup.feed(page)
        markup.close()
        assert markup.inline == [], address
        assert markup.open == [], address
        assert [each for each, number in markup.ids.items() if number > 1] == [], address
