"""What is stated of a delete is on the pages, the receipts and their export, and is searched."""

from __future__ import annotations

import csv
import io
import json
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse

from apps.integrity import capture
from apps.integrity.cascade import verification
from apps.integrity.control import exports
from apps.integrity.models import Audit, Deletion
from apps.integrity.report import lists
from tests import log_rows
from tests.integration.dashboard.test_dashboard_pages import text, url, viewer
from tests.integration.management.test_command import integrity

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from django.test import Client

    from tests.conftest import Tune
    from tests.integration.management.test_command import Run

__all__ = ["integrity", "viewer"]  # fixtures
pytestmark = pytest.mark.usefixtures("committed")

DSR = {"actor": "support:12", "reference": "DSR-123", "reason": "<asked> by letter"}
HTML = ("support:12", "DSR-123", "&lt;asked&gt; by letter")


def erased(name: str, **said: str) -> Deletion:
    user = User.objects.create(username=name)
    key = user.pk
    if said:
        with capture.because(**said):
            user.delete()
    else:
        user.delete()
    return log_rows.deletion_of(key, parent="auth.User")


@pytest.fixture
def verified(converge: Callable[[], Any], tune: Tune) -> Callable[[], None]:
    def run() -> None:
        converge()
        for database in ("blog_db", "shop_db"):
            verification.verify(database)

    tune(grace_seconds=1e-6)
    return run


class TestWhereItIsShown:
    def test_on_the_pages(self, viewer: Client) -> None:
        said, silent = erased("ada", **DSR), erased("bob")
        for page in ("deletion", "receipt"):
            shown = text(viewer, page, "default", said.pk)
            assert all(each in shown for each in HTML)
            assert "Deleted by" not in text(viewer, page, "default", silent.pk)

    def test_as_text_and_as_json(self, integrity: Run, viewer: Client) -> None:
        said = erased("ada", **DSR)
        printed = " ".join(integrity("receipt", "auth.User", str(said.key)).out.split())
        assert (
            "stated at the delete: by support:12, reference DSR-123, because <asked> by letter"
            in printed
        )
        document = json.loads(integrity("receipt", "auth.User", str(said.key), "--json").out)
        downloaded = viewer.get(url("receipt_json", "default", said.pk)).json()
        for receipt in (document, downloaded):
            found = {name: receipt["deletion"][name] for name in ("actor", "reference", "because")}
            assert found == {
                "actor": "support:12",
                "reference": "DSR-123",
                "because": "<asked> by letter",
            }
        silent = erased("bob")
        assert "stated" not in integrity("receipt", "auth.User", str(silent.key)).out

    def test_in_no_log_and_no_message(
        self, caplog: pytest.LogCaptureFixture, converge: Callable[[], Any]
    ) -> None:
        with caplog.at_level(logging.DEBUG, logger="integrity"):
            erased("ada", **DSR)
            converge()
        ours = [each.getMessage() for each in caplog.records if each.name.startswith("integrity")]
        assert not [each for each in ours if "DSR-123" in each or "support:12" in each]


class TestSearch:
    def test_the_list_finds_a_reference_and_nothing_else(self, viewer: Client) -> None:
        one, two = erased("ada", **DSR), erased("bob", reference="DSR-123")
        erased("eve", reference="DSR-1234")
        erased("joe")
        page = viewer.get(f"{url('deletions')}?reference=+DSR-123+").context["page"]
        assert [row.pk for row in page.rows] == [two.pk, one.pk]
        assert page.total == 2
        page = viewer.get(f"{url('deletions')}?reference=dsr-123").context["page"]
        assert page.rows == []
        both = f"{url('deletions')}?reference=DSR-123&state=recorded&model=auth.User&key={one.key}"
        assert [row.pk for row in viewer.get(both).context["page"].rows] == [one.pk]

    def test_the_page_of_a_deletion_links_to_the_others(self, viewer: Client) -> None:
        one, two = erased("ada", reference="a/b &c"), erased("bob", reference="a/b &c")
        shown = text(viewer, "deletion", "default", one.pk)
        address = shown.partition('<dt>Reference</dt><dd><a href="')[2].partition('"')[0]
        page = viewer.get(address.replace("&amp;", "&")).context["page"]
        assert [row.pk for row in page.rows] == [two.pk, one.pk]

    @pytest.mark.usefixtures("new_log")
    def test_an_index_serves_it(self) -> None:
        log_rows.make("auth.User", [str(10**6 + n) for n in range(3_000)], [])
        erased("ada", **DSR)
        wanted = lists.Wanted(using="default", reference="DSR-123")
        assert len(lists.deletions(wanted).rows) == 1
        rows = Deletion.objects.filter(lists.tables.referring("DSR-123"))
        table = "TABLE " if connection.vendor == "mysql" else ""
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {table}integrity_deletion")
            if table:
                cursor.fetchall()
        assert "integrity_deletion_reference" in rows.explain()


