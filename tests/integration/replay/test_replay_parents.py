"""The parents and their log were restored from a backup: who was erased since is erased again."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity.control import restores
from apps.integrity.log import suspects
from apps.integrity.models import Audit, Cascade, Deletion, Suspect, Tally
from apps.integrity.queues import dispatch
from apps.integrity.report import receipt_text, receipts
from apps.integrity.scan.replay import judgement, parents
from apps.integrity.scan.replay.judgement import Verdict
from apps.shop.models import Order
from tests.kinds.left.models import Badge
from tests.kinds.parents.models import Owner, Person
from tests.kinds.right.models import Leaf, Locker

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

YESTERDAY = timezone.now() - dt.timedelta(days=1)
CHILDREN = ("blog_db", "shop_db")


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restores, "SECONDS", 0.0)


def users(*names: str, joined: dt.datetime = YESTERDAY) -> list[User]:
    made = [User.objects.create(username=name, date_joined=joined) for name in names]
    for one in made:
        Post.objects.create(title="t", content="c", author=one)
    return made


def restore(rows: list[Any]) -> None:
    """Bring the log back to when it was empty, and those parents."""
    Cascade.objects.all().delete()
    Deletion.objects.all().delete()
    for row in rows:
        type(row)._base_manager.bulk_create([row])


@pytest.fixture
def erased(converge: Converge) -> Callable[..., list[Any]]:
    """Delete rows with all that refers to them, and restore their database."""

    def run(*rows: Any) -> list[Any]:
        before = [copy.copy(row) for row in rows]
        for row in rows:
            copy.copy(row).delete()
        converge()
        restore(before)
        return before

    return run


def look(*databases: str, since: dt.datetime | None = None) -> parents.Restored:
    return parents.outlook("default", databases=databases or CHILDREN, since=since)


def replay(*databases: str, override: str = "") -> parents.Restored:
    return parents.replay(
        "default", databases=databases or CHILDREN, since=None, actor="me", override=override
    )


def verdicts(done: parents.Restored) -> dict[str | None, str]:
    return {key: str(one.verdict) for (_, key), one in done.found.items()}


def test_erased_parents_that_are_back_are_deleted_again(
    erased: Callable[..., list[Any]], converge: Converge
) -> None:
    ann, bob, living = users("ann", "bob", "living")
    erased(ann, bob)
    assert Post.objects.count() == 1
    assert User.objects.count() == 3
    Post.objects.create(title="again", content="c", author=ann)
    Order.objects.create(customer=bob, order_number="1", total=1)
    assert restores.reason("blog_db", using="default")
    assert verdicts(look()) == {str(ann.pk): "back", str(bob.pk): "back"}
    assert User.objects.count() == 3
    done = replay()
    assert (done.erased, done.recorded, done.refused) == (2, 0, {})
    assert list(User.objects.all()) == [living]
    assert restores.reason("blog_db", using="default") == ""
    converge()
    assert list(Post.objects.values_list("author_id", flat=True)) == [living.pk]
    assert not Order.objects.exists()
    assert Deletion.objects.count() == 2
    (receipt,) = receipts.receipts_of("auth.User", str(ann.pk))
    said = receipt_text.stated(receipt)
    assert said.startswith("stated at the delete: by me, because erased before at ")
    assert said.endswith(", undone by a restore of default")
    assert receipt["deletion"]["reason"] == ""
    assert [row.verb for row in Audit.objects.all()] == ["replay"]
    again = replay()
    assert (again.erased, again.recorded, again.found, again.gone) == (0, 0, {}, {})
    assert (Deletion.objects.count(), Audit.objects.count()) == (2, 1)


def test_a_second_restore_is_noticed_as_well(erased: Callable[..., list[Any]]) -> None:
    ann, _ = users("ann", "living")
    before = erased(ann)
    assert replay().erased == 1
    assert restores.reason("blog_db", using="default") == ""
    restore(before)
    assert restores.reason("blog_db", using="default")
    assert replay().erased == 1


def test_a_key_that_another_row_has_by_now_is_only_reported(
    erased: Callable[..., list[Any]],
) -> None:
    ann, _ = users("ann", "living")
    erased(ann)
    User.objects.all()._raw_delete("default")
    User.objects.create(pk=ann.pk, username="somebody else")
    assert verdicts(look()) == {str(ann.pk): "reused"}
    assert replay().erased == 0
    assert User.objects.get().username == "somebody else"


def test_another_value_of_a_to_field_is_another_row(
    erased: Callable[..., list[Any]],
) -> None:
    same, other = Person.objects.create(code="same"), Person.objects.create(code="other")
    for one in (same, other):
        Badge.objects.create(person=one)
    erased(same, other)
    Person.objects.filter(pk=other.pk).update(code="new")
    done = look("test_left")
    assert verdicts(done) == {str(same.pk): "back", str(other.pk): "reused"}
    assert replay("test_left").erased == 1
    assert list(Person.objects.values_list("code", flat=True)) == ["new"]


def test_only_the_values_that_rows_there_may_hold_are_in_the_ledger(converge: Converge) -> None:
    person = Person.objects.create(code="secret", number=1)
    Badge.objects.create(person=person)
    Locker.objects.create(person=person)
    pk = person.pk
    person.delete()
    converge()
    (left,) = Tally.objects.using("test_left")
    (right,) = Tally.objects.using("test_right")
    deletion = str(Deletion.objects.get().pk)
    assert (left.parent, left.relation) == ("parents.Person", "")
    assert left.keys == right.keys == {deletion: str(pk)}
    assert left.targets == {deletion: {"code": "secret", "number": "1.00"}}
    assert not right.targets


def test_where_nothing_tells_which_row_it_is_nothing_is_deleted(
    erased: Callable[..., list[Any]],
) -> None:
    owner = Owner.objects.create()
    Leaf.objects.create(owner=owner)
    erased(owner)
    (found,) = look("test_right").found.values()
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, judgement.UNTOLD)
    assert replay("test_right").erased == 0
    assert Owner.objects.exists()


def test_what_a_scan_had_found_is_only_reported(
    converge: Converge,
) -> None:
    ann, _ = users("ann", "living")
    User.objects.filter(pk=ann.pk)._raw_delete("default")
    suspect = Suspect.objects.create(
        parent="auth.User", relation="blog.Post.author", value=str(ann.pk)
    )
    suspects.confirm([suspect.pk], using="default")
    dispatch.sweep_all()
    converge()
    assert Post.objects.count() == 1
    restore([ann])
    (found,) = look().found.values()
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, judgement.BY_A_SCAN)
    assert replay().erased == 0
    assert User.objects.count() == 2


def test_erased_parents_that_are_not_there_are_recorded_again(
    erased: Callable[..., list[Any]], converge: Converge
) -> None:
    (ann,) = users("ann")
    erased(ann)
    User.objects.all()._raw_delete("default")  # she was created after the backup
    Order.objects.create(customer_id=ann.pk, order_number="1", total=1)
    assert (look().found, len(look().gone)) == ({}, 1)
    done = replay()
    assert (done.erased, done.recorded) == (0, 1)
    converge()
    assert not Order.objects.exists()
    assert restores.reason("blog_db", using="default") == ""
    assert replay().recorded == 0


def test_the_brake_refuses_to_delete_very_many(
    erased: Callable[..., list[Any]], tune: Tune
) -> None:
    made = users("ann", "bob", "living")
    erased(*made[:2])
    tune(brake_keys=1, brake_share=0.5)
    done = replay()
    assert done.erased == 0
    assert done.brakes["auth.User"].startswith("2 of 3 rows would be deleted")
    assert User.objects.count() == 3
    done = replay(override="it is right")
    assert done.erased == 2
    verbs = [row.verb for row in Audit.objects.order_by("pk")]
    assert verbs == ["override brake", "replay"]


def test_who_dies_in_the_middle_loses_nothing(
    erased: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = users("ann", "bob", "living")
    erased(*made[:2])
    real, calls = parents._deleted, [0]

    def dying(*args: Any) -> bool:
        calls[0] += 1
        if calls[0] == 2:
            real(*args)
            raise KeyboardInterrupt  # before the commit
        return real(*args)

    monkeypatch.setattr(parents, "_deleted", dying)
    with pytest.raises(KeyboardInterrupt):
        replay()
    assert (User.objects.count(), Deletion.objects.count()) == (2, 1)
    monkeypatch.setattr(parents, "_deleted", real)
    assert replay().erased == 1
    assert (User.objects.count(), Deletion.objects.count()) == (1, 2)


@pytest.fixture
def hidden() -> Iterator[None]:
    """Row level security hides all users from the owner of the table."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        try:
            yield
        finally:
            cursor.execute(
                "ALTER TABLE auth_user DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
            )


