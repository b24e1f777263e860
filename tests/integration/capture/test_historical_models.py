"""Deletes in data migrations, by historical models: recorded, or refused, and never a guess."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connections, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from apps.blog.models import Post
from apps.integrity.capture import historical
from apps.integrity.exceptions import ChildDatabaseUnavailable, UnusablePolicy
from apps.integrity.models import Deletion
from tests import snippets
from tests.kinds.left.models import Badge, Event, Protecting
from tests.kinds.parents.models import Guarded, Owner, Person, Station, Stubborn

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

GUIDE = snippets.ROOT / "docs" / "how-to" / "third-party-apps.md"
#: The settings of the tests make the tables of auth without migrations.
LAST_OF_AUTH = "0012_alter_user_first_name_max_length"

pytestmark = pytest.mark.usefixtures("committed")


def migrate(
    forwards: Callable[[Any, Any], None], using: str = "default", app: str = "auth"
) -> None:
    """Run it as a data migration of the app does, with the models of the state."""
    state, ran = ProjectState.from_apps(apps), list[str]()

    def noted(old: Any, editor: Any) -> None:
        ran.append(using)
        forwards(old, editor)

    with connections[using].schema_editor() as editor:
        migrations.RunPython(noted).database_forwards(app, editor, state, state)
    assert ran, f"the routers keep migrations of {app} away from {using}"


def forget(**wanted: Any) -> Callable[[Any, Any], None]:
    def forwards(old: Any, _editor: Any) -> None:
        old.get_model("auth", "User").objects.filter(**wanted).delete()

    return forwards


def users(*names: str) -> list[User]:
    made = [User.objects.create(username=name) for name in names]
    for user in made:
        Post.objects.create(author=user, title="t", content="c")
    return made


class TestRecorded:
    def test_a_queryset(self, converge: Converge) -> None:
        users("ann", "bob", "eve")
        migrate(forget(username__in=["ann", "bob"]))
        assert {row.source for row in Deletion.objects.all()} == {Deletion.Source.SIGNAL}
        assert converge()["blog.Post.author"] == 2
        assert Post.objects.get().author.username == "eve"

    def test_an_instance(self, converge: Converge) -> None:
        ann, bob = users("ann", "bob")

        def forwards(old: Any, _editor: Any) -> None:
            old.get_model("auth", "User").objects.get(pk=ann.pk).delete()

        migrate(forwards)
        assert converge()["blog.Post.author"] == 1
        assert Post.objects.get().author == bob

    def test_a_migration_that_fails_leaves_nothing(self) -> None:
        users("ann")

        def forwards(old: Any, _editor: Any) -> None:
            old.get_model("auth", "User").objects.all().delete()
            raise ValueError

        with pytest.raises(ValueError, match=r"^$"):
            migrate(forwards)
        assert User.objects.exists()
        assert not Deletion.objects.exists()

    def test_other_fields_than_the_primary_key(self, converge: Converge) -> None:
        for code in ("gone", "kept"):
            Badge.objects.create(person=Person.objects.create(code=code))

        def forwards(old: Any, _editor: Any) -> None:
            person = old.get_model("parents", "Person").objects.get(code="gone")
            person.code = "not saved"
            person.delete()

        migrate(forwards)
        assert converge() == {"left.Badge.person": 1}
        assert Badge.objects.get().person_id == "kept"

    def test_a_delete_elsewhere_is_none_of_the_parents(self) -> None:
        """A copy of the table in another database."""

        def forwards(old: Any, editor: Any) -> None:
            rows = old.get_model("parents", "Owner").objects.using(editor.connection.alias)
            rows.create(pk=1)
            rows.all().delete()

        migrate(forwards, "test_right", "right")
        assert not Deletion.objects.exists()
        assert not Owner.objects.using("test_right").exists()

    def test_a_copy_beside_another_log_is_refused_for_nothing(self) -> None:
        """`test_left` has a log, of its own parents."""

        def forwards(old: Any, editor: Any) -> None:
            rows = old.get_model("parents", "Guarded").objects.using(editor.connection.alias)
            rows.create(pk=1)
            rows.all().delete()

        with connections["test_left"].schema_editor() as editor:
            editor.create_model(Guarded)
        try:
            migrate(forwards, "test_left", "left")
            assert not Guarded.objects.using("test_left").exists()
            assert not Deletion.objects.using("test_left").exists()
        finally:
            with connections["test_left"].schema_editor() as editor:
                editor.delete_model(Guarded)

    def test_todays_models_stay_as_they_are(self) -> None:
        before = [field.remote_field.on_delete for field in Post._meta.fields if field.remote_field]
        migrate(forget(username="nobody"))
        after = [field.remote_field.on_delete for field in Post._meta.fields if field.remote_field]
        assert before == after

    def test_what_belongs_to_an_unknown_database_keeps_its_policy(self) -> None:
        """Deletes of content types in that database have to follow it."""
        state = ProjectState.from_apps(apps)
        key = state.apps.get_model("analytics", "Note")._meta.get_field("content_type")
        assert key.remote_field.on_delete == models.CASCADE


class TestRefused:
    def test_protect_cannot_be_checked(self) -> None:
        guarded = Guarded.objects.create()
        Protecting.objects.create(guarded=guarded)

        def forwards(old: Any, _editor: Any) -> None:
            old.get_model("parents", "Guarded").objects.all().delete()

        with pytest.raises(ChildDatabaseUnavailable, match=r"left\.Protecting\.guarded"):
            migrate(forwards)
        assert Guarded.objects.exists()

    def test_protect_on_a_declared_column(self) -> None:
        station = Station.objects.create()
        Event.objects.create(station_key=station.pk)

        def forwards(old: Any, _editor: Any) -> None:
            old.get_model("parents", "Station").objects.all().delete()

        with pytest.raises(ChildDatabaseUnavailable, match=r"left\.Kept\.station_key"):
            migrate(forwards)
        assert Station.objects.exists()

    def test_an_on_delete_that_the_workers_could_not_execute(self) -> None:
        stubborn = Stubborn.objects.create()

        def forwards(old: Any, _editor: Any) -> None:
            old.get_model("parents", "Stubborn").objects.all().delete()

        with pytest.raises(UnusablePolicy, match=r"left\.Collected\.stubborn"):
            migrate(forwards)
        assert Stubborn.objects.get() == stubborn


class TestNotRecorded:
    def test_before_there_is_a_log(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        users("ann", "bob")
        monkeypatch.setattr(
            historical.missing_tables, "absent", lambda *_, **__: ["integrity_deletion"]
        )
        with caplog.at_level(logging.WARNING, "integrity.capture"):
            migrate(forget())
        assert caplog.text.count("default has no log yet") == 1
        assert not User.objects.exists()
        assert not Deletion.objects.exists()

    def test_capture_off(self, tune: Tune, caplog: pytest.LogCaptureFixture) -> None:
        users("ann")
        tune(capture={"auth.User": "off"})
        with caplog.at_level(logging.WARNING, "integrity.capture"):
            migrate(forget())
        assert "deletions of auth.User are not recorded" in caplog.text
        assert not Deletion.objects.exists()


def shown(word: str) -> dict[str, Any]:
    """What a block of the page defines."""
    texts = [block.text for block in snippets.blocks(GUIDE, "python")]
    [text] = [text for text in texts if word in text]
    defined: dict[str, Any] = {"__name__": "shown"}
    text = text.replace(snippets.SHIPPED, snippets.HERE)
    exec(compile(text, str(GUIDE), "exec"), defined)  # noqa: S102 (our own page)
    return defined


class TestThePage:
    """What docs/how-to/third-party-apps.md shows."""

    def test_a_migration(self, converge: Converge) -> None:
        ann, _ = users("ann", "bob")
        ann.email = "ann@test.example"
        ann.save()
        migration = shown("forget_test_accounts")["Migration"]
        known = MigrationLoader(None).disk_migrations
        assert {*migration.dependencies} <= {*known} | {("auth", LAST_OF_AUTH)}
        state = ProjectState.from_apps(apps)
        with connections["default"].schema_editor() as editor:
            migration("0001_forget", "project").apply(state, editor)
        assert converge()["blog.Post.author"] == 1
        assert Post.objects.get().author.username == "bob"

    def test_recorded_by_hand(self, converge: Converge) -> None:
        ann, bob = users("ann", "bob")
        User.objects.filter(pk=ann.pk).update(is_active=False)
        migrate(shown("_raw_delete(alias)")["forget"])
        assert converge()["blog.Post.author"] == 1
        assert Post.objects.get().author == bob
