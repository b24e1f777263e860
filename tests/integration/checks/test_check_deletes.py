"""W025: what a plain admin deletes elsewhere without a question, and what is said of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib import admin as django_admin
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.test import RequestFactory

from apps.blog.models import Comment, Post
from apps.integrity.admin import CrossDatabaseAdminMixin
from apps.integrity.contrib.admin import permission_checks
from apps.integrity.models import Deletion
from apps.shop.models import Order
from tests.kinds.left import models as left
from tests.kinds.lite import models as lite
from tests.kinds.parents import models as parents
from tests.kinds.right import models as right

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.checks import CheckMessage
    from django.db.models import Model

pytestmark = pytest.mark.usefixtures("committed")


class PlainAdmin(ModelAdmin):
    pass


class MixedAdmin(CrossDatabaseAdminMixin, ModelAdmin):
    pass


class LateAdmin(ModelAdmin, CrossDatabaseAdminMixin):
    """Django's methods come first."""


class OwnAdmin(PlainAdmin):
    def get_deleted_objects(self, objs: Any, request: Any) -> Any:
        return super().get_deleted_objects(objs, request)


class OwnMixedAdmin(MixedAdmin):
    def get_deleted_objects(self, objs: Any, request: Any) -> Any:
        return super().get_deleted_objects(objs, request)


class RefusingAdmin(PlainAdmin):
    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        """Nobody."""
        return False


class DecidingAdmin(PlainAdmin):
    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return bool(request.user.username != "eve")


class SomeAdmin(PlainAdmin):
    """Refuses some, which is not to refuse."""

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        if obj is not None:
            return super().has_delete_permission(request, obj)
        return False


class AllowingAdmin(PlainAdmin):
    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return True


def user() -> Any:
    made = User.objects.create(username="ann")
    Comment.objects.create(
        post=Post.objects.create(title="t", content="c", author=made), author=made, content="c"
    )
    Order.objects.create(order_number="1", customer=made, total=1)
    return made


def library() -> Any:
    made = parents.Library.objects.create()
    book = left.Book.objects.create(library=made)
    right.BookNote.objects.create(book=book)
    return made


def tenant() -> Any:
    """Nothing elsewhere refers to it, but to what it takes along in its own database."""
    made = parents.Tenant.objects.create()
    left.AccountNote.objects.create(account=parents.Account.objects.create(tenant=made))
    return made


def mixed() -> Any:
    """Into SQLite."""
    made = parents.Mixed.objects.create()
    lite.Line.objects.create(note=lite.Note.objects.create(mixed=made))
    return made


#: A parent, and models elsewhere of which rows go with it.
SAMPLES: dict[Callable[[], Any], tuple[type[Model], ...]] = {
    user: (Comment, Post, Order),
    library: (left.Book, right.BookNote),
    tenant: (left.AccountNote,),
    mixed: (lite.Line, lite.Note),
}
MODELS = {
    user: User,
    library: parents.Library,
    tenant: parents.Tenant,
    mixed: parents.Mixed,
}


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(name="of this test")