@pytest.mark.postgresql  # row level security
def test_unknown_is_never_back_nor_gone(erased: Callable[..., list[Any]], hidden: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user NO FORCE ROW LEVEL SECURITY")
        ann, _ = users("ann", "living")
        erased(ann)
        cursor.execute("ALTER TABLE auth_user FORCE ROW LEVEL SECURITY")
    done = replay()
    (found,) = done.found.values()
    assert (found.verdict, done.gone, done.erased, done.recorded) == (Verdict.UNKNOWN, {}, 0, 0)
    assert "row level security" in found.reason


def test_it_is_bound_by_since(erased: Callable[..., list[Any]]) -> None:
    ann, _ = users("ann", "living")
    erased(ann)
    assert look(since=timezone.now() - dt.timedelta(hours=1)).found
    assert not look(since=timezone.now() + dt.timedelta(hours=1)).found


def test_what_the_log_may_have_purged_needs_the_time_of_the_backup(
    erased: Callable[..., list[Any]],
) -> None:
    """Somebody may have made the row again on purpose since."""
    ann, bob = users("ann", "bob", joined=timezone.now() - dt.timedelta(days=60))
    erased(ann, bob)
    User.objects.filter(pk=bob.pk)._raw_delete("default")
    month = timezone.now() - dt.timedelta(days=31)
    Tally.objects.using("blog_db").update(at=month)
    assert (look().found, look().gone) == ({}, {})
    done = look(since=month - dt.timedelta(days=1))
    assert (verdicts(done), len(done.gone)) == ({str(ann.pk): "back"}, 1)


def test_deletes_that_send_no_signal_are_recorded_as_well(
    erased: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _ = users("ann", "living")
    erased(ann)
    monkeypatch.setattr(parents.models.Model, "delete", _raw)
    assert replay().erased == 1
    assert Deletion.objects.get().key == str(ann.pk)


def _raw(row: Any, using: str) -> None:
    type(row)._base_manager.using(using).filter(pk=row.pk)._raw_delete(using)


def run(*options: str) -> tuple[dict[str, Any], int]:
    out, code = io.StringIO(), 0
    try:
        call_command("integrity", "replay", *options, "--json", stdout=out)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return json.loads(out.getvalue()), code


def printed(*options: str) -> str:
    out = io.StringIO()
    with contextlib.suppress(SystemExit):
        call_command("integrity", "replay", *options, stdout=out)
    return out.getvalue()


def test_the_command(erased: Callable[..., list[Any]]) -> None:
    assert run("--parents") == (
        {
            "schema_version": 1,
            "exit_reason": "clean",
            "applied": False,
            "parents": [],
            "found": 0,
            "gone": 0,
            "erased": 0,
            "recorded": 0,
            "brakes": {},
            "refused": {},
            "hindered": {},
            "effects": [],
        },
        0,
    )
    assert run()[1] == 0
    ann, _ = users("ann", "living")
    erased(ann)
    Post.objects.create(title="again", content="c", author=ann)
    document, code = run("--parents", "--database", "blog_db")
    assert code == 3
    (row,) = document["parents"]
    assert (row["parent"], row["key"], row["verdict"]) == ("auth.User", str(ann.pk), "back")
    effects = {one["relation"]: one["rows"] for one in document["effects"]}
    assert effects == {"blog.Post.author": 1}
    assert "back" in printed("--parents")
    document, code = run("--parents", "--apply")
    assert (document["erased"], code) == (1, 0)
    assert run("--parents")[1] == 0
    assert "0 deleted again" in printed("--parents", "--apply")
    with pytest.raises(CommandError):
        call_command("integrity", "replay", "--override-brake", "why")


def test_an_unreachable_child_leaves_out_only_what_its_ledger_names(
    erased: Callable[..., list[Any]], refuse: Callable[[str], Any]
) -> None:
    ann, bob = users("ann", "bob")
    Post.objects.all().delete()
    Post.objects.create(title="t", content="c", author=ann)
    Order.objects.create(customer=bob, order_number="1", total=1)
    erased(ann, bob)
    with refuse("shop_db"):
        document, code = run("--parents")
        assert ([one["key"] for one in document["parents"]], code) == ([str(ann.pk)], 5)
        assert [*document["hindered"]] == ["shop_db"]
        assert document["hindered"]["shop_db"].startswith("cannot be reached: ")
        document, code = run("--parents", "--apply")
        assert (document["erased"], code) == (1, 5)
        assert [*document["hindered"]] == ["shop_db"]
        assert list(User.objects.all()) == [bob]
    document, code = run("--parents", "--apply")
    assert (document["erased"], document["hindered"], code) == (1, {}, 0)
    assert not User.objects.exists()
