"""PROTECT and RESTRICT below other databases: what one database with plain Django answers."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.admin.utils import NestedObjects
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.db.models import ProtectedError, QuerySet, RestrictedError
from django.db.models.deletion import Collector

from apps.integrity import relations
from apps.integrity.capture.protection import reading, walk
from apps.integrity.exceptions import ChildDatabaseUnavailable, TooManyKeys
from apps.integrity.models import Deletion
from apps.integrity.relations import discovery
from tests import superuser
from tests.busy_tables import locked_table
from tests.kinds.music.models import (
    Album,
    Artist,
    Badge,
    Contract,
    Fan,
    Frame,
    Genre,
    Hall,
    Invoice,
    Mark,
    Poster,
    Seat,
    Shelf,
    Song,
    Stage,
    StageProxy,
    Ticket,
    Tour,
    Venue,
)
from tests.kinds.router import EVERYWHERE, PLACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

    Spread = Callable[[dict[str, str]], None]

MODELS = [*apps.get_app_config("music").get_models()]
CHILDREN = [each._meta.model_name for each in MODELS if each not in {Artist, Stage, StageProxy}]
GENERIC = {"poster", "mark", "frame"}

#: One database; everything but the artists elsewhere; on SQLite; and in several ones.
ONE: dict[str, str] = {}
INSIDE = dict.fromkeys(CHILDREN, "test_left")
LITE = dict.fromkeys([each for each in CHILDREN if each not in GENERIC], "test_lite")
APART = {
    **INSIDE,
    **dict.fromkeys(["song", "invoice", "badge", "shelf", "contract", "frame"], "test_right"),
    **dict.fromkeys(["ticket", "seat"], "test_lite"),
}
BACK = {
    **INSIDE,
    **dict.fromkeys(["song", "invoice", "badge", "shelf", "seat", "frame"], "default"),
}
BESIDE = {**INSIDE, **dict.fromkeys(["album", "ticket", "fan", "hall", "mark"], "default")}
NEAR = {**INSIDE, "album": "default", "song": "default"}
PLACED = {
    "inside": INSIDE,
    "lite": LITE,
    "apart": APART,
    "back": BACK,
    "beside": {**BESIDE, "venue": "default", "poster": "default"},
    "near": NEAR,
}


@pytest.fixture
def spread(committed: None) -> Iterator[Spread]:
    def to(places: dict[str, str]) -> None:
        PLACES.clear()
        PLACES.update(places)
        discovery.forget()
        relations.catalogue()

    yield to
    to({})
    _empty()


#: A multi-table child before its parent.
DELETES = [
    f"DELETE FROM {model._meta.db_table}"  # noqa: S608 (a test's own)
    for model in reversed(MODELS)
    if not model._meta.proxy
]


def _empty() -> None:
    for alias in EVERYWHERE:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            if connections[alias].vendor == "postgresql":
                cursor.execute("; ".join(DELETES))
            else:
                for statement in DELETES:
                    cursor.execute(statement)


def artists() -> tuple[Artist, Artist]:
    return Artist.objects.create(name="gone"), Artist.objects.create(name="kept")


# What is deleted, after somebody made the rows


def a_song_that_goes_with_its_artist() -> Any:
    gone, kept = artists()
    for artist in (gone, kept):
        Song.objects.create(artist=artist, album=Album.objects.create(artist=artist))
    return gone


def a_song_of_somebody_else() -> Any:
    gone, kept = artists()
    album = Album.objects.create(artist=gone)
    Song.objects.create(artist=gone, album=album)
    Song.objects.create(artist=kept, album=album)
    return gone


def a_song_of_somebody_else_again() -> Any:
    _empty()
    return a_song_of_somebody_else()


def both_artists() -> Any:
    gone, kept = artists()
    Song.objects.create(artist=kept, album=Album.objects.create(artist=gone))
    Song.objects.create(artist=gone, album=Album.objects.create(artist=kept))
    return Artist.objects.all()


def an_album_with_a_song() -> Any:
    gone, kept = artists()
    album = Album.objects.create(artist=gone)
    Song.objects.create(artist=kept, album=album)
    return album


def a_song_that_goes_with_a_tour() -> Any:
    gone, kept = artists()
    tour = Tour.objects.create(artist=gone)
    Song.objects.create(artist=kept, album=Album.objects.create(artist=gone), tour=tour)
    return gone


def a_song_that_goes_with_a_tour_of_somebody_else() -> Any:
    gone, kept = artists()
    tour = Tour.objects.create(artist=kept)
    Song.objects.create(artist=kept, album=Album.objects.create(artist=gone), tour=tour)
    return gone


def an_invoice_two_levels_down() -> Any:
    gone, kept = artists()
    for artist in (gone, kept):
        ticket = Ticket.objects.create(tour=Tour.objects.create(artist=artist))
        Invoice.objects.create(ticket=ticket)
    return gone


def an_invoice_of_somebody_else() -> Any:
    gone, kept = artists()
    for artist in (gone, kept):
        ticket = Ticket.objects.create(tour=Tour.objects.create(artist=artist))
    Invoice.objects.create(ticket=ticket)
    return gone


def an_invoice_and_a_song() -> Any:
    gone = a_song_of_somebody_else()
    ticket = Ticket.objects.create(tour=Tour.objects.create(artist=gone))
    Invoice.objects.create(ticket=ticket)
    return gone


def a_badge_of_a_fan_that_stays() -> Any:
    gone, _ = artists()
    Badge.objects.create(fan=Fan.objects.create(tour=Tour.objects.create(artist=gone)))
    return gone


def a_shelf_deep_in_a_tree() -> Any:
    gone, _ = artists()
    genre = Genre.objects.create(artist=gone)
    for _ in range(3):
        genre = Genre.objects.create(above=genre)
    Shelf.objects.create(genre=genre)
    return gone


def a_circle_without_a_shelf() -> Any:
    gone, kept = artists()
    first = Genre.objects.create(artist=gone)
    second = Genre.objects.create(above=first)
    Genre.objects.filter(pk=first.pk).update(above=second)
    Shelf.objects.create(genre=Genre.objects.create(artist=kept))
    return gone


def a_seat_in_a_multi_table_child() -> Any:
    gone, _ = artists()
    Seat.objects.create(hall=Hall.objects.create(artist=gone))
    return gone


def a_venue_without_a_seat() -> Any:
    gone, kept = artists()
    Venue.objects.create(artist=gone)
    Hall.objects.create(artist=gone)
    Seat.objects.create(hall=Hall.objects.create(artist=kept))
    return gone


def a_contract_by_name() -> Any:
    gone, _ = artists()
    Contract.objects.create(name=gone)
    return gone


def a_contract_of_somebody_else() -> Any:
    gone, kept = artists()
    Contract.objects.create(name=kept)
    return gone


def a_stage_with_a_contract() -> Any:
    stage = Stage.objects.create(name="gone")
    Contract.objects.create(name=stage.artist_ptr)
    return stage


def a_proxy_with_an_invoice() -> Any:
    stage = Stage.objects.create(name="gone")
    ticket = Ticket.objects.create(tour=Tour.objects.create(artist=stage))
    Invoice.objects.create(ticket=ticket)
    return StageProxy.objects.get()


def a_frame_of_a_generic_relation() -> Any:
    gone, kept = artists()
    for artist in (kept, gone):
        mark = Mark.objects.create(content_object=Poster.objects.create(artist=artist))
    Frame.objects.create(mark=mark)
    return gone


def a_mark_without_a_frame() -> Any:
    gone, kept = artists()
    for artist in (gone, kept):
        mark = Mark.objects.create(content_object=Poster.objects.create(artist=artist))
    Frame.objects.create(mark=mark)
    return gone


SCENES = {
    each.__name__: each
    for each in [
        a_song_that_goes_with_its_artist,
        a_song_of_somebody_else,
        both_artists,
        an_album_with_a_song,
        a_song_that_goes_with_a_tour,
        a_song_that_goes_with_a_tour_of_somebody_else,
        an_invoice_two_levels_down,
        an_invoice_of_somebody_else,
        an_invoice_and_a_song,
        a_badge_of_a_fan_that_stays,
        a_shelf_deep_in_a_tree,
        a_circle_without_a_shelf,
        a_seat_in_a_multi_table_child,
        a_venue_without_a_seat,
        a_contract_by_name,
        a_contract_of_somebody_else,
        a_stage_with_a_contract,
        a_proxy_with_an_invoice,
        a_frame_of_a_generic_relation,
        a_mark_without_a_frame,
    ]
}


def answer(scene: Callable[[], Any], spread: Spread, places: dict[str, str]) -> Any:
    """What a delete says: the error's class and the kinds of rows that it names, or None."""
    spread(places)
    _empty()
    doomed = scene()
    before = Artist.objects.count()
    collector = NestedObjects(using=doomed._state.db if hasattr(doomed, "_state") else "default")
    collector.collect([doomed] if hasattr(doomed, "_state") else doomed)
    shown = sorted(type(each).__name__ for each in collector.protected)
    try:
        doomed.delete()
    except (ProtectedError, RestrictedError) as error:
        assert Artist.objects.count() == before
        named = {each.__class__.__name__ for each in error.args[1]}
        assert named <= {*shown}  # where both refuse, Django's page shows all, its error some
        return type(error), sorted(named)
    assert shown == []
    return None


