"""Reading across databases: `alive()`, `validate_on_save()`, and what the guide promises."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.db import IntegrityError, ProgrammingError, connections, transaction
from django.db.models import F
from django.db.models.signals import pre_save

from apps.blog.models import Comment, Post
from apps.integrity import reading
from apps.integrity.exceptions import MissingParent, UnknownName
from apps.integrity.models import Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.reading import AliveQuerySet, alive, validate_on_save
from tests import log_rows, snippets
from tests.kinds.left.models import Badge, Invoice, Nulled, Optional
from tests.kinds.parents.models import Giver, Owner, Person

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

GUIDE = snippets.ROOT / "docs" / "how-to" / "read-across-databases.md"
MISSING = 987_654


def write(name: str, count: int = 1) -> User:
    user = User.objects.create(username=name)
    for n in range(count):
        Post.objects.create(title=f"{name} {n}", content="text", author=user)
    return user


class TestAlive:
    def test_rows_of_deleted_parents_are_hidden_until_they_are_gone(
        self, converge: Callable[[], Counter[str]]
    ) -> None:
        ann, _bob = write("ann", 2), write("bob")
        with transaction.atomic():
            ann.delete()
        assert Post.objects.count() == 3
        assert [post.title for post in alive(Post.objects.all())] == ["bob 0"]
        converge()
        assert Post.objects.count() == alive(Post.objects.all()).count() == 1

    def test_a_rolled_back_delete_hides_nothing(self) -> None:
        ann = write("ann")
        with transaction.atomic():
            ann.delete()
            transaction.set_rollback(True)
        assert alive(Post.objects.all()).count() == 1

    @pytest.mark.parametrize(("dispatched", "number"), [(False, 2), (True, 4)])
    def test_the_log_is_asked_by_few_queries_and_the_parents_by_none(
        self, captured: Captured, *, dispatched: bool, number: int
    ) -> None:
        for user in [write("ann"), write("bob")]:
            user.delete()
        if dispatched:
            dispatch.sweep("default")
        write("cid", 5)
        with captured:
            assert len(alive(Post.objects.all())) == 5
        assert len(captured["default"]) == number
        assert all("LIMIT" in sql for sql in captured["default"][:2])
        assert all("integrity_" in sql for sql in captured["default"])
        assert len(captured["blog_db"]) == 1

    @pytest.mark.usefixtures("new_log")
    def test_it_asks_by_index_however_long_the_log_is(self, captured: Captured) -> None:
        write("ann").delete()
        dispatch.sweep("default")
        with captured:
            assert len(alive(Post.objects.all())) == 0
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "INSERT INTO integrity_deletion (parent, key, source, batch)"
                " SELECT 'auth.User', n::text, 'api', 100000 + n FROM generate_series(1, 9000) n"
            )
            cursor.execute(
                "INSERT INTO integrity_cascade"
                " (batch, database, parent, deletions, size, recorded_at, state, due_at, ended_at)"
                " SELECT batch, 'blog_db', parent, ARRAY[id], 1, now(), 'verified', NULL, now()"
                " FROM integrity_deletion WHERE batch > 100000"
            )
            cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
            plans = []
            for sql in captured["default"]:
                cursor.execute(f"EXPLAIN {sql}")
                plans.append("\n".join(line for (line,) in cursor.fetchall()))
        assert not any("Seq Scan on integrity" in plan for plan in plans)
        assert "integrity_deletion_recorded" in plans[0]
        assert "integrity_cascade_names" in plans[1]

    @pytest.mark.parametrize("size", [1, 3])
    def test_of_dispatched_deletions_it_hides_the_newest(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, size: int
    ) -> None:
        """Whatever the size of their batches, and what is recorded takes no room from them."""
        monkeypatch.setattr(reading, "OPEN_MAX", 2)
        names = ["ann", "bob", "cid"]
        keys = [write(name).pk for name in names]
        for start in range(0, 3, size):
            log_rows.make("auth.User", keys[start : start + size], ["blog_db", "shop_db"])
        for name in ("dan", "eve"):
            write(name).delete()
        with caplog.at_level(logging.WARNING, logger="integrity.reading"):
            assert [post.title for post in alive(Post.objects.all())] == ["ann 0"]
        assert "more than 2 open deletions in default" in caplog.text

    def test_several_relations_of_a_model_and_of_its_rows_in_the_same_database(self) -> None:
        ann, bob = write("ann"), write("bob")
        for author in (ann, bob):
            for post in Post.objects.all():
                Comment.objects.create(post=post, author=author, content="text")
        ann.delete()
        assert {each.author_id for each in alive(Comment.objects.all())} == {bob.pk}
        shown = alive(Comment.objects.filter(post__in=alive(Post.objects.all())))
        assert {(each.author_id, each.post.author_id) for each in shown} == {(bob.pk, bob.pk)}

    def test_keys_that_hold_another_field_and_keys_that_are_null(self) -> None:
        gone = Person.objects.create(code="x", number=1)
        kept = Person.objects.create(code="y", number=2)
        for person in (gone, kept):
            Badge.objects.create(person=person)
            Invoice.objects.create(person=person)
        Invoice.objects.create(person=None)
        gone.delete()
        assert [each.person_id for each in alive(Badge.objects.all())] == ["y"]
        assert {each.person_id for each in alive(Invoice.objects.all())} == {2, None}
        Owner.objects.create().delete()
        Optional.objects.create(owner=None)
        assert alive(Optional.objects.all()).count() == 1

    def test_what_the_deletion_keeps_is_not_hidden(self) -> None:
        giver = Giver.objects.create()
        Nulled.objects.create(giver=giver)
        giver.delete()
        assert alive(Nulled.objects.all()).count() == 1

    def test_suspects_and_deletions_along_another_relation_hide_nothing(self) -> None:
        ann = write("ann")
        made = Deletion.objects.create
        of = {"parent": "auth.User", "key": str(ann.pk), "source": "scan"}
        Suspect.objects.create(parent="auth.User", relation="blog.Post.author", value=str(ann.pk))
        made(**of, relation="blog.Comment.author")
        assert alive(Post.objects.all()).count() == 1
        made(**of, relation="blog.Post.author")
        assert alive(Post.objects.all()).count() == 0

    def test_beyond_its_bound_the_oldest_show_again_and_a_warning_says_so(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(reading, "OPEN_MAX", 2)
        for name in ("ann", "bob", "cid"):
            write(name).delete()
        with caplog.at_level(logging.WARNING, logger="integrity.reading"):
            assert [post.title for post in alive(Post.objects.all())] == ["ann 0"]
        assert "more than 2 open deletions in default" in caplog.text

    def test_the_method_of_a_queryset(self) -> None:
        write("ann").delete()
        write("bob")
        rows: AliveQuerySet[Post] = AliveQuerySet(Post)
        assert [post.title for post in rows.filter(content="text").alive()] == ["bob 0"]


class TestValidateOnSave:
    @pytest.fixture(autouse=True)
    def guarded(self) -> Iterator[None]:
        validate_on_save("blog.Post.author", "left.Invoice.person")
        yield
        for model, name in ((Post, "blog.Post.author"), (Invoice, "left.Invoice.person")):
            uid = f"integrity.validate_on_save.{name}"
            assert pre_save.disconnect(sender=model, dispatch_uid=uid)

    def test_a_reference_to_nobody_is_refused_with_the_remedy(self) -> None:
        with pytest.raises(MissingParent, match="Save the parent first") as caught:
            Post.objects.create(title="t", content="c", author_id=MISSING)
        assert isinstance(caught.value, IntegrityError)
        assert (caught.value.relation, caught.value.key) == ("blog.Post.author", str(MISSING))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
        assert Post.objects.count() == 0

    def test_one_query_for_a_save_that_writes_the_key_and_none_for_another(
        self, captured: Captured
    ) -> None:
        post = Post(title="t", content="c", author=User.objects.create(username="ann"))
        with captured:
            post.save()
        assert len(captured["default"]) == 1
        with captured:
            post.save(update_fields=["title"])
        assert captured["default"] == []
        post.author_id = MISSING
        with pytest.raises(MissingParent):
            post.save(update_fields=["author"])

    def test_a_parent_of_the_same_open_transaction_is_there(self) -> None:
        with transaction.atomic():
            write("ann")
        assert Post.objects.count() == 1

    def test_nothing_is_asked_about_null_an_expression_or_a_fixture(self, tmp_path: Path) -> None:
        Invoice.objects.create(person=None)
        person = Person.objects.create(code="x", number=7)
        invoice = Invoice.objects.create(person=person)
        with pytest.raises(MissingParent):
            Invoice.objects.create(person_id=8)
        invoice.person_id = F("person_id")
        invoice.save()
        fixture = tmp_path / "posts.json"
        fields = (
            f'{{"title":"t","content":"c","author":{MISSING},"created_at":"2026-01-01T00:00Z"}}'
        )
        fixture.write_text(f'[{{"model":"blog.post","pk":1,"fields":{fields}}}]')
        call_command("loaddata", str(fixture), database="blog_db", verbosity=0)
        assert Post.objects.get().author_id == MISSING

    def test_an_unknown_relation_is_named(self) -> None:
        with pytest.raises(UnknownName, match=r"blog\.Post\.writer"):
            validate_on_save("blog.Post.writer")


class TestGuide:
    @pytest.fixture
    def guide(self) -> Iterator[dict[str, Any]]:
        """What the snippets define, run one after the other."""
        names: dict[str, Any] = {"__name__": "guide"}
        cache.clear()
        with snippets.undone():
            for block in snippets.blocks(GUIDE, "python"):
                snippets.run(block, names)
            yield names
        cache.clear()

    def test_prefetch_takes_two_queries_and_without_it_one_for_each(
        self, guide: dict[str, Any], captured: Captured
    ) -> None:
        for name in ("ann", "bob", "cid"):
            write(name)
        with captured:
            assert guide["newest_posts"](3)[0] == ("cid 0", "cid")
        assert (len(captured["blog_db"]), len(captured["default"])) == (1, 1)
        with captured:
            assert [
                len(user.blog_posts.all()) for user in User.objects.prefetch_related("blog_posts")
            ]  # type: ignore[attr-defined]
        assert (len(captured["blog_db"]), len(captured["default"])) == (1, 1)
        with captured:
            assert [post.author.username for post in Post.objects.all()]
        assert (len(captured["blog_db"]), len(captured["default"])) == (1, 3)

    def test_joins_fail_and_two_steps_do_not(self, guide: dict[str, Any]) -> None:
        write("ann", 2)
        for rows in (
            Post.objects.select_related("author"),
            Post.objects.filter(author__username="ann"),
            Post.objects.order_by("author__username"),
        ):
            with pytest.raises(ProgrammingError, match='"auth_user" does not exist'):
                list(rows)
        assert guide["posts_by"]("ann").count() == 2

    def test_pages_hide_what_is_about_to_go(self, guide: dict[str, Any]) -> None:
        ann = write("ann")
        bob = write("bob", 2)
        Comment.objects.create(post=Post.objects.get(author=ann), author=bob, content="c")
        ann.delete()
        assert [post.author_id for post in guide["page_of_posts"](0, 10)] == [bob.pk] * 2
        assert list(guide["comments_to_show"]()) == []

    def test_cached_authors_are_forgotten_with_their_deletion_and_hold_no_password(
        self, guide: dict[str, Any], captured: Captured
    ) -> None:
        ann, author = User.objects.create_user("ann", password="secret"), guide["author"]
        shown = {"username": "ann", "first_name": ""}
        assert author(ann.pk) == shown
        with captured:
            assert author(ann.pk) == shown
        assert captured["default"] == []
        assert cache.get(guide["cache_key"](ann.pk)) == shown
        ann.first_name = "Ann"
        ann.save()
        assert author(ann.pk) == {"username": "ann", "first_name": "Ann"}
        key = ann.pk
        with transaction.atomic():
            ann.delete()
        assert author(key) is None

    def test_the_guard_refuses(self, guide: dict[str, Any]) -> None:
        Post.objects.create(title="t", content="c", author_id=MISSING)
        guide["ready"]()
        with pytest.raises(MissingParent):
            Post.objects.create(title="t", content="c", author_id=MISSING)
