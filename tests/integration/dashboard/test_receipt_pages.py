"""A receipt says the same on its page, in print, as text and as JSON."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.utils.html import escape

from apps.integrity.cascade import verification
from apps.integrity.models import Cascade, Deletion
from apps.integrity.report import receipt_text
from tests.integration.dashboard.test_dashboard_pages import gone, text, url, viewer

if TYPE_CHECKING:
    from django.test import Client

    from tests.conftest import Tune
    from tests.integration.dashboard.test_dashboard_pages import Converge

__all__ = ["viewer"]  # a fixture
pytestmark = pytest.mark.usefixtures("committed")


def test_each_sentence_is_everywhere(
    viewer: Client,
    converge: Converge,
    tune: Tune,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tune(grace_seconds=1e-6)
    erased = gone()
    converge()
    for database in ("blog_db", "shop_db"):
        verification.verify(database)
    label = "blog.Post.author"
    scanned = Deletion.objects.create(
        parent="auth.User", key=erased.key, relation=label, source="scan"
    )
    converge()
    with contextlib.suppress(SystemExit):
        call_command("integrity", "receipt", "auth.User", str(erased.key), "--json")
    newest = json.loads(capsys.readouterr().out)
    with contextlib.suppress(SystemExit):
        call_command("integrity", "receipt", "auth.User", str(erased.key))
    printed = " ".join(capsys.readouterr().out.split())
    for row, document in ((scanned, newest), (erased, newest["earlier"][0])):
        page = text(viewer, "receipt", "default", row.pk)
        downloaded = viewer.get(url("receipt_json", "default", row.pk)).json()
        assert downloaded["statement"] == document["statement"]
        assert document["statement"][-1] == receipt_text.OUTSIDE
        assert f"{row.pk} in the log of default</dd>" in page
        assert f"<dt>Recorded by {row.source}</dt>" in page
        for line in document["scope"]:
            assert escape(receipt_text.became(line)) in page
        for said in document["statement"]:
            assert said in printed
            assert escape(said) in page
    assert newest["statement"][1].startswith("A scan found that its parent was missing at ")


def test_one_of_a_scan_hides_no_erasure(viewer: Client) -> None:
    erased = gone()
    scanned = Deletion.objects.create(
        parent="auth.User", key=erased.key, relation="blog.Post.author", source="scan"
    )
    page = text(viewer, "receipt", "default", scanned.pk)
    assert f">Deletion {erased.pk}</a>, found by signal" in page
    page = text(viewer, "receipt", "default", erased.pk)
    assert f">Deletion {scanned.pk}</a>, found by scan along blog.Post.author" in page


def test_every_time_has_a_zone(viewer: Client, converge: Converge) -> None:
    deletion = gone()
    converge()
    page = text(viewer, "receipt", "default", deletion.pk)
    times = [part.partition("</time>")[0] for part in page.split("<time ")[1:]]
    assert len(times) >= 4
    assert all(time.endswith(" UTC") for time in times)


def test_attempts_of_a_verification_are_not_those_of_the_cascade(
    viewer: Client,
    converge: Converge,
) -> None:
    deletion = gone()
    converge()
    Cascade.objects.update(attempts=97)  # as a probe that was halved leaves it
    document = viewer.get(url("receipt_json", "default", deletion.pk)).json()
    assert {each["attempts"] for each in document["cascades"]} == {None}
    for page in ("receipt", "deletion"):
        assert ">97<" not in text(viewer, page, "default", deletion.pk)
