# ruff: noqa: PT012 (what is rolled back is more than one statement)
"""A deletion is recorded with the delete: once, in its transaction, or not at all."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections, models, transaction
from django.db.models.signals import post_delete, pre_delete

from apps.blog.models import Comment, Post
from apps.integrity import capture, relations
from apps.integrity.exceptions import InvalidKey, ParentStillExists, UnknownName
from apps.integrity.models import Deletion
from apps.integrity.signals import deletion_recorded
from apps.shop.models import Order
from tests.kinds.left.models import Book
from tests.kinds.lite.models import Author
from tests.kinds.parents.models import (
    Account,
    Desk,
    Owner,
    OwnerProxy,
    Person,
    Place,
    Restaurant,
    Tenant,
    Token,
    Word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")


class Oops(Exception):
    pass


def recorded(using: str = "default") -> list[tuple[str, str]]:
    rows = Deletion.objects.using(using).order_by("parent", "key")
    return list(rows.values_list("parent", "key"))


def users(number: int) -> list[User]:
    return User.objects.bulk_create(User(username=f"user-{n}") for n in range(number))


@pytest.fixture
def announced() -> Iterator[list[tuple[str, tuple[str, ...], str]]]:
    found: list[tuple[str, tuple[str, ...], str]] = []

    def note(parent: str, keys: tuple[str, ...], using: str, **_: object) -> None:
        found.append((parent, keys, using))

    deletion_recorded.connect(note)
    yield found
    deletion_recorded.disconnect(note)


class TestEveryWayToDelete:
    def test_an_instance(self) -> None:
        kept, gone = users(2)
        key = gone.pk
        gone.delete()
        assert recorded() == [("auth.User", str(key))]
        [row] = Deletion.objects.all()
        assert (row.state, row.source, row.targets) == ("recorded", "signal", None)
        assert User.objects.get() == kept

    def test_a_queryset(self) -> None:
        keys = sorted(str(each.pk) for each in users(5))
        User.objects.filter(username__startswith="user-").delete()
        assert sorted(key for _, key in recorded()) == keys

    def test_a_related_manager(self) -> None:
        tenant = Tenant.objects.create()
        account = tenant.account_set.create()
        tenant.account_set.all().delete()
        assert recorded() == [("parents.Account", str(account.pk))]

    def test_a_proxy_is_recorded_as_the_model_behind_it(self) -> None:
        one, two = OwnerProxy.objects.create(), OwnerProxy.objects.create()
        keys = sorted([str(one.pk), str(two.pk)])
        OwnerProxy.objects.get(pk=one.pk).delete()
        OwnerProxy.objects.filter(pk=two.pk).delete()
        assert recorded() == [("parents.Owner", key) for key in keys]

    def test_a_multi_table_child_is_recorded_for_both_of_its_tables(self) -> None:
        restaurant = Restaurant.objects.create(code="a")
        key = str(restaurant.pk)
        restaurant.delete()
        assert recorded() == [("parents.Place", key), ("parents.Restaurant", key)]

    def test_deleting_the_upper_table_takes_the_lower_one_along(self) -> None:
        key = str(Restaurant.objects.create(code="a").pk)
        Place.objects.get().delete()
        assert recorded() == [("parents.Place", key), ("parents.Restaurant", key)]

    def test_kept_parents_are_alive_and_not_recorded(self) -> None:
        restaurant = Restaurant.objects.create(code="a")
        key = str(restaurant.pk)
        restaurant.delete(keep_parents=True)
        assert Place.objects.count() == 1
        assert recorded() == [("parents.Restaurant", key)]

    def test_a_local_cascade_chain_records_the_parents_that_it_takes_along(self) -> None:
        tenant = Tenant.objects.create()
        account = Account.objects.create(tenant=tenant)
        desks = [Desk.objects.create(account=account) for _ in range(3)]
        kept = Account.objects.create(tenant=Tenant.objects.create())
        tenant.delete()
        assert recorded() == [
            ("parents.Account", str(account.pk)),
            *(("parents.Desk", key) for key in sorted(str(desk.pk) for desk in desks)),
        ]
        assert Account.objects.get() == kept

    def test_a_child_that_is_a_parent_elsewhere_is_recorded_beside_itself(self) -> None:
        book = Book.objects.create(library_id=1)
        key = str(book.pk)
        book.delete()
        assert recorded("test_left") == [("left.Book", key)]
        assert recorded() == []

    def test_a_parent_on_another_kind_of_database(self) -> None:
        author = Author.objects.create()
        key = str(author.pk)
        author.delete()
        assert recorded("test_lite") == [("lite.Author", key)]
        assert recorded() == []

    @pytest.mark.parametrize(
        "text", ["plain", "it's", 'a "b"', "50%", "%s", "a,{b}", "\\", "ß→", ""]
    )
    def test_a_key_of_odd_characters(self, text: str) -> None:
        Word.objects.create(text=text).delete()
        assert recorded() == [("parents.Word", text)]

    def test_a_uuid_key(self) -> None:
        token = Token.objects.create()
        key = str(token.pk)
        token.delete()
        assert recorded() == [("parents.Token", key)]

    def test_the_value_of_another_target_field_is_kept_with_the_key(self) -> None:
        Person.objects.create(code="ann", number="1.50").delete()
        Person.objects.create(code="bob").delete()
        targets = Deletion.objects.order_by("pk").values_list("targets", flat=True)
        assert list(targets) == [
            {"code": "ann", "number": "1.50"},
            {"code": "bob", "number": None},
        ]

    def test_an_unsaved_change_of_a_target_field_is_not_what_is_recorded(self) -> None:
        person = Person.objects.create(code="saved")
        person.code = "never saved"
        person.delete()
        assert Deletion.objects.get().targets == {"code": "saved", "number": None}

    def test_an_unsaved_change_of_an_inherited_target_field_is_not_what_is_recorded(self) -> None:
        restaurant = Restaurant.objects.create(code="saved")
        restaurant.code = "never saved"
        restaurant.delete()
        assert Deletion.objects.get(parent="parents.Place").targets == {"code": "saved"}

    def test_a_loop_of_deletes_in_one_transaction(self) -> None:
        found = users(5)
        keys = sorted(str(each.pk) for each in found)
        with transaction.atomic():
            for user in found:
                user.delete()
        assert sorted(key for _, key in recorded()) == keys

    def test_a_delete_in_a_receiver_of_a_delete(self) -> None:
        one, two = users(2)
        keys = sorted([str(one.pk), str(two.pk)])

        def delete_two(instance: User, **_: object) -> None:
            if instance.pk == one.pk:
                User.objects.get(pk=two.pk).delete()

        pre_delete.connect(delete_two, sender=User)
        try:
            one.delete()
        finally:
            pre_delete.disconnect(delete_two, sender=User)
        assert sorted(key for _, key in recorded()) == keys

    def test_deleting_a_copy_on_another_alias_records_nothing(self) -> None:
        Owner(pk=7).save(using="test_right")
        Owner.objects.create(pk=7)
        Owner(pk=7).delete(using="test_right")
        Owner(pk=7).save(using="test_right")
        Owner.objects.using("test_right").all().delete()
        assert recorded() == []

    def test_deleting_no_row_records_nothing(self) -> None:
        User.objects.none().delete()
        User.objects.filter(username="nobody").delete()
        assert recorded() == []


class TestOneTransaction:
    def test_an_outer_rollback_leaves_nothing(self, announced: list[Any]) -> None:
        [user] = users(1)
        with pytest.raises(Oops), transaction.atomic():
            user.delete()
            assert len(recorded()) == 1
            raise Oops
        assert (recorded(), announced, User.objects.count()) == ([], [], 1)

    def test_a_savepoint_rollback_leaves_nothing_but_what_is_around_it(
        self, announced: list[Any]
    ) -> None:
        one, two = users(2)
        key = str(one.pk)
        with transaction.atomic():
            one.delete()
            with pytest.raises(Oops), transaction.atomic():
                two.delete()
                raise Oops
        assert recorded() == [("auth.User", key)]
        assert announced == [("auth.User", (key,), "default")]
        assert User.objects.count() == 1

    @pytest.mark.parametrize("signal", [pre_delete, post_delete], ids=["pre", "post"])
    def test_an_exception_in_a_later_receiver_leaves_nothing(
        self, signal: Any, announced: list[Any]
    ) -> None:
        def fail(**_: object) -> None:
            raise Oops

        [user] = users(1)
        signal.connect(fail, sender=User)
        try:
            with pytest.raises(Oops):
                user.delete()
        finally:
            signal.disconnect(fail, sender=User)
        assert (recorded(), announced, User.objects.count()) == ([], [], 1)

    def test_a_failed_delete_condemns_nobody_when_it_is_tried_again(self) -> None:
        one, two = users(2)
        both = User.objects.all()
        failing = True

        def fail(instance: User, **_: object) -> None:
            if failing and instance.pk == two.pk:
                raise Oops

        pre_delete.connect(fail, sender=User)
        try:
            with transaction.atomic():
                with pytest.raises(Oops), transaction.atomic():
                    both.delete()
                failing = False
                User.objects.filter(pk=two.pk).delete()
        finally:
            pre_delete.disconnect(fail, sender=User)
        assert recorded() == [("auth.User", str(two.pk))]
        assert User.objects.get() == one

    def test_nobody_hears_of_a_deletion_before_its_commit(self, announced: list[Any]) -> None:
        [user] = users(1)
        with transaction.atomic():
            user.delete()
            assert announced == []
        assert len(announced) == 1

    def test_a_receiver_of_the_announcement_that_fails_does_not_fail_the_delete(self) -> None:
        def fail(**_: object) -> None:
            raise Oops

        deletion_recorded.connect(fail)
        try:
            users(1)[0].delete()
        finally:
            deletion_recorded.disconnect(fail)
        assert len(recorded()) == 1

    def test_an_announcement_that_breaks_down_does_not_fail_the_delete(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**_: object) -> None:
            raise Oops

        [user] = users(1)
        monkeypatch.setattr(deletion_recorded, "send_robust", fail)
        later: list[str] = []
        with transaction.atomic():
            user.delete()
            transaction.on_commit(lambda: later.append("called"))
        assert len(recorded()) == 1
        assert later == ["called"]

    def test_without_autocommit_the_deletion_still_goes_with_the_delete(self) -> None:
        [user] = users(1)
        transaction.set_autocommit(False)
        try:
            user.delete()
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)
        assert (recorded(), User.objects.count()) == ([], 1)


class TestCost:
    @pytest.mark.postgresql
    def test_a_delete_costs_one_insert_and_no_query_elsewhere(
        self, captured: Captured, without_the_app: Callable[[], Any]
    ) -> None:
        one, two = users(2)
        with captured:
            one.delete()
        ours, elsewhere = captured["default"], [captured[each] for each in connections]
        with without_the_app(), captured:
            two.delete()
        plain = captured["default"]
        assert [sql.split()[0] for sql in ours if "integrity_" not in sql] == [
            sql.split()[0] for sql in plain
        ]
        [added] = [sql for sql in ours if "integrity_" in sql]
        assert added.startswith("INSERT INTO integrity_deletion")
        assert sum(map(bool, elsewhere)) == 1  # default alone

    @pytest.mark.parametrize(("parents", "inserts"), [(1, 1), (2_000, 1), (2_001, 2), (5_000, 3)])
    def test_a_queryset_delete_inserts_in_batches_before_the_commit(
        self, captured: Captured, parents: int, inserts: int
    ) -> None:
        users(parents)
        with captured:
            User.objects.all().delete()
        sql = captured["default"]
        assert len(captured.inserts()) == inserts
        assert (sql.count("BEGIN"), sql.count("COMMIT")) == (1, 1)
        assert sql.index("BEGIN") < sql.index(captured.inserts()[0])
        assert sql[-1] == "COMMIT"
        assert Deletion.objects.count() == parents
        assert not captured["blog_db"]
        assert not captured["shop_db"]

    @pytest.mark.postgresql
    def test_models_that_are_no_parents_keep_their_fast_delete(
        self, captured: Captured, without_the_app: Callable[[], Any]
    ) -> None:
        def delete_all() -> list[str]:
            Order.objects.bulk_create(
                Order(order_number=f"{n}", customer_id=1, total=1) for n in range(3)
            )
            with captured:
                Order.objects.all().delete()
            return [sql.split("(")[0] for sql in captured["shop_db"]]

        ours = delete_all()
        with without_the_app():
            assert delete_all() == ours
        assert ours == ["BEGIN", 'DELETE FROM "shop_order"', "COMMIT"]

    def test_a_cascade_inside_one_database_is_what_it_was(
        self, captured: Captured, without_the_app: Callable[[], Any]
    ) -> None:
        def delete_post() -> list[str]:
            post = Post.objects.create(title="a", content="b", author_id=1)
            Comment.objects.create(post=post, author_id=1, content="c")
            with captured:
                post.delete()
            return [sql.split("(")[0] for sql in captured["blog_db"]]

        ours = delete_post()
        with without_the_app():
            assert delete_post() == ours

    @pytest.fixture
    def without_the_app(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
        """A block in which nothing is tracked and nothing crosses databases."""

        class Block:
            def __enter__(self) -> None:
                for relation in relations.catalogue().relations:
                    monkeypatch.setattr(relation.field.remote_field, "on_delete", models.DO_NOTHING)
                for signal in (pre_delete, post_delete):
                    monkeypatch.setattr(signal, "receivers", [])
                    signal.sender_receivers_cache.clear()

            def __exit__(self, *_: object) -> None:
                monkeypatch.undo()
                for signal in (pre_delete, post_delete):
                    signal.sender_receivers_cache.clear()

        return Block


class TestRecord:
    """`capture.record`, for deletes that send no signal."""

    def test_it_logs_keys_that_raw_sql_deleted_in_the_same_transaction(
        self, announced: list[Any]
    ) -> None:
        keys = sorted(each.pk for each in users(3))
        with transaction.atomic():
            with connections["default"].cursor() as cursor:
                cursor.execute("DELETE FROM auth_user")
            given = capture.record((User, keys), using="default")
            assert announced == []
        assert sorted(given) == sorted(map(str, keys))  # in the order of the server's plan
        assert recorded() == [("auth.User", key) for key in sorted(given)]
        assert set(Deletion.objects.values_list("source", flat=True)) == {"api"}
        assert announced == [("auth.User", tuple(given), "default")]

    def test_it_takes_instances_after_a_raw_delete_with_the_values_they_had(self) -> None:
        people = [Person.objects.create(code=code) for code in ("ann", "bob")]
        with transaction.atomic():
            Person.objects.all()._raw_delete("default")
            capture.record(people, using="default")
        assert [row.targets for row in Deletion.objects.order_by("pk")] == [
            {"code": "ann", "number": None},
            {"code": "bob", "number": None},
        ]

    def test_bare_keys_are_refused_where_a_relation_holds_another_field(self) -> None:
        person = Person.objects.create(code="ann")
        key = person.pk
        Person.objects.all()._raw_delete("default")
        with pytest.raises(InvalidKey, match=r"code.*instances"):
            capture.record((Person, [key]), using="default")
        assert not Deletion.objects.exists()

    def test_it_takes_instances_of_several_models(self) -> None:
        word, token = Word.objects.create(text="a"), Token.objects.create()
        Word.objects.all()._raw_delete("default")
        Token.objects.all()._raw_delete("default")
        capture.record([word, token], using="default")
        assert recorded() == [("parents.Token", str(token.pk)), ("parents.Word", "a")]

    def test_it_takes_a_proxy_for_the_model_behind_it(self) -> None:
        capture.record((OwnerProxy, [1]), using="default")
        capture.record([OwnerProxy(pk=2)], using="default")
        assert recorded() == [("parents.Owner", "1"), ("parents.Owner", "2")]

    def test_a_key_is_logged_once_however_often_it_is_given(self) -> None:
        assert capture.record((User, [1, "1", 1]), using="default") == ["1"]

    def test_a_rollback_takes_it_along(self, announced: list[Any]) -> None:
        with pytest.raises(Oops), transaction.atomic():
            capture.record((User, [1]), using="default")
            raise Oops
        assert (recorded(), announced) == ([], [])

    def test_nothing_given_is_nothing_logged(self) -> None:
        assert capture.record([], using="default") == []
        assert capture.record((User, []), using="default") == []
        assert recorded() == []

    def test_a_living_parent_is_refused_and_the_callers_block_rolled_back(self) -> None:
        alive, gone = users(2)
        keys = [alive.pk, gone.pk]
        refused = pytest.raises(ParentStillExists, match=rf"User {alive.pk} still has a row")
        with refused, transaction.atomic():
            User.objects.filter(pk=gone.pk)._raw_delete("default")
            capture.record((User, keys), using="default")
        assert recorded() == []
        assert User.objects.count() == 2

    @pytest.mark.parametrize("parents", [(Order, [1]), [Order(pk=1)], (Comment, [1])])
    def test_a_model_that_no_relation_points_to_is_refused(self, parents: Any) -> None:
        with pytest.raises(UnknownName, match=r"known: .*auth\.User"):
            capture.record(parents, using="default")

    @pytest.mark.parametrize(
        "parents",
        [
            (User, ["abc"]),
            (User, [None]),
            (Token, [1]),
            (Word, [None]),
            [User()],
            [Word(text=None)],
        ],
    )
    def test_a_key_that_its_field_cannot_hold_is_refused(self, parents: Any) -> None:
        with pytest.raises(InvalidKey):
            capture.record(parents, using="default")
        assert recorded() == []

    def test_a_text_longer_than_the_key_is_not_taken_for_its_beginning(self) -> None:
        Word.objects.create(text="a" * 12)
        assert capture.record((Word, ["a" * 13]), using="default") == ["a" * 13]

    def test_a_uuid_is_taken_in_any_form(self) -> None:
        key = uuid.uuid4()
        assert capture.record((Token, [key, str(key), key.hex]), using="default") == [str(key)]
