"""Every policy and every kind of key with MariaDB on either side, whoever deletes and however."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connections, models, transaction
from django.urls import reverse

from apps.blog.models import Comment, Post
from apps.integrity.models import Cascade, Deletion
from apps.shop.models import Order
from tests.kinds.left import models as left
from tests.kinds.parents import models as parents
from tests.kinds.right import models as right

if TYPE_CHECKING:
    from collections.abc import Callable, Counter

    from django.test import Client

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def users() -> list[User]:
    """Ann and Bob, with a post, a comment on the post of each, and an order."""
    made = [User.objects.create(username=name) for name in ("ann", "bob")]
    posts = [Post.objects.create(title="t", content="c", author=each) for each in made]
    for user in made:
        Comment.objects.bulk_create(Comment(post=post, author=user, content="c") for post in posts)
        Order.objects.create(order_number=user.username, customer=user, total=1)
    return made


def _instance(user: User, _client: Client) -> None:
    user.delete()


def _queryset(user: User, _client: Client) -> None:
    User.objects.filter(pk=user.pk).delete()


def _admin(user: User, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    url = reverse("admin:auth_user_delete", args=[user.pk])
    assert client.get(url).status_code == HTTPStatus.OK
    assert client.post(url, {"post": "yes"}).status_code == HTTPStatus.FOUND


@pytest.mark.parametrize("delete", [_instance, _queryset, _admin])
def test_rows_follow_their_user(
    converge: Converge, users: list[User], client: Client, delete: Callable[[User, Client], None]
) -> None:
    ann, bob = users
    delete(ann, client)
    assert (Post.objects.count(), Order.objects.count()) == (2, 2)  # not in the request
    assert converge() == {
        "blog.Post.author": 1,
        "blog.Comment.author": 2,
        "blog.Comment.post": 1,
        "shop.Order.customer": 1,
    }
    assert Post.objects.get().author == Order.objects.get().customer == bob
    assert [each.author for each in Comment.objects.all()] == [bob]


def test_a_delete_that_is_rolled_back_leaves_nothing(converge: Converge, users: list[User]) -> None:
    with transaction.atomic(using="default"):
        users[0].delete()
        transaction.set_rollback(True, using="default")
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="default"):
        raise ZeroDivisionError(User.objects.all().delete())
    assert (Deletion.objects.count(), converge()) == (0, {})
    assert (User.objects.count(), Post.objects.count(), Order.objects.count()) == (2, 2, 2)


VALUES = {
    left.Nulled: None,
    left.Defaulted: left.DEFAULT,
    left.Valued: left.VALUE,
    left.Called: left.CALLED,
    left.Instanced: left.INSTANCE,
    left.Customised: left.CUSTOM,
}


def test_policies_that_set_a_value(converge: Converge) -> None:
    for key in VALUES.values():
        if key:
            parents.Giver.objects.create(pk=key)
    gone, kept = parents.Giver.objects.create(), parents.Giver.objects.create()
    key = gone.pk
    for model in VALUES:
        model.objects.bulk_create(model(giver_id=giver.pk) for giver in (gone, gone, kept))
    right.Untouched.objects.create(giver=gone)
    gone.delete()
    assert converge() == {f"left.{model.__name__}.giver": 2 for model in VALUES}
    for model, value in VALUES.items():
        found = list(model.objects.order_by("pk").values_list("giver_id", flat=True))
        assert found == [value, value, kept.pk], model
    assert right.Untouched.objects.get().giver_id == key


@pytest.mark.parametrize(
    ("model", "error"),
    [(left.Protecting, models.ProtectedError), (right.Restricting, models.RestrictedError)],
)
def test_policies_that_refuse(
    converge: Converge, model: type[models.Model], error: type[Exception]
) -> None:
    guarded, free = parents.Guarded.objects.create(), parents.Guarded.objects.create()
    row = model._default_manager.create(guarded=guarded)
    free.delete()
    with pytest.raises(error):
        guarded.delete()
    row.delete()
    guarded.delete()
    assert converge() == {}
    assert Deletion.objects.count() == 2
    assert not parents.Guarded.objects.exists()


def _owner() -> parents.Owner:
    return parents.Owner.objects.create()


def _one_to_one(owner: parents.Owner) -> models.Model:
    return left.Profile.objects.create(owner=owner)


def _explicit_through(owner: parents.Owner) -> models.Model:
    return left.Membership.objects.create(group=left.Group.objects.create(), owner=owner)


def _automatic_through(owner: parents.Owner) -> models.Model:
    team = left.Team.objects.create()
    team.members.add(owner)
    return left.Team.members.through.objects.get(owner_id=owner.pk)


def _token() -> parents.Token:
    return parents.Token.objects.create()


def _use_of_token(token: parents.Token) -> models.Model:
    return left.TokenUse.objects.create(token=token)


def _person() -> parents.Person:
    number = parents.Person.objects.count()
    return parents.Person.objects.create(code=f"person-{number}", number=f"{number}.50")


def _badge(person: parents.Person) -> models.Model:
    return left.Badge.objects.create(person_id=person.code)


def _invoice(person: parents.Person) -> models.Model:
    return left.Invoice.objects.create(person_id=person.number)


def _station() -> parents.Station:
    number = parents.Station.objects.count()
    return parents.Station.objects.create(code=f"station-{number}")


def _event_by_number(station: parents.Station) -> models.Model:
    return left.Event.objects.create(station_key=station.pk)


def _event_by_text(station: parents.Station) -> models.Model:
    return left.Event.objects.create(station_text=str(station.pk))


def _event_by_code(station: parents.Station) -> models.Model:
    return left.Event.objects.create(station_code=station.code)


def _beacon() -> parents.Beacon:
    return parents.Beacon.objects.create()


def _event_by_uuid(beacon: parents.Beacon) -> models.Model:
    return left.Event.objects.create(beacon_key=beacon.pk)


def _event_by_uuid_as_text(beacon: parents.Beacon) -> models.Model:
    return left.Event.objects.create(beacon_text=str(beacon.pk))


def _plant() -> parents.Plant:
    return parents.Plant.objects.create()


def _note(plant: parents.Plant) -> models.Model:
    content_type = ContentType.objects.db_manager("default").get_for_model(plant)
    return left.Note.objects.create(content_type_id=content_type.pk, object_id=plant.pk)


def _sticker(plant: parents.Plant) -> models.Model:
    kind = ContentType.objects.db_manager("test_left").get_for_model(plant)
    return left.Sticker.objects.create(kind_id=kind.pk, key=str(plant.pk))


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], models.Model]]] = {
    "left.Profile.owner": (_owner, _one_to_one),
    "left.Membership.owner": (_owner, _explicit_through),
    "left.Team_members.owner": (_owner, _automatic_through),
    "left.TokenUse.token": (_token, _use_of_token),
    "left.Badge.person": (_person, _badge),
    "left.Invoice.person": (_person, _invoice),
    "left.Event.station_key": (_station, _event_by_number),
    "left.Event.station_text": (_station, _event_by_text),
    "left.Event.station_code": (_station, _event_by_code),
    "left.Event.beacon_key": (_beacon, _event_by_uuid),
    "left.Event.beacon_text": (_beacon, _event_by_uuid_as_text),
    "left.Note.content_object": (_plant, _note),
    "left.Sticker.stuck_to": (_plant, _sticker),
}


@pytest.mark.parametrize("label", KINDS)
def test_each_kind_of_key(converge: Converge, label: str) -> None:
    parent, child = KINDS[label]
    gone, kept = parent(), parent()
    rows = [child(each) for each in (gone, kept)]
    gone.delete()
    found = converge()
    assert [number for name, number in found.items() if name.startswith(label)] == [1]
    (left_over,) = type(rows[0])._default_manager.all()
    assert left_over.pk == rows[1].pk
    assert Deletion.objects.get().state == "cascaded"


def test_a_tree_goes_and_set_null_keeps_its_rows(converge: Converge) -> None:
    gone, kept = parents.Root.objects.create(), parents.Root.objects.create()
    for root in (gone, kept):
        shelf = left.Shelf.objects.create(root=root)
        left.Label.objects.create(shelf=shelf)
        box = left.Box.objects.create(shelf=shelf)
        left.Item.objects.bulk_create(left.Item(box=box) for _ in range(3))
    gone.delete()
    assert converge() == {
        "left.Shelf.root": 1,
        "left.Box.shelf": 1,
        "left.Item.box": 3,
        "left.Label.shelf": 1,
    }
    assert left.Item.objects.count() == 3
    assert left.Label.objects.filter(shelf=None).count() == 1
    assert left.Shelf.objects.get().root_id == kept.pk


def test_a_chain_over_three_databases(converge: Converge) -> None:
    gone, kept = parents.Library.objects.create(), parents.Library.objects.create()
    for library in (gone, kept):
        book = left.Book.objects.create(library=library)
        left.Page.objects.create(book=book)
        right.BookNote.objects.create(book=book)
    gone.delete()
    assert converge() == {"left.Book.library": 1, "left.Page": 1, "right.BookNote.book": 1}
    book = left.Book.objects.get()
    assert book.library_id == kept.pk
    assert left.Page.objects.get().book == right.BookNote.objects.get().book == book
    assert Deletion.objects.using("test_left").get().state == "cascaded"


def test_many_users_in_one_queryset(converge: Converge) -> None:
    users = User.objects.bulk_create(User(username=f"user-{n}") for n in range(1_500))
    kept, *gone = User.objects.order_by("pk")
    Post.objects.bulk_create(Post(title="t", content="c", author=user) for user in users)
    assert len(gone) == 1_499
    User.objects.exclude(pk=kept.pk).delete()
    assert converge() == {"blog.Post.author": 1_499}
    assert Post.objects.get().author == kept
    assert sum(each.size for each in Cascade.objects.filter(database="blog_db")) == 1_499


def test_the_layout_is_what_it_says(layout: Any) -> None:
    """The suite would be worth nothing if these databases were PostgreSQL's after all."""
    vendors = {alias: connections[alias].vendor for alias in ("default", "blog_db", "shop_db")}
    assert {alias for alias, vendor in vendors.items() if vendor == "mysql"} == {*layout.mariadb}
