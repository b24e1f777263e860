"""Ctrl-C in the middle of work: what the last sentence of the command promises is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from apps.blog.models import Post
from apps.integrity.log import claims
from apps.integrity.management.verbs import drain
from apps.integrity.models import Audit, Scan, Suspect
from apps.integrity.scan import scan_pass
from apps.integrity.scan.scan_pass import Pass
from apps.shop.models import Order
from sandbox.processes import eventually

if TYPE_CHECKING:
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

CLEAN, FINDINGS, INTERRUPTED = 0, 3, 130
POST = "blog.Post.author"
GONE = 900_000


def run(*arguments: str) -> int:
    """The exit code of a command."""
    try:
        call_command("integrity", *arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as ended:
        return int(ended.code or 0)
    return CLEAN


def pressed(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def post(author_id: int) -> None:
    Post.objects.create(title="t", content="c", author_id=author_id)


def test_a_scan_goes_on_at_once_from_what_it_had_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        post(GONE + number)
    save, saved = Pass._save, list[str]()

    def save_once(self: Pass) -> bool:
        if saved:
            raise KeyboardInterrupt
        saved.append(self.scanned.relation)
        return save(self)

    with monkeypatch.context() as patched:
        patched.setattr(scan_pass, "FIRST_KEYS", 1)
        patched.setattr(Pass, "_is_time_to_save", lambda _: True)
        patched.setattr(Pass, "_save", save_once)
        assert run("scan", "--relation", POST) == INTERRUPTED
    row = Scan.objects.get(relation=POST, database="blog_db")
    assert (row.claim, row.reason, row.cursor) == (None, "interrupted", str(GONE))
    assert Suspect.objects.filter(relation=POST).count() == 1
    assert run("scan", "--relation", POST) == FINDINGS
    assert Suspect.objects.filter(relation=POST).count() == 4
    assert Post.objects.count() == 4


def test_what_a_repair_had_confirmed_is_finished_by_drain(
    monkeypatch: pytest.MonkeyPatch, tune: Tune
) -> None:
    tune(grace_seconds=0.001)
    living = User.objects.create(username="ann")
    post(GONE)
    post(living.pk)
    assert run("scan", "--relation", POST) == FINDINGS
    with monkeypatch.context() as patched:
        patched.setattr(drain, "drain", pressed)

        def confirmed() -> bool:  # once no transaction of another test is open any more
            return run("repair", "--relation", POST, "--apply") == INTERRUPTED

        assert eventually(confirmed, timeout=30)
    assert Post.objects.count() == 2
    assert Audit.objects.filter(verb="repair").count() == 1
    assert run("drain") == CLEAN
    assert [each.author_id for each in Post.objects.all()] == [living.pk]


def test_a_drain_has_committed_what_it_did_and_another_does_the_rest(
    monkeypatch: pytest.MonkeyPatch, tune: Tune
) -> None:
    tune(lease_seconds=0.5)
    ann = User.objects.create(username="ann")
    post(ann.pk)
    Order.objects.create(order_number="1", customer=ann, total=1)
    ann.delete()
    claim = claims.claim

    def claim_and_press(database: str, **options: Any) -> Any:
        claimed = claim(database, **options)
        if database == "shop_db" and claimed is not None:
            raise KeyboardInterrupt
        return claimed

    with monkeypatch.context() as patched:
        patched.setattr(claims, "claim", claim_and_press)
        assert run("drain") == INTERRUPTED
    assert (Post.objects.count(), Order.objects.count()) == (0, 1)
    # The claim ends by itself; until then, there is work left, and the exit code says so.
    assert eventually(lambda: run("drain") == CLEAN, timeout=30)
    assert (Post.objects.count(), Order.objects.count()) == (0, 0)
