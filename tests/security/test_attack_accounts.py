"""What staff may delete, see and search through the admin: as much as in one database, no more."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connections
from django.test import Client
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity import exceptions, relations
from apps.integrity.control import circuit_breaker
from apps.integrity.dashboard import figures, log_pages, permissions
from apps.integrity.dashboard.keys import CHARACTERS, HIDDEN
from apps.integrity.exceptions import FiguresUnavailable
from apps.integrity.models import KEY_CHARS, Audit, ChildDatabase, Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.relations import Catalogue, discovery
from apps.shop.models import Order
from tests import log_rows
from tests.busy_tables import locked_table
from tests.kinds import rights_urls
from tests.kinds.left import models as left
from tests.kinds.lite import models as lite
from tests.kinds.parents import models as parents
from tests.kinds.right import models as right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpResponse

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")


def staff(name: str, *codenames: str, **fields: Any) -> User:
    user = User.objects.create(username=name, **{"is_staff": True, **fields})
    found = Permission.objects.filter(codename__in=codenames)
    assert {each.codename for each in found} == {*codenames}
    user.user_permissions.set(found)
    return user


def logged_in(user: User | None) -> Client:
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client


def deleting(*models: Any) -> list[str]:
    return [f"delete_{model._meta.model_name}" for model in models]


@dataclass(frozen=True, slots=True)
class Chain:
    """A parent with rows of `models`, all of which go with it."""

    make: Callable[[], Any]
    models: tuple[Any, ...]


def library() -> Any:
    """Into a second database, and from there into a third."""
    parent = parents.Library.objects.create()
    book = left.Book.objects.create(library=parent)
    left.Page.objects.create(book=book)
    right.BookNote.objects.create(book=book)
    return parent


def tenant() -> Any:
    """Nothing elsewhere refers to it, but to what it takes along in its own database."""
    parent = parents.Tenant.objects.create()
    left.AccountNote.objects.create(account=parents.Account.objects.create(tenant=parent))
    return parent


def mixed() -> Any:
    """Into SQLite."""
    parent = parents.Mixed.objects.create()
    lite.Line.objects.create(note=lite.Note.objects.create(mixed=parent))
    return parent


def station() -> Any:
    """Along plain columns: one with the primary key, one with another value, one in SQLite."""
    parent = parents.Station.objects.create(code="north@sea.example")
    event = left.Event.objects.create(station_code="north@sea.example")
    left.EventNote.objects.create(event=event)
    lite.Reading.objects.create(station_key=parent.pk)
    return parent


def plant() -> Any:
    """Along a declared GenericForeignKey."""
    parent = parents.Plant.objects.create()
    kind = ContentType.objects.get_for_model(parents.Plant)
    note = left.Note.objects.create(content_type_id=kind.pk, object_id=parent.pk)
    left.NoteReply.objects.create(note=note)
    return parent


def album() -> Any:
    """Below the border along a GenericRelation."""
    parent = parents.Album.objects.create()
    picture = left.Picture.objects.create(album=parent)
    kind = ContentType.objects.using("test_left").get_or_create(app_label="left", model="picture")
    left.Tag.objects.create(content_type_id=kind[0].pk, object_id=picture.pk)
    return parent


def forest() -> Any:
    """Below the border along a key to the same model."""
    parent = parents.Forest.objects.create()
    above = left.Node.objects.create(forest=parent)
    left.Node.objects.create(forest=parents.Forest.objects.create(), above=above)
    return parent


def lineage() -> Any:
    """A multi-table child below the border."""
    parent = parents.Lineage.objects.create()
    left.Derived.objects.create(lineage=parent)
    return parent


def series() -> Any:
    """Below the border along a `to_field`."""
    parent = parents.Series.objects.create()
    numbered = left.Numbered.objects.create(series=parent, number=7)
    left.NumberedPart.objects.create(numbered=numbered)
    return parent


CHAINS = {
    "library": Chain(library, (left.Book, left.Page, right.BookNote)),
    "tenant": Chain(tenant, (parents.Account, left.AccountNote)),
    "mixed": Chain(mixed, (lite.Note, lite.Line)),
    "station": Chain(station, (left.Event, left.EventNote, lite.Reading)),
    "plant": Chain(plant, (left.Note, left.NoteReply)),
    "album": Chain(album, (left.Picture, left.Tag)),
    "forest": Chain(forest, (left.Node,)),
    "lineage": Chain(lineage, (left.Base, left.Derived)),
    "series": Chain(series, (left.Numbered, left.NumberedPart)),
}
LINKS = [(name, model) for name, chain in CHAINS.items() for model in chain.models]


def page_of(row: Any) -> str:
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_delete", args=[row.pk])


def action(client: Client, row: Any, **more: str) -> HttpResponse:
    meta = row._meta
    data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [str(row.pk)], **more}
    return client.post(reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"), data)


def is_refused(client: Client, row: Any) -> set[str]:
    """The models that the page and the action name, both of which refuse."""
    page, selected = client.get(page_of(row)), action(client, row)
    assert page.context["perms_lacking"] == selected.context["perms_lacking"]
    assert "permission to delete the following types of objects" in page.content.decode()
    assert client.post(page_of(row), {"post": "yes"}).status_code == 403
    assert action(client, row, post="yes").status_code == 403
    assert type(row)._base_manager.filter(pk=row.pk).exists()
    assert "recorded" not in log_rows.states()
    return set(page.context["perms_lacking"])


@pytest.mark.urls("tests.kinds.rights_urls")
class TestDeleting:
    """`delete_…` of every registered model that goes along, in whatever database, or a 403."""

    @pytest.mark.parametrize(
        ("name", "without"), LINKS, ids=[f"{n}-{m._meta.label}" for n, m in LINKS]
    )
    def test_one_permission_less_refuses(self, name: str, without: Any) -> None:
        row = CHAINS[name].make()
        others = [model for model in CHAINS[name].models if model is not without]
        meta = row._meta
        user = staff("clerk", f"view_{meta.model_name}", *deleting(type(row), *others))
        assert is_refused(logged_in(user), row) == {without._meta.verbose_name}

    @pytest.mark.parametrize("name", CHAINS)
    def test_with_all_of_them_it_is_deleted(self, name: str) -> None:
        row = CHAINS[name].make()
        models = (type(row), *CHAINS[name].models)
        client = logged_in(staff("clerk", f"view_{row._meta.model_name}", *deleting(*models)))
        assert not client.get(page_of(row)).context["perms_lacking"]
        assert client.post(page_of(row), {"post": "yes"}).status_code == 302
        assert not type(row)._base_manager.filter(pk=row.pk).exists()

    def test_where_no_such_row_goes_none_is_needed(self) -> None:
        library()
        lonely = parents.Library.objects.create()
        client = logged_in(staff("clerk", "view_library", "delete_library"))
        assert client.post(page_of(lonely), {"post": "yes"}).status_code == 302
        assert right.BookNote.objects.count() == 1

    def test_tags_of_another_kind_need_none(self) -> None:
        """A GenericRelation takes rows of its own content type alone."""
        parent = parents.Album.objects.create()
        picture = left.Picture.objects.create(album=parent)
        kinds = ContentType.objects.using("test_left")
        other, _ = kinds.get_or_create(app_label="left", model="box")
        left.Tag.objects.create(content_type_id=other.pk, object_id=picture.pk)
        client = logged_in(staff("clerk", "view_album", *deleting(parents.Album, left.Picture)))
        assert client.post(page_of(parent), {"post": "yes"}).status_code == 302

    def test_a_key_that_is_set_to_null_needs_none(self) -> None:
        giver = parents.Giver.objects.create()
        left.Nulled.objects.create(giver=giver)
        left.Defaulted.objects.create(giver=giver)
        client = logged_in(staff("clerk", "view_giver", "delete_giver"))
        assert client.post(page_of(giver), {"post": "yes"}).status_code == 302

    def test_nor_one_below_the_border_or_a_model_without_an_admin(self) -> None:
        """`Label` is set to null, and `Item` is not registered."""
        root = parents.Root.objects.create()
        shelf = left.Shelf.objects.create(root=root)
        left.Label.objects.create(shelf=shelf)
        box = left.Box.objects.create(pk=1, shelf=shelf)
        left.Item.objects.create(box=box)
        client = logged_in(
            staff("clerk", "view_root", *deleting(parents.Root, left.Shelf, left.Box))
        )
        assert client.post(page_of(root), {"post": "yes"}).status_code == 302

    @pytest.mark.parametrize("superuser", [False, True])
    def test_an_admin_that_decides_for_each_row_is_asked_for_each(self, *, superuser: bool) -> None:
        root = parents.Root.objects.create()
        shelf = left.Shelf.objects.create(root=root)
        left.Box.objects.bulk_create(left.Box(pk=pk, shelf=shelf) for pk in (1, 3, 5, 6))
        codenames = () if superuser else deleting(parents.Root, left.Shelf, left.Box)
        user = staff("clerk", "view_root", *codenames, is_superuser=superuser)
        assert is_refused(logged_in(user), root) == {"box"}
        left.Box.objects.filter(pk=6).delete()
        assert logged_in(user).post(page_of(root), {"post": "yes"}).status_code == 302

    def test_more_rows_than_it_can_be_asked_for_are_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = parents.Root.objects.create()
        shelf = left.Shelf.objects.create(root=root)
        left.Box.objects.bulk_create(left.Box(pk=pk, shelf=shelf) for pk in (1, 3, 5))
        monkeypatch.setattr(permissions, "ROWS", 3)
        assert is_refused(logged_in(User.objects.create_superuser("root")), root) == {"box"}
        monkeypatch.setattr(permissions, "ROWS", 4)
        client = logged_in(User.objects.get())
        assert client.post(page_of(root), {"post": "yes"}).status_code == 302

    def test_every_row_of_a_large_selection_is_looked_at(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not just those that belong to the first of its parts."""
        monkeypatch.setattr("apps.integrity.capture.protection.walk.KEYS", 1)
        roots = [parents.Root.objects.create() for _ in range(3)]
        shelves = [left.Shelf.objects.create(root=each) for each in roots]
        for pk, shelf in zip((1, 3, 4), shelves, strict=True):
            left.Box.objects.create(pk=pk, shelf=shelf)
        client = logged_in(User.objects.create_superuser("root"))
        data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [each.pk for each in roots]}
        page = client.post(reverse("admin:parents_root_changelist"), {**data, "post": "yes"})
        assert page.status_code == 403
        assert parents.Root.objects.count() == 3

    @pytest.mark.parametrize("down", ["test_left", "test_right"])
    def test_what_cannot_be_asked_is_refused_and_says_nothing_of_the_server(
        self, down: str, refuse: Callable[[str], Any]
    ) -> None:
        row = library()
        user = staff("clerk", "view_library", *deleting(parents.Library, left.Book, left.Page))
        client = logged_in(user)
        with refuse(down):
            page = client.get(page_of(row), follow=True)
            assert "book note" in page.context["perms_lacking"]
            assert "your permission to delete them cannot be checked" in page.content.decode()
            says_nothing_of_a_server(page)
            assert client.post(page_of(row), {"post": "yes"}).status_code == 403
        assert parents.Library.objects.exists()

    def test_too_many_keys_to_look_at_are_refused(self, tune: Tune) -> None:
        row = library()
        left.Book.objects.create(library=row)
        left.Book.objects.create(library=row)
        tune(protect_keys=2)
        user = staff("clerk", "view_library", *deleting(parents.Library, left.Book, left.Page))
        assert logged_in(user).post(page_of(row), {"post": "yes"}).status_code == 403

    def test_who_may_delete_all_is_asked_nothing_elsewhere(self, captured: Captured) -> None:
        """No database is read, so that none that is down refuses them."""
        client = logged_in(User.objects.create_superuser("root"))
        for row in (library(), tenant(), mixed()):
            with captured:
                assert client.post(page_of(row), {"post": "yes"}).status_code == 302
            assert captured["test_left"] == captured["test_right"] == captured["test_lite"] == []


