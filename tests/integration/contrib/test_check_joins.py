"""What the checks call a JOIN between databases fails on real ones, and what they allow works."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin import AdminSite, ModelAdmin, RelatedOnlyFieldListFilter, SimpleListFilter
from django.contrib.admin import display as column
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db import DatabaseError, models
from django.db.models import F, Min
from django.test import RequestFactory

from apps.blog.models import Comment, Post
from apps.integrity.admin import CrossDatabaseAdminMixin
from apps.integrity.contrib.admin import join_checks as checks
from apps.integrity.contrib.admin import joins
from apps.shop.models import Order
from tests.kinds.left.models import Optional, Profile, Shelf, Team
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.django_db(databases="__all__"),
    # Deprecated since Django 6.1, and still broken between databases.
    pytest.mark.filterwarnings("ignore:Calling select_related.. with no arguments"),
    pytest.mark.filterwarnings("ignore:Setting ModelAdmin.list_select_related to True"),
]

#: Whether Django JOINs the keys that are columns, one by one (since 6.1), or all that are not null.
ONE_BY_ONE = hasattr(ChangeList, "get_select_related_fields")
WRONG = (DatabaseError, ValueError, IncorrectLookupParameters)


def fails(act: Callable[[], object]) -> bool:
    try:
        act()
    except WRONG:
        return True
    return False


# Paths of lookups


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (Post, "title"),
        (Post, "author"),
        (Post, "author_id"),
        (Post, "author__id"),
        (Post, "author__pk"),
        (Post, "author__isnull"),
        (Post, "author__username"),
        (Post, "author__date_joined__year"),
        (Post, "author__groups"),
        (Post, "comments"),
        (Post, "comments__author"),
        (Post, "comments__author__pk"),
        (Post, "comments__author__email"),
        (Comment, "post__title"),
        (Comment, "post__author"),
        (Comment, "post__author_id"),
        (Comment, "post__author__email"),
        (User, "blog_posts"),
        (User, "blog_posts__title"),
        (User, "groups__name"),
        (Order, "customer__orders__order_number"),
        (Team, "members"),
        (Team, "members__pk"),
        (Team, "members__name"),
        (Owner, "name"),
    ],
)
def test_a_lookup(model: type[models.Model], path: str) -> None:
    # An empty `in` would ask no database.
    lookup = path if path.endswith("isnull") else f"{path}__isnull"
    rows = model._default_manager.filter(**{lookup: True})
    assert fails(lambda: list(rows)) == (joins.crossing(model, path) is not None)


@pytest.mark.parametrize("parents_order", [(), ("username",), ("-pk",)])
@pytest.mark.parametrize(
    "path",
    [
        "title",
        "author",
        "-author",
        "author_id",
        "author__pk",
        "author__email",
        "?",
        "comments__author",
    ],
)
def test_an_order(
    path: str, parents_order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User._meta, "ordering", parents_order)
    rows = Post.objects.order_by(path)
    assert fails(lambda: list(rows)) == (joins.sorting(Post, path) is not None)


@pytest.mark.parametrize(
    ("model", "path"), [(Post, "author"), (Comment, "post"), (Comment, "post__author")]
)
def test_a_named_selection(model: type[models.Model], path: str) -> None:
    rows = model._default_manager.select_related(path)
    assert fails(lambda: list(rows)) == (joins.selecting(model, path) is not None)


@pytest.mark.parametrize("model", [Post, Comment, User, Owner, Optional, Shelf])
def test_a_selection_of_everything(model: type[models.Model]) -> None:
    rows = model._default_manager.select_related()
    assert fails(lambda: list(rows)) == (joins.selecting_all(model) is not None)


def test_e007_what_links_between_databases_cannot_do() -> None:
    team, owner = Team.objects.create(), Owner.objects.create()
    team.members.add(owner)
    assert fails(lambda: list(team.members.all()))


def test_e007_nor_this() -> None:
    team, owner = Team.objects.create(), Owner.objects.create()
    assert fails(lambda: team.members.set([owner]))


# Options of an admin


class Recent(SimpleListFilter):
    title, parameter_name = "recent", "recent"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        return [("1", "yes")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset


@column(ordering="author__username")
def writer(row: Any) -> str:
    return str(row.pk)


@column(ordering="author_id")
def key(row: Any) -> str:
    return str(row.pk)


BROKEN: list[tuple[type[models.Model], dict[str, Any], str]] = [
    (Post, {"list_display": ["author"]}, ""),
    # Of the one, Django follows Comment.author, too; the other is nullable.
    (Optional, {"list_display": ["owner"]}, "o=1")
    if ONE_BY_ONE
    else (Comment, {"list_display": ["post"]}, ""),
    (Post, {"list_display": ["title"], "list_select_related": True}, ""),
    (Post, {"list_select_related": ["author"]}, ""),
    (Comment, {"list_select_related": ["post__author"]}, ""),
    (Post, {"list_display": ["pk", "author__username"]}, "o=2"),
    (Post, {"list_display": ["pk", writer]}, "o=2"),
    (Post, {"search_fields": ["author__username"]}, "q=ann"),
    (Comment, {"search_fields": ["content", "^post__author__username"]}, "q=ann"),
    (User, {"search_fields": ["blog_posts__title"]}, "q=ann"),
    (Post, {"ordering": ["author__username"]}, ""),
    (Post, {"ordering": [F("author__username").desc()]}, ""),
    (Post, {"list_filter": ["author__is_staff"]}, "author__is_staff__exact=1"),
    (Post, {"list_filter": [("author", RelatedOnlyFieldListFilter)]}, ""),
    (Post, {"date_hierarchy": "author__date_joined"}, ""),
]
SOUND: list[tuple[type[models.Model], dict[str, Any], str]] = [
    (Post, {"list_display": ["title", "created_at"]}, "o=1"),
    (Post, {"list_display": ["author_id"]}, "o=1"),
    (Post, {"list_display": ["author"], "list_select_related": ()}, "o=1"),
    (Comment, {"list_display": ["post", "author"], "list_select_related": ["post"]}, ""),
    (Comment, {"list_display": ["post"]}, "")
    if ONE_BY_ONE
    else (Optional, {"list_display": ["owner"]}, "o=1"),
    (Profile, {"list_display": ["pk"]}, ""),
    (Post, {"list_display": ["pk", "author__username"], "sortable_by": ["pk"]}, ""),
    (Post, {"list_display": ["pk", key]}, "o=2"),
    (Comment, {"search_fields": ["content", "post__title"]}, "q=ann"),
    (Post, {"ordering": ["-author", "author_id"]}, ""),
    (Post, {"list_filter": ["author", "created_at", Recent]}, "author__id__exact=1"),
    (Comment, {"list_filter": ["post__author"]}, "post__author__id__exact=1"),
    (Post, {"date_hierarchy": "created_at"}, ""),
]
#: What the mixin makes of the broken ones.
MENDED = [0, 1, 2, 3, 5, 7]


def made(model: type[models.Model], options: dict[str, Any], *bases: type) -> Any:
    return type("SomeAdmin", (*bases, ModelAdmin), options)(model, AdminSite())


def show(admin: Any, query: str) -> Iterator[object]:
    """All that Django asks databases for while it shows the list."""
    request = RequestFactory().get(f"/?{query}")
    request.user = User(is_superuser=True, is_active=True)
    request._messages = SimpleNamespace(add=lambda *_args: None)  # type: ignore[attr-defined]
    changes = admin.get_changelist_instance(request)
    yield list(changes.result_list)
    yield [list(each.choices(changes)) for each in changes.filter_specs]
    if admin.date_hierarchy:
        yield changes.queryset.aggregate(first=Min(admin.date_hierarchy))


def found(admin: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(checks, "_registered", lambda: [admin])
    return checks.joined()


@pytest.mark.parametrize(("model", "options", "query"), BROKEN)
def test_w005_an_option_that_breaks_the_list(
    model: type[models.Model], options: dict[str, Any], query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = made(model, options)
    [told] = found(admin, monkeypatch)
    assert (told.id, told.obj) == ("integrity.W005", type(admin))
    assert ".SomeAdmin." in told.msg
    assert any(f".{option} names " in told.msg for option in options)
    assert "{" not in told.hint
    assert fails(lambda: list(show(admin, query)))


@pytest.mark.parametrize(("model", "options", "query"), SOUND)
@pytest.mark.parametrize("bases", [(), (CrossDatabaseAdminMixin,)], ids=["plain", "mixin"])
def test_w005_an_option_that_does_not(
    model: type[models.Model],
    options: dict[str, Any],
    query: str,
    bases: tuple[type, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin = made(model, options, *bases)
    assert found(admin, monkeypatch) == []
    list(show(admin, query))


@pytest.mark.parametrize(("number", "case"), list(enumerate(BROKEN)))
def test_w005_knows_what_the_mixin_mends(
    number: int, case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options, query = case
    admin = made(model, options, CrossDatabaseAdminMixin)
    assert fails(lambda: list(show(admin, query))) == (number not in MENDED)
    assert bool(found(admin, monkeypatch)) == (number not in MENDED)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("get_list_select_related", {"list_select_related": ["author"]}),
        ("get_list_display", {"list_display": ["author"]}),
        ("get_search_fields", {"search_fields": ["author__username"]}),
        ("get_search_results", {"search_fields": ["author__username"]}),
        ("get_ordering", {"ordering": ["author__username"]}),
        ("get_list_filter", {"list_filter": ["author__is_staff"]}),
        ("get_sortable_by", {"list_display": ["pk", "author__username"]}),
    ],
)
def test_w005_is_silent_where_the_project_answers_itself(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {method: lambda self, *_args: ()}
    assert len(found(made(Post, options), monkeypatch)) == 1
    assert found(made(Post, {**options, **own}), monkeypatch) == []


def test_w005_looks_at_every_site_once() -> None:
    class Broken(ModelAdmin):
        ordering = ("author__username",)

    sites = [AdminSite(name=name) for name in ("one", "two")]
    for each in sites:
        each.register(Post, Broken)
    assert [each.obj for each in checks.joined()] == [Broken]
    assert len(sites) == 2
