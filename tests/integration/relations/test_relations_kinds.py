"""Every kind of key, from the parent's delete to the last row, and nobody else's rows touched."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet

from apps.blog.models import Comment, Post
from apps.integrity.models import Cascade, Deletion
from apps.shop.models import Order
from tests import log_rows
from tests.kinds.left.models import (
    AccountNote,
    Badge,
    Book,
    DeskNote,
    Group,
    HiddenUse,
    Invoice,
    Membership,
    Optional,
    Page,
    PlaceNote,
    Profile,
    ProxyUse,
    Quote,
    RestaurantNote,
    Team,
    TokenUse,
    WordUse,
)
from tests.kinds.lite.models import Author, Line, Note
from tests.kinds.parents.models import (
    Account,
    Desk,
    Everywhere,
    Hidden,
    Library,
    Mixed,
    Owner,
    OwnerProxy,
    Person,
    Place,
    Restaurant,
    Tenant,
    Token,
    Word,
)
from tests.kinds.right.models import BookNote, Leaf, Locker
from tests.kinds.spread.models import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Counter

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(autouse=True)
def _all_is_done_in_the_end(committed: None) -> Any:
    yield
    for using in ("default", "test_left", "test_lite"):
        assert set(Cascade.objects.using(using).values_list("state", flat=True)) <= {"done"}
        assert set(log_rows.states(using=using)) <= {"cascaded"}


def test_the_models_of_the_seed(converge: Converge) -> None:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    for user in (ann, bob):
        post = Post.objects.create(title="t", content="c", author=user)
        for writer in (ann, bob, bob):
            Comment.objects.create(post=post, author=writer, content="c")
        Order.objects.create(order_number=user.username, customer=user, total=1)
    ann.delete()
    assert Post.objects.count() == 2  # not in the request
    assert converge() == {
        "blog.Comment.author": 2,
        "blog.Post.author": 1,
        "blog.Comment.post": 2,
        "shop.Order.customer": 1,
    }
    assert Post.objects.get().author == bob
    assert [each.author for each in Comment.objects.all()] == [bob, bob]
    assert Order.objects.get().customer == bob


def test_one_to_one_and_its_key_as_primary_key(converge: Converge) -> None:
    gone, kept = Owner.objects.create(), Owner.objects.create()
    for owner in (gone, kept):
        Profile.objects.create(owner=owner)
    gone.delete()
    assert converge() == {"left.Profile.owner": 1}
    assert Profile.objects.get().pk == kept.pk


def test_links_of_an_explicit_through_model(converge: Converge) -> None:
    gone, kept = Owner.objects.create(), Owner.objects.create()
    group = Group.objects.create()
    for owner in (gone, kept):
        Membership.objects.create(group=group, owner=owner)
    gone.delete()
    assert converge() == {"left.Membership.owner": 1}
    assert Membership.objects.get().owner_id == kept.pk
    assert Group.objects.get() == group


def test_links_that_django_made_the_model_for(converge: Converge) -> None:
    gone, kept = Owner.objects.create(), Owner.objects.create()
    team = Team.objects.create()
    team.members.add(gone, kept)
    gone.delete()
    assert converge() == {"left.Team_members.owner": 1}
    assert Team.members.through.objects.get().owner_id == kept.pk


@pytest.mark.parametrize("model", [Owner, OwnerProxy])
def test_a_key_to_a_proxy_follows_the_row_whoever_deletes_it(
    converge: Converge, model: type[Owner]
) -> None:
    gone, kept = model.objects.create(), model.objects.create()
    for owner in (gone, kept):
        ProxyUse.objects.create(owner_id=owner.pk)
        Leaf.objects.create(owner_id=owner.pk)
    gone.delete()
    assert converge() == {"left.ProxyUse.owner": 1, "right.Leaf.owner": 1}
    assert ProxyUse.objects.get().owner_id == Leaf.objects.get().owner_id == kept.pk


def test_rows_without_a_parent_are_nobodys(converge: Converge) -> None:
    gone = Owner.objects.create()
    for owner in (gone, None, None):
        Optional.objects.create(owner=owner)
    gone.delete()
    assert converge() == {"left.Optional.owner": 1}
    assert list(Optional.objects.values_list("owner", flat=True)) == [None, None]


def test_a_uuid_key(converge: Converge) -> None:
    gone, kept = Token.objects.create(), Token.objects.create()
    for token in (gone, kept):
        TokenUse.objects.create(token=token)
    gone.delete()
    assert converge() == {"left.TokenUse.token": 1}
    assert TokenUse.objects.get().token_id == kept.pk


@pytest.mark.parametrize(
    "text", ["it's", 'a "b"', "50%", "%s", "a,{b}", "\\", "ß→", "", "NULL", " a"]
)
def test_a_text_key_of_odd_characters(converge: Converge, text: str) -> None:
    gone, kept = Word.objects.create(text=text), Word.objects.create(text=f"{text}.")
    for word in (gone, kept, gone):
        WordUse.objects.create(word=word)
    gone.delete()
    assert converge() == {"left.WordUse.word": 2}
    assert WordUse.objects.get().word_id == f"{text}."


def test_keys_that_hold_another_field(converge: Converge) -> None:
    gone, kept = Person(code="ann", number="1.50"), Person(code="bob", number="2.50")
    for person in (gone, kept):
        person.save()
        Badge.objects.create(person=person)
        Invoice.objects.create(person=person)
        Locker.objects.create(person=person)
    gone.delete()
    assert converge() == {
        "left.Badge.person": 1,
        "left.Invoice.person": 1,
        "right.Locker.person": 1,
    }
    assert Badge.objects.get().person_id == "bob"
    assert str(Invoice.objects.get().person_id) == "2.50"
    assert Locker.objects.get().person_id == kept.pk


def test_a_parent_without_a_value_in_that_field_has_no_rows_there(converge: Converge) -> None:
    person = Person.objects.create()
    Locker.objects.create(person=person)
    Invoice.objects.create(person=None)
    person.delete()
    assert converge() == {"right.Locker.person": 1}
    assert Invoice.objects.count() == 1


@pytest.mark.parametrize("keep_parents", [False, True])
def test_multi_table_parents(converge: Converge, *, keep_parents: bool) -> None:
    gone, kept = Restaurant.objects.create(code="a"), Restaurant.objects.create(code="b")
    for restaurant in (gone, kept):
        PlaceNote.objects.create(place=restaurant)
        RestaurantNote.objects.create(restaurant=restaurant)
    gone.delete(keep_parents=keep_parents)
    expected = {"left.RestaurantNote.restaurant": 1}
    assert converge() == expected | ({} if keep_parents else {"left.PlaceNote.place": 1})
    assert PlaceNote.objects.count() == Place.objects.count() == 1 + keep_parents
    assert RestaurantNote.objects.get().restaurant_id == kept.pk


def test_what_the_parents_own_cascade_takes_along(converge: Converge) -> None:
    gone, kept = (Account.objects.create(tenant=Tenant.objects.create()) for _ in range(2))
    for account in (gone, kept):
        AccountNote.objects.create(account=account)
        DeskNote.objects.create(desk=Desk.objects.create(account=account))
    gone.tenant.delete()
    assert converge() == {"left.AccountNote.account": 1, "left.DeskNote.desk": 1}
    assert AccountNote.objects.get().account_id == kept.pk


def test_a_chain_over_three_databases(converge: Converge) -> None:
    gone, kept = Library.objects.create(), Library.objects.create()
    for library in (gone, kept):
        book = Book.objects.create(library=library)
        Page.objects.create(book=book)
        BookNote.objects.create(book=book)
    gone.delete()
    assert converge() == {"left.Book.library": 1, "left.Page": 1, "right.BookNote.book": 1}
    assert Book.objects.get().library_id == kept.pk
    assert Page.objects.get().book == BookNote.objects.get().book == Book.objects.get()


def test_a_child_that_lives_in_two_databases(converge: Converge) -> None:
    gone, kept = Everywhere.objects.create(), Everywhere.objects.create()
    for alias in ("test_left", "test_right"):
        for parent in (gone, kept):
            Entry(everywhere_id=parent.pk).save(using=alias)
    gone.delete()
    assert converge() == {"spread.Entry.everywhere": 2}
    for alias in ("test_left", "test_right"):
        assert Entry.objects.using(alias).get().everywhere_id == kept.pk


@pytest.mark.parametrize("manager", ["a hidden parent", "a visible parent"])
def test_parents_behind_a_filtering_manager(converge: Converge, manager: str) -> None:
    hidden = manager == "a hidden parent"
    gone, kept = (Hidden(hidden=hidden) for _ in range(2))
    for parent in (gone, kept):
        parent.save()
        HiddenUse.objects.create(hidden=parent)
    QuerySet(model=Hidden).filter(pk=gone.pk).delete()
    assert converge() == {"left.HiddenUse.hidden": 1}
    assert HiddenUse.objects.get().hidden_id == kept.pk


class TestMixedEngines:
    def test_a_child_on_sqlite(self, converge: Converge) -> None:
        gone, kept = Mixed.objects.create(), Mixed.objects.create()
        for parent in (gone, kept, gone):
            note = Note.objects.create(mixed=parent)
            Line.objects.create(note=note)
        gone.delete()
        assert converge() == {"lite.Note.mixed": 2, "lite.Line.note": 2}
        assert Line.objects.get().note.mixed_id == kept.pk

    def test_a_parent_and_its_log_on_sqlite(self, converge: Converge) -> None:
        gone, kept = Author.objects.create(), Author.objects.create()
        for author in (gone, kept, gone):
            Quote.objects.create(author=author)
        gone.delete()
        assert converge() == {"left.Quote.author": 2}
        assert Quote.objects.get().author_id == kept.pk

    def test_many_at_once(self, converge: Converge) -> None:
        authors = Author.objects.bulk_create(Author() for _ in range(1_000))
        Quote.objects.bulk_create(Quote(author=each) for each in authors)
        kept = Author.objects.create()
        Quote.objects.create(author=kept)
        Author.objects.exclude(pk=kept.pk).delete()
        assert converge() == {"left.Quote.author": 1_000}
        assert Quote.objects.get().author_id == kept.pk


def test_a_key_that_nobody_refers_to(converge: Converge) -> None:
    Token.objects.create(id=uuid.uuid4()).delete()
    assert converge() == {}
    assert Deletion.objects.get().state == "cascaded"