SERVER = re.compile(r"127\.0\.0\.1|localhost|port \d|server at|user \"")


def says_nothing_of_a_server(page: HttpResponse) -> None:
    assert not SERVER.search(page.content.decode()), SERVER.search(page.content.decode())


@pytest.mark.urls("tests.kinds.rights_urls")
class TestCounts:
    """The page counts rows of models that the account may see, and names no other."""

    def lines(self, client: Client, row: Any) -> list[str]:
        found = re.findall(r"<li>([^<]*)", client.get(page_of(row)).content.decode())
        return [line.strip() for line in found]

    @pytest.mark.parametrize("kind", ["view", "change", "delete"])
    def test_of_what_the_account_may_see(self, kind: str) -> None:
        giver = parents.Giver.objects.create()
        left.Nulled.objects.create(giver=giver)
        left.Defaulted.objects.create(giver=giver)
        codenames = ("view_giver", "delete_giver", f"{kind}_nulled")
        found = self.lines(logged_in(staff("clerk", *codenames)), giver)
        assert "test_left: 1 nulled (SET_NULL)" in found
        assert not any("default" in line for line in found)

    def test_of_what_it_may_see_below_what_it_may_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Shelves have no admin here, so nobody needs a permission to delete them, or to see."""
        monkeypatch.delitem(rights_urls.site._registry, left.Shelf)
        root = parents.Root.objects.create()
        left.Box.objects.create(pk=1, shelf=left.Shelf.objects.create(root=root))
        found = self.lines(logged_in(staff("clerk", *deleting(parents.Root, left.Box))), root)
        assert "test_left: 1 box (CASCADE)" in found
        assert not any("shelf" in line for line in found)

    def test_of_nothing_where_it_may_see_nothing(self, captured: Captured) -> None:
        giver = parents.Giver.objects.create()
        left.Nulled.objects.create(giver=giver)
        client = logged_in(staff("clerk", "view_giver", "delete_giver"))
        with captured:
            page = client.get(page_of(giver)).content.decode()
        assert not any(word in page for word in ("other databases", "test_left", "nulled"))
        assert captured["test_left"] == []

    def test_of_a_model_without_an_admin_by_its_permission(self) -> None:
        """As `Valued`, which only superusers and who was given the permission may see."""
        giver = parents.Giver.objects.create()
        left.Valued.objects.create(giver=giver)
        for codenames, seen in (((), False), (("view_valued",), True)):
            user = staff(f"clerk-{seen}", "view_giver", "delete_giver", *codenames)
            found = self.lines(logged_in(user), giver)
            assert any("1 valued" in line for line in found) is seen

    def test_a_database_that_is_down_is_named_without_its_server(
        self, refuse: Callable[[str], Any]
    ) -> None:
        giver = parents.Giver.objects.create()
        client = logged_in(User.objects.create_superuser("root"))
        with refuse("test_left"):
            page = client.get(page_of(giver))
        assert "test_left: cannot be counted now" in page.content.decode()
        says_nothing_of_a_server(page)

    def test_after_the_delete_no_database_is_named_to_who_may_not_look(self) -> None:
        user = staff("clerk", "view_giver", "delete_giver")
        row = parents.Giver.objects.create()
        page = logged_in(user).post(page_of(row), {"post": "yes"}, follow=True)
        told = " ".join(map(str, page.context["messages"]))
        assert "in other databases follows in the background" in told
        assert "test_left" not in told


def know(patch: pytest.MonkeyPatch, parents: set[str]) -> None:
    """Let the catalogue hold the relations of those parents alone; pages then cost less."""
    found = relations.discover().relations
    chosen = Catalogue(tuple(each for each in found if each.parent._meta.label in parents))
    patch.setattr(discovery, "_known", [chosen])


MAIL = "ann@example.org"


@pytest.mark.urls("tests.kinds.rights_urls")
class TestKeys:
    """An e-mail address that is a key is shown to who may look at its parent, and to no other."""

    PAGES = ("deletions/", "deletions/default/{}/", "deletions/default/{}/receipt/", "scans/")

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        know(monkeypatch, {"auth.User", "parents.Person", "parents.Word"})

    @pytest.fixture
    def rows(self) -> dict[str, Deletion]:
        """By a `to_field`, by a natural primary key, of a scan, and of a name that nobody knows.

        Suspects have the address as well: one by a `to_field`, one by its primary key.
        """
        person, word = "parents.Person", "parents.Word"
        Suspect.objects.create(
            parent=person, relation="left.Badge.person", field="code", value=MAIL
        )
        Suspect.objects.create(parent=word, relation="left.WordUse.word", value=MAIL)
        made = Deletion.objects.bulk_create(
            [
                Deletion(parent=person, key="7", targets={"code": MAIL}, source="api"),
                Deletion(parent=word, key=MAIL, source="api"),
                Deletion(
                    parent=person,
                    targets={"code": MAIL},
                    relation="left.Badge.person",
                    source="scan",
                ),
                Deletion(parent="gone.Model", key=MAIL, source="api"),
            ]
        )
        return dict(zip(("to_field", "natural", "scanned", "unknown"), made, strict=True))

    def shown(self, client: Client, rows: dict[str, Deletion]) -> set[str]:
        """Where the address is shown."""
        found = set()
        for name, row in rows.items():
            for path in (*self.PAGES, "deletions/default/{}/receipt.json"):
                page = client.get(DASHBOARD + path.format(row.pk))
                assert page.status_code == 200
                found |= {(name, path)} if MAIL in page.content.decode() else set()
        return {f"{name} {path}" if "{}" in path else path for name, path in found}

    def test_who_may_only_see_the_dashboard_sees_none(self, rows: dict[str, Deletion]) -> None:
        client = logged_in(staff("viewer", "view_dashboard"))
        assert self.shown(client, rows) == set()
        page = client.get(f"{DASHBOARD}deletions/default/{rows['natural'].pk}/")
        assert HIDDEN in page.content.decode()
        document = client.get(f"{DASHBOARD}deletions/default/{rows['to_field'].pk}/receipt.json")
        assert json.loads(document.content)["deletion"]["targets"] == {"code": HIDDEN}
        assert json.loads(document.content)["deletion"]["key"] == "7"

    def test_who_may_view_the_parent_sees_its_own(self, rows: dict[str, Deletion]) -> None:
        lists = {"deletions/", "scans/"}
        of_words = logged_in(staff("viewer", "view_dashboard", "view_word"))
        seen = self.shown(of_words, rows)
        assert seen >= lists
        assert all(each.startswith("natural") for each in seen - lists)
        of_persons = logged_in(staff("other", "view_dashboard", "change_person"))
        seen = self.shown(of_persons, rows)
        assert seen >= lists
        assert not any(each.startswith(("natural", "unknown")) for each in seen)
        for client in (of_words, of_persons):  # the suspect of the one, and not of the other
            page = client.get(f"{DASHBOARD}scans/").content.decode()
            assert (page.count(MAIL), HIDDEN in page) == (1, True)

    def test_a_name_that_nobody_knows_is_shown_to_superusers(
        self, rows: dict[str, Deletion]
    ) -> None:
        seen = self.shown(logged_in(User.objects.create_superuser("root")), rows)
        assert "unknown deletions/default/{}/receipt.json" in seen

    def test_the_search_is_no_oracle(self, rows: dict[str, Deletion]) -> None:
        def answers(client: Client) -> set[str]:
            found = set()
            for key in (MAIL, "bob@x.example"):
                query = {"key": key, "model": "parents.Word"}
                context = client.get(f"{DASHBOARD}deletions/", query).context
                rows = context["page"].rows if context["page"] else ()
                found |= {context["error"], *(str(row.pk) for row in rows)}
            return found

        blind = answers(logged_in(staff("viewer", "view_dashboard")))
        assert blind == {"your account may not look at these parents, so not search their keys"}
        seeing = answers(logged_in(staff("other", "view_dashboard", "view_word")))
        assert str(rows["natural"].pk) in seeing

    def test_without_a_model_only_what_may_be_searched_is(self, rows: dict[str, Deletion]) -> None:
        client = logged_in(staff("viewer", "view_dashboard"))
        page = client.get(f"{DASHBOARD}deletions/", {"key": MAIL})
        assert page.context["page"] is None or page.context["page"].rows == []
        page = client.get(f"{DASHBOARD}deletions/", {"key": "7"})
        assert [row.pk for row in page.context["page"].rows] == [rows["to_field"].pk]

    def test_one_account_is_not_shown_what_was_computed_for_another(
        self, rows: dict[str, Deletion], tune: Tune
    ) -> None:
        tune(figures_seconds=60)
        root = logged_in(User.objects.create_superuser("root"))
        assert MAIL in root.get(f"{DASHBOARD}scans/").content.decode()
        viewer = logged_in(staff("viewer", "view_dashboard"))
        assert MAIL not in viewer.get(f"{DASHBOARD}scans/").content.decode()
        figures.forget()

    def test_a_key_without_an_end_is_cut(self) -> None:
        """The longest that the log holds is longer than what is shown, and a value has no end."""
        key, value = "k" * KEY_CHARS, {"code": "k" * 5_000}
        made = Deletion.objects.bulk_create(
            [
                Deletion(parent="parents.Word", key=key, source="api"),
                Deletion(parent="parents.Person", targets=value, source="api"),
            ]
        )
        Suspect.objects.create(parent="parents.Word", relation="left.WordUse.word", value=key)
        client = logged_in(User.objects.create_superuser("root"))
        for row in made:
            for path in self.PAGES:
                page = client.get(DASHBOARD + path.format(row.pk)).content.decode()
                assert "k" * (CHARACTERS + 1) not in page


DASHBOARD = "/admin/integrity/dashboard/"
METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
#: Route → the permission that it needs; those of acts take POST alone.
ROUTES = {
    "": "view",
    "deletions/": "view",
    "processes/": "view",
    "deletions/default/{pk}/": "view",
    "deletions/default/{pk}/receipt/": "view",
    "deletions/default/{pk}/receipt.json": "view",
    "relations/": "view",
    "scans/": "view",
    "repair/?relation=blog.Post.author": "view",
    "audit/": "view",
    "guide/": "view",
    "guide/brake/": "view",
    "pause/": "operate",
    "resume/": "operate",
    "retry/": "operate",
    "deletions/retry/": "operate",
    "deletions/acknowledge/": "operate",
    "deletions/default/{pk}/retry/": "operate",
    "deletions/default/{pk}/acknowledge/": "operate",
    "scan/": "operate",
    "repair/apply/": "repair",
}
ACCOUNTS: dict[str, tuple[str, ...] | None] = {
    "anonymous": None,
    "inactive": ("view", "operate", "repair"),
    "visitor": ("view", "operate", "repair"),
    "staff": (),
    "delete_user": (),
    "viewer": ("view",),
    "operator without view": ("operate",),
    "operator": ("view", "operate"),
    "repairer": ("view", "operate", "repair"),
    "superuser": ("view", "operate", "repair"),
}
#: Those that the admin itself turns away.
OUTSIDE = {"anonymous", "inactive", "visitor"}
DATA = {
    "database": "blog_db",
    "reason": "why",
    "relation": "blog.Post.author",
    "confirmation": "blog.Post.author",
}


def account(name: str) -> Client:
    granted = ACCOUNTS[name]
    if granted is None:
        return logged_in(None)
    codenames = [f"{each}_dashboard" for each in granted]
    if name == "delete_user":
        codenames = ["view_user", "delete_user"]
    fields = {
        "inactive": {"is_active": False},
        "visitor": {"is_staff": False},
        "superuser": {"is_superuser": True},
    }.get(name, {})
    return logged_in(staff(name, *(() if name == "superuser" else codenames), **fields))


class TestRoutes:
    """20 routes, 10 accounts, 8 methods: who gets what."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        know(monkeypatch, {"auth.User", "blog.Post"})

    @pytest.fixture
    def gone(self) -> Deletion:
        ann = User.objects.create(username="gone")
        Post.objects.create(title="t", content="c", author=ann)
        pk = ann.pk
        ann.delete()
        return Deletion.objects.get(key=str(pk))

    def test_every_route_is_here(self) -> None:
        from apps.integrity.dashboard.urls import _ROUTES

        written = {re.sub(r"default/\{pk\}", "<>", each.partition("?")[0]) for each in ROUTES}
        known = {re.sub(r"<str:using>/<int:pk>", "<>", each) for each in _ROUTES}
        known = {each.replace("<str:kind>", "brake") for each in known}
        assert written == known

    @pytest.mark.parametrize("name", ACCOUNTS)
    def test_who_gets_what(self, name: str, gone: Deletion) -> None:
        client, granted = account(name), ACCOUNTS[name] or ()
        for route, needed in ROUTES.items():
            path = DASHBOARD + route.format(pk=gone.pk)
            for method in METHODS:
                answer = getattr(client, method)(path, DATA if method == "post" else {})
                assert answer.status_code in self.expected(name, granted, needed, method), (
                    route,
                    method,
                    answer.status_code,
                )
        # What changed nothing is not audited: retry, acknowledge and repair find nothing here.
        acted = {"pause", "resume", "scan"} if "operate" in granted else set()
        if name in OUTSIDE:
            acted = set()
        assert {*Audit.objects.values_list("verb", flat=True)} == acted
        assert Post.objects.count() == 1

    def expected(
        self, name: str, granted: tuple[str, ...], needed: str, method: str
    ) -> tuple[int, ...]:
        if name in OUTSIDE:
            return (302,)
        wanted = ("get", "head") if needed == "view" else ("post",)
        if method not in wanted:
            return (405,)
        if needed not in granted:
            return (403,)
        return (200,) if needed == "view" else (200, 302)

    @pytest.mark.parametrize("route", [each for each, need in ROUTES.items() if need != "view"])
    def test_an_act_without_its_token_is_refused(self, route: str, gone: Deletion) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create_superuser("root"))
        answer = client.post(DASHBOARD + route.format(pk=gone.pk), DATA)
        assert answer.status_code == 403
        assert not Audit.objects.exists()

    @pytest.mark.parametrize("name", ACCOUNTS)
    def test_the_index_offers_the_dashboard_to_who_may_see_it(self, name: str) -> None:
        page = account(name).get(reverse("admin:index"), follow=True).content.decode()
        assert (f'href="{DASHBOARD}"' in page) is (
            name not in OUTSIDE and "view" in (ACCOUNTS[name] or ())
        )

    @pytest.mark.parametrize("name", ACCOUNTS)
    def test_nobody_writes_the_log(self, name: str, gone: Deletion) -> None:
        client = account(name)
        for path in ("add/", f"{gone.pk}/change/", f"{gone.pk}/delete/", f"{gone.pk}/history/"):
            for method in ("get", "post"):
                answer = getattr(client, method)(f"{DASHBOARD}{path}", {"post": "yes"})
                assert answer.status_code in {302, 404}
        assert Deletion.objects.filter(pk=gone.pk).exists()

    def test_delete_user_alone_deletes_no_content(self) -> None:
        """The attack: one permission on users, and posts and orders of other databases went."""
        ann = User.objects.create(username="ann")
        Comment.objects.create(
            post=Post.objects.create(title="t", content="c", author=ann), author=ann, content="c"
        )
        Order.objects.create(order_number="1", customer=ann, total=1)
        lacking = is_refused(logged_in(staff("clerk", "view_user", "delete_user")), ann)
        assert lacking == {"post", "comment", "order"}
        dispatch.sweep_all()
        assert (Post.objects.count(), Order.objects.count()) == (1, 1)

    def test_while_a_database_is_down_no_page_tells_where_it_is(
        self, gone: Deletion, refuse: Callable[[str], Any]
    ) -> None:
        client = logged_in(User.objects.create_superuser("root"))
        with refuse("blog_db"):
            error = exceptions.DatabaseUnreachable("blog_db", _refused("blog_db"))
            circuit_breaker.write_outage(error, using="default")
            for route, needed in ROUTES.items():
                if needed == "view":
                    page = client.get(DASHBOARD + route.format(pk=gone.pk))
                    assert page.status_code == 200
                    says_nothing_of_a_server(page)


