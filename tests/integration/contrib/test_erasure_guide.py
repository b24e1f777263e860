"""docs/how-to/erase-files-and-services.md: its steps can be made, its view checks signatures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from django.test import RequestFactory

from apps.blog.models import Post
from apps.integrity.conf import steps
from apps.integrity.contrib.erasure import signing
from apps.shop.models import Order
from tests import snippets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

PAGE = snippets.ROOT / "docs/how-to/erase-files-and-services.md"


@pytest.fixture
def shown() -> Iterator[list[dict[str, Any]]]:
    """The names of each of the page's blocks."""
    with snippets.undone():
        found = []
        for block in snippets.blocks(PAGE, "python"):
            names: dict[str, Any] = {"__name__": "page", "env": lambda _: "secret"}
            snippets.run(block, names)
            found.append(names)
        yield found


def test_each_step_can_be_made_as_it_is_shown(shown: list[dict[str, Any]]) -> None:
    made = {}
    for names in shown:
        for name, entry in names.get("INTEGRITY", {}).get("steps", {}).items():
            path, options = (entry, {}) if isinstance(entry, str) else entry
            path = path.replace(snippets.SHIPPED, snippets.HERE)
            made[name] = steps.created(name, (path, options))
    assert {*made} == {"files", "crm", "search"}
    assert [made["crm"].covers(model) for model in (Order, Post)] == [True, True]
    assert [made["search"].covers(model) for model in (Order, Post)] == [False, True]


def test_the_view_takes_signed_requests_alone(
    shown: list[dict[str, Any]], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.CRM_SECRET = "secret"
    (view,) = (names["erase"] for names in shown if "erase" in names)
    body, stamp = b'{"items": [{"model": "shop.Order", "value": "A-7"}]}', str(int(time.time()))

    def answer(secret: str) -> Any:
        headers = {
            signing.TIMESTAMP: stamp,
            signing.SIGNATURE: signing.signature(secret, stamp, body),
        }
        post = RequestFactory().post("/", body, content_type="application/json", headers=headers)
        return view(post)

    assert answer("another").status_code == 403
    assert capsys.readouterr().out == ""
    assert answer("secret").content == b'{"erased": true}'
    assert capsys.readouterr().out == "shop.Order A-7\n"
