"""Adoption seen from outside: migrations are clean, PROTECT and RESTRICT answer at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.utils import NestedObjects
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, models, router
from django.db.models.deletion import Collector, ProtectedError, RestrictedError

from apps.blog.models import Post
from apps.integrity.exceptions import ChildDatabaseUnavailable, CrossDatabaseError, UnusablePolicy
from apps.integrity.models import Deletion
from apps.shop.models import Order
from tests.kinds.left.models import Collected, Protecting, Seal, Vault
from tests.kinds.parents.models import Guarded, Owner, Safe, Stubborn
from tests.kinds.right.models import Restricting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")


def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("alias", ["default", "blog_db", "shop_db"])
def test_migrate_has_nothing_to_do_and_nothing_to_remark(
    alias: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("migrate", database=alias, verbosity=1)
    out = capsys.readouterr().out
    assert "No migrations to apply" in out
    assert "not yet reflected" not in out


class TestProtect:
    @pytest.fixture
    def guarded(self) -> Guarded:
        return Guarded.objects.create()

    def test_it_raises_djangos_own_error_with_the_objects(self, guarded: Guarded) -> None:
        row = Protecting.objects.create(guarded=guarded)
        with pytest.raises(ProtectedError, match=r"'Protecting\.guarded'") as caught:
            guarded.delete()
        assert caught.value.protected_objects == {row}
        assert Guarded.objects.get() == guarded
        assert Deletion.objects.count() == 0

    def test_restrict_does_likewise(self, guarded: Guarded) -> None:
        row = Restricting.objects.create(guarded=guarded)
        with pytest.raises(RestrictedError, match=r"'Restricting\.guarded'") as caught:
            Guarded.objects.all().delete()
        assert caught.value.restricted_objects == {row}
        assert Guarded.objects.get() == guarded
        assert Deletion.objects.count() == 0

    def test_rows_of_others_protect_nobody(self, guarded: Guarded) -> None:
        other = Guarded.objects.create()
        Protecting.objects.create(guarded=other)
        Restricting.objects.create(guarded=other)
        guarded.delete()
        assert Guarded.objects.get() == other
        assert Deletion.objects.count() == 1

    def test_the_answer_is_asked_in_the_childs_database_and_bounded(
        self, guarded: Guarded, tune: Tune, captured: Captured
    ) -> None:
        tune(protect_limit=3)
        Protecting.objects.bulk_create(Protecting(guarded=guarded) for _ in range(9))
        with captured, pytest.raises(ProtectedError) as caught:
            guarded.delete()
        assert len(caught.value.protected_objects) == 3
        assert not [sql for sql in captured["default"] if "protecting" in sql]
        assert len([sql for sql in captured["test_left"] if "LIMIT 3" in sql]) == 1

    @pytest.mark.parametrize(
        ("alias", "relation"),
        [("test_left", "left.Protecting.guarded"), ("test_right", "right.Restricting.guarded")],
    )
    def test_a_database_that_cannot_be_asked_refuses_the_delete(
        self, guarded: Guarded, refuse: Callable[[str], Any], alias: str, relation: str
    ) -> None:
        with refuse(alias), pytest.raises(ChildDatabaseUnavailable) as caught:
            guarded.delete()
        assert isinstance(caught.value, CrossDatabaseError)
        assert relation in str(caught.value)
        assert f"{alias!r} cannot be asked" in str(caught.value)
        assert Guarded.objects.get() == guarded
        assert Deletion.objects.count() == 0

    @pytest.mark.parametrize("kept_seconds", [0, 60])
    def test_a_table_that_is_not_there_is_named_with_the_remedy(
        self,
        guarded: Guarded,
        renamed: Callable[[str, str], Any],
        monkeypatch: pytest.MonkeyPatch,
        kept_seconds: int,
    ) -> None:
        monkeypatch.setitem(connections["test_left"].settings_dict, "CONN_MAX_AGE", kept_seconds)
        connections["test_left"].close()
        with (
            renamed("test_left", "left_protecting"),
            pytest.raises(ChildDatabaseUnavailable) as caught,
        ):
            guarded.delete()
        said = str(caught.value)
        assert "no table 'left_protecting' in 'test_left'" in said
        assert "Run `manage.py migrate --database test_left`, and delete again" in said
        assert "when 'test_left' answers" not in said
        assert Guarded.objects.get() == guarded

    def test_it_is_asked_below_a_parent_that_nothing_protects_directly(self) -> None:
        safe, other = Safe.objects.create(), Safe.objects.create()
        Vault.objects.create(safe=other)
        seal = Seal.objects.create(vault=Vault.objects.create(safe=safe))
        other.delete()
        with pytest.raises(ProtectedError, match=r"'Seal\.vault'") as caught:
            safe.delete()
        assert caught.value.protected_objects == {seal}
        assert Safe.objects.get() == safe

    def test_other_policies_need_no_answer(self, refuse: Callable[[str], Any]) -> None:
        owner = Owner.objects.create()
        with refuse("test_left"), refuse("test_right"):
            owner.delete()
        assert Deletion.objects.count() == 1

    def test_the_confirmation_page_lists_what_protects(self, guarded: Guarded) -> None:
        rows = {
            Protecting.objects.create(guarded=guarded),
        }
        collector = NestedObjects(using="default", origin=guarded)
        collector.collect([guarded])
        assert set(collector.protected) == rows

    def test_the_confirmation_page_lists_what_restricts(self, guarded: Guarded) -> None:
        rows = {Restricting.objects.create(guarded=guarded)}
        collector = NestedObjects(using="default", origin=guarded)
        collector.collect([guarded])
        assert set(collector.protected) == rows


def test_collecting_has_no_effect_and_asks_nobody_elsewhere(captured: Captured) -> None:
    user = User.objects.create(username="ann")
    Post.objects.create(title="t", content="c", author=user)
    Order.objects.create(order_number="1", customer=user, total=1)
    with captured:
        Collector(using="default", origin=user).collect([user])
        NestedObjects(using="default", origin=user).collect([user])
    assert captured["blog_db"] == captured["shop_db"] == []
    assert (Post.objects.count(), Order.objects.count()) == (1, 1)
    assert Deletion.objects.count() == 0


def test_the_collector_builds_no_queryset_for_rows_elsewhere_that_nothing_asks_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Django 6.1 looks for an `on_delete` in a set, by its hash; 5.2 and 6.0 compare it."""
    built: list[type[models.Model]] = []
    related_objects = Collector.related_objects

    def build(self: Collector, model: type[models.Model], *rest: Any) -> Any:
        built.append(model)
        return related_objects(self, model, *rest)

    monkeypatch.setattr(Collector, "related_objects", build)
    users = User.objects.bulk_create(User(username=f"{number}") for number in range(300))
    User.objects.all().delete()
    assert {router.db_for_write(model) for model in built} == {"default"}
    assert Deletion.objects.count() == len(users)


def test_an_on_delete_that_cannot_be_carried_out_refuses_the_delete() -> None:
    stubborn = Stubborn.objects.create()
    Collected.objects.create(stubborn=stubborn)
    with pytest.raises(UnusablePolicy, match=r"^left\.Collected\.stubborn: its on_delete"):
        stubborn.delete()
    assert Stubborn.objects.get() == Collected.objects.get().stubborn
    assert Deletion.objects.count() == 0


def test_accessors_still_ask_the_right_database(captured: Captured) -> None:
    user = User.objects.create(username="ann")
    post = Post.objects.create(title="t", content="c", author=user)
    with captured:
        assert Post.objects.get(pk=post.pk).author == user
        assert list(user.blog_posts.all()) == [post]
        assert not User.objects.prefetch_related("orders").get().orders.all()
    assert len(captured["default"]) == 2
    assert len(captured["blog_db"]) == 2
    assert len(captured["shop_db"]) == 1