class TestExport:
    def test_those_of_a_reference(self, integrity: Run, verified: Callable[[], None]) -> None:
        said = [erased("ada", **DSR), erased("bob", reference="DSR-123")]
        erased("eve", reference="DSR-1234")
        verified()
        outcome = integrity("receipts", "--reference", "DSR-123")
        found = [json.loads(line)["deletion"] for line in outcome.out.splitlines()]
        assert [each["id"] for each in found] == [row.pk for row in said]
        assert found[0]["actor"] == "support:12"
        assert outcome.code == 0, outcome.err
        assert not Audit.objects.filter(verb=exports.VERB).exists()
        assert exports.exported_until(using="default") is None

    def test_the_table_has_it(self, integrity: Run, verified: Callable[[], None]) -> None:
        erased("ada", actor="=cmd", reference="DSR-123", reason="r")
        verified()
        outcome = integrity("receipts", "--reference", "DSR-123", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(outcome.out)))
        assert {(row["actor"], row["reference"], row["because"]) for row in rows} == {
            ("'=cmd", "DSR-123", "r")
        }

    def test_what_has_not_ended_is_counted(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        erased("ada", **DSR)
        verified()
        erased("bob", **DSR)
        erased("eve", reference="another")
        outcome = integrity("receipts", "--reference", "DSR-123")
        assert len(outcome.out.splitlines()) == 1
        assert outcome.code == 4
        assert "1 of the deletions" in outcome.err

    def test_a_reference_of_none_is_an_error(self, integrity: Run) -> None:
        erased("ada", **DSR)
        outcome = integrity("receipts", "--reference", "DSR-9")
        assert outcome.code == 1
        assert "no deletion with this reference" in outcome.err


class TestAdmin:
    @pytest.fixture
    def root(self, client: Client) -> User:
        root = User.objects.create_superuser("root")
        client.force_login(root)
        return root

    def actors(self) -> list[str]:
        return list(Deletion.objects.order_by("pk").values_list("actor", flat=True))

    def test_the_delete_button(self, client: Client, root: User) -> None:
        gone = User.objects.create(username="ada")
        address = reverse("admin:auth_user_delete", args=[gone.pk])
        assert client.post(address, {"post": "yes"}).status_code == HTTPStatus.FOUND
        assert self.actors() == [f"auth.User:{root.pk}"]

    def test_the_delete_action(self, client: Client, root: User) -> None:
        users = User.objects.bulk_create(User(username=f"user {n}") for n in range(3))
        data = {
            "action": "delete_selected",
            "post": "yes",
            ACTION_CHECKBOX_NAME: [str(each.pk) for each in users],
        }
        address = reverse("admin:auth_user_changelist")
        assert client.post(address, data).status_code == HTTPStatus.FOUND
        assert self.actors() == [f"auth.User:{root.pk}"] * 3
        User.objects.create(username="later").delete()
        assert self.actors()[-1] == ""

    def test_an_admin_who_deletes_themselves(self, client: Client, root: User) -> None:
        address = reverse("admin:auth_user_delete", args=[root.pk])
        client.post(address, {"post": "yes"})
        assert self.actors() == [f"auth.User:{root.pk}"]

    def test_what_is_stated_around_it_comes_first(self, client: Client, root: User) -> None:
        gone = User.objects.create(username="ada")
        address = reverse("admin:auth_user_delete", args=[gone.pk])
        with capture.because(actor="script:1", reference="DSR-123"):
            client.post(address, {"post": "yes"})
        [row] = Deletion.objects.all()
        assert (row.actor, row.reference) == ("script:1", "DSR-123")