@pytest.mark.parametrize("scene", SCENES)
def test_the_answer_is_that_of_one_database(scene: str, spread: Spread) -> None:
    in_one = answer(SCENES[scene], spread, ONE)
    elsewhere = {name: answer(SCENES[scene], spread, places) for name, places in PLACED.items()}
    assert elsewhere == dict.fromkeys(PLACED, in_one)


def test_the_scenes_have_every_answer(spread: Spread) -> None:
    found = [answer(scene, spread, ONE) for scene in SCENES.values()]
    kinds = {each and each[0] for each in found}
    assert kinds == {ProtectedError, RestrictedError, None}
    assert (RestrictedError, ["Song"]) in found
    assert (ProtectedError, ["Invoice"]) in found
    assert len([each for each in found if each is None]) >= 8


class TestWords:
    def test_of_an_error_name_model_and_key(self, spread: Spread) -> None:
        spread(APART)
        with pytest.raises(ProtectedError) as caught:
            an_invoice_two_levels_down().delete()
        assert str(caught.value.args[0]) == (
            "Cannot delete some instances of model 'Artist' because they are referenced through"
            " protected foreign keys: 'Invoice.ticket'."
        )
        assert caught.value.protected_objects == {Invoice.objects.order_by("pk").first()}
        with pytest.raises(RestrictedError, match=r"restricted foreign keys: 'Song\.album'\."):
            a_song_of_somebody_else_again().delete()

    def test_no_more_rows_than_the_limit(self, spread: Spread, tune: Tune) -> None:
        tune(protect_limit=2)
        spread(APART)
        gone, kept = artists()
        ticket = Ticket.objects.create(tour=Tour.objects.create(artist=gone))
        Invoice.objects.bulk_create(Invoice(ticket=ticket) for _ in range(5))
        with pytest.raises(ProtectedError) as caught:
            gone.delete()
        assert len(caught.value.protected_objects) == 2
        album = Album.objects.create(artist=kept)
        other = Artist.objects.create(name="other")
        Song.objects.bulk_create(Song(artist=other, album=album) for _ in range(5))
        with pytest.raises(RestrictedError) as restricted:
            kept.delete()
        assert len(restricted.value.restricted_objects) == 2