def told(*sites: AdminSite) -> list[CheckMessage]:
    """What is said of these sites; those of other tests are alive for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.contrib.admin.sites.all_sites", sites)
        return permission_checks.unasked()


def delete(site: AdminSite, parent: Model) -> None:
    """What Django does for staff who may delete such parents, and nothing else."""
    meta = parent._meta
    staff = User.objects.create(username="staff", is_staff=True)
    codename = f"delete_{meta.model_name}"
    staff.user_permissions.set(
        Permission.objects.filter(codename=codename, content_type__app_label=meta.app_label)
    )
    request: Any = RequestFactory().post("/", {"post": "yes"})
    request.user = User.objects.get(pk=staff.pk)
    request._messages = SimpleNamespace(add=lambda *_args: None)
    request._dont_enforce_csrf_checks = True
    site.get_model_admin(type(parent)).delete_view(request, str(parent.pk))


@pytest.mark.parametrize("make", SAMPLES)
@pytest.mark.parametrize("kind", [PlainAdmin, LateAdmin, OwnAdmin])
def test_what_it_names_deletes_without_a_question(
    site: AdminSite, make: Callable[[], Any], kind: type[ModelAdmin]
) -> None:
    site.register(MODELS[make], kind)
    site.register(SAMPLES[make], PlainAdmin)
    (found,) = [
        each for each in told(site) if f"along with {MODELS[make]._meta.label}," in each.msg
    ]
    assert (found.id, found.obj) == ("integrity.W025", kind)
    assert any(model._meta.label in found.msg for model in SAMPLES[make])
    assert f"class {kind.__name__}(CrossDatabaseAdminMixin, ...)" in str(found.hint)
    parent = make()
    delete(site, parent)
    assert not MODELS[make].objects.filter(pk=parent.pk).exists()
    assert Deletion.objects.exists()


@pytest.mark.parametrize("make", SAMPLES)
@pytest.mark.parametrize("kind", [MixedAdmin, OwnMixedAdmin])
def test_with_the_mixin_it_asks_and_is_not_named(
    site: AdminSite, make: Callable[[], Any], kind: type[ModelAdmin]
) -> None:
    site.register([MODELS[make], *SAMPLES[make]], kind)
    assert told(site) == []
    parent = make()
    with pytest.raises(PermissionDenied):
        delete(site, parent)
    assert MODELS[make].objects.filter(pk=parent.pk).exists()


def test_the_admin_that_every_project_has_is_named(site: AdminSite) -> None:
    site.register(User, UserAdmin)
    site.register([Post, Order], MixedAdmin)
    [found] = told(site)
    assert found.msg == (
        "django.contrib.auth.admin.UserAdmin of the site 'of this test' deletes blog.Post,"
        " shop.Order in other databases along with auth.User, and does not check the permission"
        " to delete them."
    )
    assert "below admin.site.unregister(User)" in str(found.hint)


def test_each_site_is_looked_at(site: AdminSite) -> None:
    other = AdminSite(name="another")
    for each in (site, other):
        each.register(User, UserAdmin)
        each.register(Post, MixedAdmin)
    assert len(told(site)) == len(told(other)) == 1
    assert len(told(site, other)) == 2


class TestSilence:
    def test_where_the_admin_lets_nobody_delete(self, site: AdminSite) -> None:
        site.register([User, parents.Library, parents.Mixed], RefusingAdmin)
        site.register([Post, left.Book, lite.Note], MixedAdmin)
        assert told(site) == []
        with pytest.raises(PermissionDenied):
            delete(site, user())

    @pytest.mark.parametrize("kind", [DecidingAdmin, SomeAdmin, AllowingAdmin])
    def test_but_not_where_that_cannot_be_told(
        self, site: AdminSite, kind: type[ModelAdmin]
    ) -> None:
        site.register(User, kind)
        site.register(Post, MixedAdmin)
        [found] = told(site)
        assert found.msg.endswith(
            "This check cannot tell whether its has_delete_permission() allows a delete at all."
        )

    def test_where_no_cascade_leaves_the_database(self, site: AdminSite) -> None:
        """Nothing elsewhere refers to it; or its key is emptied, or refuses; or it is a child."""
        site.register(
            [Permission, parents.Giver, parents.Guarded, Post, Comment, Order, left.Book],
            PlainAdmin,
        )
        site.register([left.Nulled, left.Protecting], PlainAdmin)
        assert told(site) == []

    def test_where_what_goes_has_no_admin_there(self, site: AdminSite) -> None:
        """Django asks nothing for such a model in one database either."""
        site.register(User, UserAdmin)
        assert told(site) == []

    def test_of_other_apps_than_those_asked_for(self, site: AdminSite) -> None:
        site.register(User, UserAdmin)
        site.register(Post, MixedAdmin)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("django.contrib.admin.sites.all_sites", [site])
            assert len(permission_checks.unasked(app_configs=[apps.get_app_config("auth")])) == 1
            assert permission_checks.unasked(app_configs=[apps.get_app_config("blog")]) == []

    def test_of_the_sample_project(self) -> None:
        assert told(django_admin.site) == []
        assert django_admin.site.is_registered(User)
        assert django_admin.site.is_registered(Post)