class TestAway:
    """Each route while a log is away, or takes too long: the page says so, and nothing is a 500."""

    #: A relation whose parent, and so whose log, is in that database.
    RELATIONS: ClassVar = {"test_left": "right.BookNote.book", "test_lite": "left.Quote.author"}

    @pytest.fixture(params=RELATIONS)
    def using(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def root(self) -> Client:
        return logged_in(User.objects.create_superuser("root"))

    @pytest.fixture
    def only(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def chosen(*labels: str) -> None:
            relations_now = relations.discover().relations
            found = Catalogue(tuple(each for each in relations_now if each.label in labels))
            monkeypatch.setattr(discovery, "_known", [found])

        return chosen

    @pytest.fixture
    def away(self, refuse: Callable[[str], Any]) -> Callable[[str], Any]:
        """Nobody listens; or the file is not there."""

        @contextmanager
        def gone(using: str) -> Iterator[None]:
            connection = connections[using]
            connection.close()
            with refuse(using), pytest.MonkeyPatch.context() as patch:
                if connection.vendor == "sqlite":
                    patch.setitem(connection.settings_dict, "NAME", "/nowhere/log.sqlite3")
                yield
                connection.close()

        return gone

    def answers(self, client: Client, using: str, data: dict[str, str]) -> dict[str, Any]:
        """Of each route, with what an act tells on the next page."""
        figures.forget()
        found = {}
        for route, needed in ROUTES.items():
            path = route.replace("default", using).format(pk=1)
            path = path.replace("blog.Post.author", data["relation"])
            ask = client.get if needed == "view" else client.post
            found[route] = ask(DASHBOARD + path, {} if needed == "view" else data, follow=True)
        assert not [each for each, answer in found.items() if answer.status_code == 500]
        for answer in found.values():
            says_nothing_of_a_server(answer)
        return found

    def unanswered(self, answers: dict[str, Any]) -> set[str]:
        """Routes that show nothing but why. A document has a status of its own."""
        for route, answer in answers.items():
            assert answer.status_code == (503 if "error" in answer.text[:9] else 200), route
        return {
            each for each, a in answers.items() if "ix-unanswered" in a.text or a.status_code != 200
        } - {"", *self.ACTS}

    #: Of one deletion, in that log.
    OWN = (
        "deletions/default/{pk}/",
        "deletions/default/{pk}/receipt/",
        "deletions/default/{pk}/receipt.json",
    )
    ACTS = tuple(each for each, needed in ROUTES.items() if needed != "view")

    def test_one_of_two_logs(
        self,
        root: Client,
        only: Callable[..., None],
        away: Callable[[str], Any],
        using: str,
        gone: Deletion,
    ) -> None:
        relation = self.RELATIONS[using]
        only("blog.Post.author", relation)
        child = relations.catalogue().relation(relation).child_databases[0]
        data = {**DATA, "relation": relation, "confirmation": relation, "database": child}
        with away(using):
            found = self.answers(root, using, data)
            assert self.unanswered(found) == {*self.OWN}
            for route in (*self.OWN, "scans/", "relations/", "", *self.ACTS):
                assert using in found[route].content.decode(), route
            assert "blog.Post.author" in found["scans/"].content.decode()
            for page in ("deletions", "audit"):
                other = root.get(f"{DASHBOARD}{page}/", {"log": using})
                assert (other.status_code, other.context["logs"][0]) == (200, "default")
                assert f"Database {using} cannot be reached: " in other.text
        # The other log took what was asked of it.
        assert ChildDatabase.objects.filter(alias=child).exists()

    def test_the_only_log(
        self,
        root: Client,
        only: Callable[..., None],
        away: Callable[[str], Any],
        using: str,
    ) -> None:
        relation = self.RELATIONS[using]
        only(relation)
        child = relations.catalogue().relation(relation).child_databases[0]
        data = {**DATA, "relation": relation, "confirmation": relation, "database": child}
        with away(using):
            found = self.answers(root, using, data)
        unanswered = {"deletions/", "processes/", "relations/", "scans/", "audit/", *self.OWN}
        assert self.unanswered(found) == unanswered
        for route in unanswered:
            assert f"Database {using} cannot be reached: " in found[route].text
        for route in ("", *self.ACTS):
            assert using in found[route].text, route

    def test_a_log_that_is_slow(
        self, root: Client, only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody alters its tables. What one tab computes, the others do not wait for."""
        only("blog.Post.author", "right.BookNote.book")
        monkeypatch.setattr(log_pages, "STATEMENT_SECONDS", 0.2)
        for name in ("overview", "scans", "suspected"):
            monkeypatch.setattr(figures, name, _unavailable)
        code = TOO_LONG[connections["test_left"].vendor]
        with locked_table("test_left", "integrity_deletion"):
            for route in self.OWN:
                answer = root.get(DASHBOARD + route.replace("default", "test_left").format(pk=1))
                assert answer.status_code == (503 if route.endswith("json") else 200)
                assert f"refuses what was asked: OperationalError {code}" in answer.text
            for page in ("deletions", "audit"):
                answer = root.get(f"{DASHBOARD}{page}/?log=test_left")
                assert (code in answer.text) is (page == "deletions")
        for route in ("", "relations/", "scans/"):
            answer = root.get(DASHBOARD + route)
            assert (answer.status_code, "within 5 s" in answer.text) == (200, True)

    def test_the_failed_attempts_of_one_that_are_slow(
        self, root: Client, gone: Deletion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_pages, "STATEMENT_SECONDS", 0.2)
        dispatch.sweep_all()
        with locked_table("default", "integrity_failedattempt"):
            answer = root.get(f"{DASHBOARD}deletions/default/{gone.pk}/")
        code = TOO_LONG[connections["default"].vendor]
        assert f"refuses what was asked: OperationalError {code}" in answer.text

    @pytest.fixture
    def gone(self) -> Deletion:
        User.objects.create(username="gone").delete()
        return Deletion.objects.latest("pk")


#: The server's code for a statement that has taken too long.
TOO_LONG = {"postgresql": "57014", "mysql": "1969"}


def _unavailable() -> None:
    raise FiguresUnavailable(5)


def _refused(alias: str) -> Exception:
    try:
        connections[alias].ensure_connection()
    except OperationalError as error:
        return error
    raise AssertionError(f"{alias} answers")