class TestCost:
    def test_nothing_below_costs_nothing(self, committed: None, captured: Captured) -> None:
        user = User.objects.create(username="ann")
        with captured:
            user.delete()
        assert [alias for alias in connections if captured[alias]] == ["default"]
        [on_delete] = {
            id(each): each.field.remote_field.on_delete
            for each in relations.catalogue().relations
            if each.label == "blog.Post.author"
        }.values()
        assert not on_delete.asks

    def test_one_query_for_each_key_that_asks(self, spread: Spread, captured: Captured) -> None:
        spread(INSIDE)
        gone = a_song_that_goes_with_its_artist()
        with captured:
            Collector(using="default", origin=gone).collect([gone])
        asked = captured["test_left"]
        for table in ("song", "invoice", "contract"):
            assert len([sql for sql in asked if f'FROM "music_{table}" WHERE' in sql]) == 1
        assert captured["test_right"] == captured["test_lite"] == []

    def test_as_many_for_many_parents(self, spread: Spread, captured: Captured) -> None:
        spread(APART)
        Artist.objects.bulk_create(Artist(name=str(n)) for n in range(500))
        tours = [Tour(artist=each) for each in Artist.objects.all()]
        Tour.objects.bulk_create(tours)
        Ticket.objects.bulk_create(Ticket(tour=each) for each in Tour.objects.all())
        with captured:
            Collector(using="default").collect([*Artist.objects.all()])
        assert len([sql for sql in captured["test_right"] if "music_invoice" in sql]) == 1
        assert (
            len([sql for sql in captured["test_lite"] if "music" in sql and "_temp_" not in sql])
            == 1
        )

    def test_many_parents_are_asked_about_in_parts(
        self, spread: Spread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(walk, "KEYS", 2)
        monkeypatch.setattr(reading, "KEYS", 2)
        for places in (APART, INSIDE, BACK, LITE):
            spread(places)
            _empty()
            names = [Artist.objects.create(name=str(n)) for n in range(7)]
            for one, other in zip(names, reversed(names), strict=True):
                Song.objects.create(artist=one, album=Album.objects.create(artist=other))
            Artist.objects.all().delete()
            assert not Artist.objects.exists()

    def test_a_circle_is_followed_once(self, spread: Spread, tune: Tune) -> None:
        tune(protect_keys=10)
        spread(INSIDE)
        a_circle_without_a_shelf().delete()
        assert Artist.objects.count() == 1

    def test_more_keys_than_the_limit_refuse(self, spread: Spread, tune: Tune) -> None:
        tune(protect_keys=5)
        spread(APART)
        gone, kept = artists()
        tours = Tour.objects.bulk_create(Tour(artist=gone) for _ in range(6))
        with pytest.raises(
            TooManyKeys, match=r"music\.Ticket\.tour: more than 5 keys in 'test_left'"
        ):
            gone.delete()
        assert Artist.objects.count() == 2
        tours[0].delete()
        Artist.objects.get(pk=gone.pk).delete()
        kept.delete()


class TestWhatCannotBeAsked:
    @pytest.mark.parametrize(
        ("alias", "relation"),
        [("test_left", r"music\.\w+\.\w+"), ("test_right", r"music\.Contract\.name")],
    )
    def test_a_database_below_that_is_away_refuses(
        self, spread: Spread, refuse: Callable[[str], Any], alias: str, relation: str
    ) -> None:
        spread(APART)
        gone = an_invoice_of_somebody_else()
        with (
            refuse(alias),
            pytest.raises(
                ChildDatabaseUnavailable, match=rf"{relation} is \w+, and '{alias}' cannot be"
            ),
        ):
            gone.delete()
        assert Artist.objects.count() == 2
        assert not Deletion.objects.exists()
        gone.delete()

    def test_a_database_without_such_rows_is_not_asked(
        self, spread: Spread, refuse: Callable[[str], Any]
    ) -> None:
        spread(APART)
        gone, _ = artists()
        with refuse("test_lite"):
            gone.delete()
        assert Artist.objects.count() == 1

    @pytest.mark.parametrize("within", ["a transaction", "none"])
    def test_a_table_that_is_locked_refuses_soon(
        self, spread: Spread, tune: Tune, within: str
    ) -> None:
        tune(lock_seconds=0.2)
        spread(INSIDE)
        gone = an_invoice_of_somebody_else()
        with _setting_stays("test_left", within), locked_table("test_left", "music_invoice"):
            begun = time.monotonic()
            with pytest.raises(ChildDatabaseUnavailable, match=r"music\.Invoice\.ticket"):
                gone.delete()
            assert time.monotonic() - begun < 5
        assert Artist.objects.count() == 2
        gone.delete()

    @pytest.mark.parametrize("within", ["a transaction", "none"])
    def test_rows_that_the_server_hides_are_not_taken_for_none(
        self, spread: Spread, within: str
    ) -> None:
        spread(INSIDE)
        gone = an_invoice_two_levels_down()
        with (
            _looker("test_left"),
            _setting_stays("test_left", within),
            _hidden("test_left", "music_invoice"),
            pytest.raises(
                ChildDatabaseUnavailable, match="row level security hides rows from the role looker"
            ),
        ):
            gone.delete()
        assert Artist.objects.count() == 2

    def test_a_view_in_place_of_a_table_is_not_believed(self, spread: Spread) -> None:
        spread(INSIDE)
        gone = an_invoice_two_levels_down()
        with connections["test_left"].cursor() as cursor:
            cursor.execute("ALTER TABLE music_invoice RENAME TO music_all_invoices")
            cursor.execute("CREATE VIEW music_invoice AS SELECT * FROM music_all_invoices LIMIT 0")
            try:
                with pytest.raises(ChildDatabaseUnavailable, match="it is a view"):
                    gone.delete()
            finally:
                cursor.execute("DROP VIEW music_invoice")
                cursor.execute("ALTER TABLE music_all_invoices RENAME TO music_invoice")
        assert Artist.objects.count() == 2

    def test_a_caller_s_transaction_in_the_child_database_goes_on(self, spread: Spread) -> None:
        spread(INSIDE)
        gone = an_invoice_two_levels_down()
        with _setting_stays("test_left", "a transaction"):
            with pytest.raises(ProtectedError):
                gone.delete()
            Invoice.objects.all().delete()
        gone.delete()


@contextmanager
def _setting_stays(alias: str, within: str) -> Iterator[None]:
    """Within a transaction or not, the session waits for locks afterwards as before."""

    def waits() -> Any:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('lock_timeout'), current_setting('row_security')"
            )
            return cursor.fetchone()

    if within == "none":
        before = waits()
        yield
        assert waits() == before
        return
    with transaction.atomic(using=alias):
        before = waits()
        yield
        assert waits() == before


@contextmanager
def _looker(alias: str) -> Iterator[None]:
    """A role that may read every table, and that we may become."""
    us = connections[alias].settings_dict["USER"]
    superuser.run(
        alias,
        "CREATE ROLE looker",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker",
        f"GRANT looker TO {us}",
    )
    try:
        yield
    finally:
        superuser.run(alias, "DROP OWNED BY looker", "DROP ROLE looker")


@contextmanager
def _hidden(alias: str, table: str) -> Iterator[None]:
    """We are the looker, from whom row level security hides every row of the table."""

    def run(*statements: str) -> None:
        with connections[alias].cursor() as cursor:
            for each in statements:
                cursor.execute(each)

    run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", "SET ROLE looker")
    try:
        yield
    finally:
        run("RESET ROLE", f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def test_the_content_types_of_the_child_database_are_made_by_nobody(spread: Spread) -> None:
    spread(INSIDE)
    gone, _ = artists()
    Poster.objects.create(artist=gone)
    known = QuerySet(model=ContentType, using="test_left")
    known.filter(app_label="music", model="poster")._raw_delete("test_left")
    Collector(using="default").collect([gone])
    assert not known.filter(app_label="music", model="poster").exists()
