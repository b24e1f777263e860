"""Relations that the settings ignore: nothing follows, scans or counts them, or claims anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.db import connections
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity import relations
from apps.integrity.cascade import verification
from apps.integrity.checks import settings as checks_settings
from apps.integrity.checks.doctor import examination
from apps.integrity.contrib.admin import mixin
from apps.integrity.log import names as log_names
from apps.integrity.models import Suspect
from apps.integrity.queues import dispatch
from apps.integrity.relations import plan
from apps.integrity.report import metrics, names, receipts, unfollowed
from apps.integrity.scan import repair
from apps.shop.models import Order
from tests.integration.management.test_command import CLEAN, FINDINGS, USAGE, integrity
from tests.kinds.left.models import Book, Event, Protecting
from tests.kinds.parents.models import Guarded, Library, Owner, Station
from tests.kinds.right.models import BookNote, Leaf, Restricting

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from django.test import Client

    from tests.conftest import Tune
    from tests.integration.management.test_command import Run

    Converge = Callable[[], Counter[str]]

__all__ = ["integrity"]  # a fixture
pytestmark = pytest.mark.usefixtures("committed")

POST, LEAF, WHY = "blog.Post.author", "right.Leaf.owner", "history keeps dead keys"


@pytest.fixture
def ignore(tune: Tune) -> Callable[..., None]:
    def these(*labels: str) -> None:
        tune(ignored=dict.fromkeys(labels, WHY), grace_seconds=1e-6)

    return these


def orphan(model: Any = Leaf) -> None:
    """A row whose parent went without a signal."""
    owner, _ = Owner.objects.create(), Owner.objects.create()
    model.objects.create(owner=owner)
    Owner.objects.filter(pk=owner.pk)._raw_delete("default")


class TestDeletes:
    def test_nothing_follows_it_and_the_rest_goes(
        self, ignore: Callable[..., None], converge: Converge
    ) -> None:
        user = User.objects.create(username="ann")
        Post.objects.create(author=user, title="t", content="c")
        Order.objects.create(customer=user, total=1)
        ignore(POST)
        user.delete()
        assert "blog.Post.author" not in (rows := converge())
        assert rows["shop.Order.customer"] == 1
        assert Post.objects.count() == 1

    def test_protect_is_not_checked(self, ignore: Callable[..., None], converge: Converge) -> None:
        guarded = Guarded.objects.create()
        Protecting.objects.create(guarded=guarded)
        ignore("left.Protecting.guarded")
        guarded.delete()
        assert not converge()
        assert Protecting.objects.exists()
        other = Guarded.objects.create()
        Restricting.objects.create(guarded=other)
        with pytest.raises(Exception, match="restricted"):
            other.delete()

    def test_a_declared_column(self, ignore: Callable[..., None], converge: Converge) -> None:
        station = Station.objects.create()
        Event.objects.create(station_key=station.pk)
        ignore("left.Event.station_key")
        station.delete()
        assert "left.Event.station_key" not in converge()
        assert Event.objects.exists()

    def test_below_a_cascade(self, ignore: Callable[..., None], converge: Converge) -> None:
        """Its parents are children of another relation. Nobody looks for its rows beside them."""
        library = Library.objects.create()
        book = Book.objects.create(library=library)
        BookNote.objects.create(book=book)
        ignore("right.BookNote.book")
        field: Any = Book._meta.get_field("library")
        assert plan.plan_for(relations.catalogue().relation("left.Book.library")).strategy is (
            plan.Strategy.SET_BASED
        )
        assert BookNote not in plan._cascade(field).models
        library.delete()
        assert converge() == {"left.Book.library": 1}
        assert BookNote.objects.exists()

    def test_a_field_is_again_as_it_was(self, ignore: Callable[..., None], tune: Tune) -> None:
        field = Post._meta.get_field("author")
        before = field.deconstruct()
        ignore(POST)
        assert field.deconstruct() == before
        tune()
        assert field.deconstruct() == before
        assert relations.catalogue().relation(POST).policy == "CASCADE"


class TestScans:
    def test_no_scan_and_no_exit_code(self, ignore: Callable[..., None], integrity: Run) -> None:
        orphan()
        assert integrity("scan", "--full", "--relation", LEAF).code == FINDINGS
        assert Suspect.objects.exists()
        ignore(LEAF)
        for verb in ("scan", "repair"):
            done = integrity(verb, "--json")
            assert done.code == CLEAN, (verb, done.out, done.err)
            assert LEAF not in done.out
        status = integrity("status", "--json")
        assert LEAF not in status.out
        assert {fault["kind"] for fault in status.document["faults"]} <= {"beat", "workers"}
        assert LEAF not in metrics.exposition().decode()
        assert integrity("scan", "--relation", LEAF).code == USAGE
        assert "that is not ignored" in integrity("scan", "--relation", LEAF).err
        assert Leaf.objects.exists()

    def test_what_it_found_before_is_there_when_it_is_no_longer_ignored(
        self, ignore: Callable[..., None], integrity: Run
    ) -> None:
        orphan()
        integrity("scan", "--full", "--relation", LEAF)
        ignore(LEAF)
        assert not names.unknown(["default"])
        ignore()
        assert integrity("repair", "--json", "--relation", LEAF).document["waiting"] == 1

    def test_open_work_waits_for_an_operator(
        self, ignore: Callable[..., None], integrity: Run
    ) -> None:
        ignore()
        orphan()
        integrity("scan", "--full", "--relation", LEAF)
        repair.repair([relations.catalogue().relation(LEAF)])
        dispatch.sweep_all()
        assert ("parents.Owner", LEAF) in log_names.open_names(using="default")
        ignore(LEAF)
        (found,) = [each for each in names.unknown(["default"]) if each["name"] == LEAF]
        assert "the settings ignore this relation" in found["reason"]
        assert integrity("rename", LEAF, "--close", "ignored now", "--apply").code == CLEAN
        assert not names.unknown(["default"])
        assert Leaf.objects.exists()


class TestReports:
    def test_receipts_name_it(self, ignore: Callable[..., None], converge: Converge) -> None:
        user = User.objects.create(username="ann")
        Post.objects.create(author=user, title="t", content="c")
        key = user.pk
        ignore(POST)
        user.delete()
        converge()
        for database in relations.catalogue().child_databases:
            verification.verify(database)
        [receipt] = receipts.receipts_of("auth.User", str(key))
        [line] = [line for line in unfollowed.count(receipt)["scope"] if line["relation"] == POST]
        assert line["outcome"] == "not covered"
        assert line["reason"] == f"ignored: {WHY}"
        assert "the settings ignore" in line["not_counted"]

    def test_relations_shows_it(self, ignore: Callable[..., None], integrity: Run) -> None:
        ignore(POST)
        rows = integrity("relations", "--json").document["relations"]
        assert rows[-1]["relation"] == POST
        assert (rows[-1]["plan"], rows[-1]["why"]) == ("ignored", WHY)
        assert integrity("relations").code == CLEAN
        assert integrity("relations", "--format", "mermaid").code == CLEAN

    def test_the_page_of_relations(self, ignore: Callable[..., None], client: Client) -> None:
        client.force_login(User.objects.create_superuser("admin"))
        ignore(POST)
        page = client.get(reverse("admin:integrity_dashboard_relations")).content.decode()
        assert WHY in page
        assert f'name="relation" value="{POST}"' not in page

    def test_doctor_names_it(self, ignore: Callable[..., None]) -> None:
        ignore(POST)
        (found,) = [each for each in examination.examine(None) if each.name == "relations"]
        assert f"{POST} ({WHY})" in found.detail

    def test_the_admin_still_reads_its_parents_in_their_database(
        self, ignore: Callable[..., None]
    ) -> None:
        ignore(POST)
        assert Post._meta.get_field("author") in mixin._remote(Post)


class TestChecks:
    def test_a_name_that_is_not_there(self, tune: Tune) -> None:
        tune(ignored={"blog.Post.auther": WHY})
        (found,) = checks_settings.named()
        assert (found.id, found.obj) == ("integrity.E002", "blog.Post.auther")
        assert str(found.hint).startswith("Did you mean 'blog.Post.author'?")
        assert relations.catalogue().relation(POST)

    def test_a_policy_that_would_act(self, ignore: Callable[..., None]) -> None:
        ignore(POST, "right.Untouched.giver", "left.Protecting.guarded")
        found = [each for each in checks.run_checks() if each.id == "integrity.W034"]
        assert {each.obj for each in found} == {
            Post._meta.get_field("author"),
            Protecting._meta.get_field("guarded"),
        }
        assert WHY in found[0].msg

    def test_what_concerns_writes_is_still_checked(
        self, ignore: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Comment._meta.get_field("author"), "db_constraint", True)
        ignore("blog.Comment.author")
        assert "integrity.E003" in {each.id for each in checks.run_checks()}

    def test_no_connection_is_opened(self, ignore: Callable[..., None]) -> None:
        ignore(POST)
        assert json.dumps(relations.catalogue().reasons) == json.dumps({POST: WHY})
        assert connections["blog_db"]
