"""Cascades: Django's semantics in the child's database, in bounded statements, living rows kept."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_delete, pre_delete
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import backends, capture, cascade
from apps.integrity.backends.batch_size import BatchSize
from apps.integrity.backends.portable.barriers import NoBarriers
from apps.integrity.backends.portable.log import PortableLog
from apps.integrity.backends.portable.rows import PortableRows
from apps.integrity.cascade import verification
from apps.integrity.cascade.allowance import COLLECTOR_ROWS
from apps.integrity.control import actions
from apps.integrity.exceptions import ParentStillExists, UnknownName
from apps.integrity.log import claims, outcomes, values
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.report import preview
from apps.integrity.signals import cascade_finished
from apps.shop.models import Order
from sandbox.processes import eventually
from tests.kinds.left import models as left
from tests.kinds.left.models import (
    Badge,
    Base,
    Box,
    Derived,
    HiddenUse,
    Item,
    Label,
    Node,
    Numbered,
    NumberedPart,
    Picture,
    Seal,
    Shelf,
    Tag,
    Vault,
    WordUse,
)
from tests.kinds.parents.models import (
    Album,
    Forest,
    Giver,
    Hidden,
    Lineage,
    Owner,
    Person,
    Root,
    Safe,
    Series,
    Word,
)
from tests.kinds.right.models import Leaf, Untouched
from tests.log_rows import cascade_of, cascade_states, check_partitions, deletion_of, in_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(params=["PostgreSQL", "portable"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once in each form of the statements."""
    if request.param == "portable":
        monkeypatch.setattr(backends, "log_backend", lambda _: PortableLog())
        monkeypatch.setattr(backends, "row_backend", lambda _: PortableRows())
        monkeypatch.setattr(backends, "barrier_backend", lambda _: NoBarriers())
    return str(request.param)


def states(**wanted: Any) -> list[str]:
    return cascade_states(**wanted)


def tree(parent: Root, *, boxes: int = 2, items: int = 2) -> Shelf:
    shelf = Shelf.objects.create(root=parent)
    Label.objects.create(shelf=shelf)
    for _ in range(boxes):
        box = Box.objects.create(shelf=shelf)
        Item.objects.bulk_create(Item(box=box) for _ in range(items))
    return shelf


class TestBelowACascade:
    def test_a_tree_goes_leaf_first_and_set_null_keeps_its_rows(
        self, converge: Converge, form: str
    ) -> None:
        gone, kept = Root.objects.create(), Root.objects.create()
        for parent in (gone, kept, gone):
            tree(parent)
        gone.delete()
        assert converge() == {
            "left.Shelf.root": 2,
            "left.Box.shelf": 4,
            "left.Item.box": 8,
            "left.Label.shelf": 2,
        }
        assert Shelf.objects.get().root_id == kept.pk
        assert {box.shelf for box in Box.objects.all()} == {Shelf.objects.get()}
        assert Item.objects.count() == 4
        assert Label.objects.filter(shelf=None).count() == 2
        assert Label.objects.filter(shelf__root_id=kept.pk).count() == 1

    def test_signal_receivers_on_any_level_hear_of_each_row_as_in_django(
        self, converge: Converge
    ) -> None:
        heard: list[tuple[str, str, Any]] = []

        def before(instance: Any, using: str, **_: object) -> None:
            heard.append(("pre", using, instance.pk))

        def after(instance: Any, using: str, **_: object) -> None:
            heard.append(("post", using, instance.pk))

        parent = Root.objects.create()
        tree(parent)
        pks = set(Box.objects.values_list("pk", flat=True))
        parent.delete()
        pre_delete.connect(before, sender=Box)
        post_delete.connect(after, sender=Box)
        try:
            converge()
        finally:
            pre_delete.disconnect(before, sender=Box)
            post_delete.disconnect(after, sender=Box)
        assert sorted(heard) == sorted(
            (when, "test_left", pk) for when in ("pre", "post") for pk in pks
        )
        assert not any(each.objects.exists() for each in (Shelf, Box, Item))
        assert Label.objects.get().shelf is None

    def test_protected_rows_stay_and_the_reason_is_visible(self, converge: Converge) -> None:
        gone, free = Safe.objects.create(), Safe.objects.create()
        sealed = Vault.objects.create(safe=gone)
        Vault.objects.create(safe=free)
        Safe.objects.all().delete()
        Seal.objects.create(vault=sealed)  # else the delete itself is refused
        assert converge() == {"left.Vault.safe": 1}
        assert Vault.objects.get() == sealed
        assert states() == ["done", "waiting"]
        row = Cascade.objects.get(state="waiting")
        assert row.reason == "left.Vault.safe: ProtectedError (rows of left.Seal)"
        Seal.objects.all().delete()
        Cascade.objects.update(due_at=timezone.now())
        assert converge() == {"left.Vault.safe": 1}
        assert states() == ["done", "done"]

    def test_the_reason_quotes_no_row(self, converge: Converge) -> None:
        safe = Safe.objects.create()
        vault = Vault.objects.create(safe=safe)
        safe.delete()
        seal = Seal.objects.create(vault=vault)
        converge()
        assert repr(seal) not in Cascade.objects.get().reason

    def test_a_tree_of_rows_that_refer_to_each_other(self, converge: Converge) -> None:
        gone, kept = Forest.objects.create(), Forest.objects.create()
        root = Node.objects.create(forest=gone)
        below = Node.objects.create(forest=gone, above=root)
        Node.objects.create(forest=gone, above=below)
        Node.objects.create(forest=kept)
        gone.delete()
        assert converge() == {"left.Node.forest": 3}
        assert Node.objects.get().forest_id == kept.pk

    def test_a_generic_relation(self, converge: Converge) -> None:
        gone, kept = Album.objects.create(), Album.objects.create()
        kind = ContentType.objects.db_manager("test_left").get_for_model(Picture)
        for album in (gone, kept):
            picture = Picture.objects.create(album=album)
            Tag.objects.create(content_type_id=kind.pk, object_id=picture.pk)
        gone.delete()
        assert converge() == {"left.Picture.album": 1, "left.Tag": 1}
        assert Picture.objects.get().album_id == kept.pk
        assert Tag.objects.get().object_id == Picture.objects.get().pk

    def test_multi_table_children(self, converge: Converge) -> None:
        gone, kept = Lineage.objects.create(), Lineage.objects.create()
        for lineage in (gone, kept):
            Base.objects.create(lineage=lineage)
            Derived.objects.create(lineage=lineage)
        gone.delete()
        assert converge() == {"left.Base.lineage": 2, "left.Derived": 1}
        assert Derived.objects.get().lineage_id == kept.pk
        assert Base.objects.count() == 2

    @pytest.mark.parametrize("parts", [0, 1])
    def test_keys_below_that_hold_another_field_than_the_primary_key(
        self, converge: Converge, parts: int
    ) -> None:
        gone, kept = Series.objects.create(), Series.objects.create()
        doomed = Numbered.objects.create(series=gone, number=-1)
        for _ in range(parts):
            NumberedPart.objects.create(numbered=doomed)
        living = Numbered.objects.create(series=kept, number=doomed.pk)  # as misleading as can be
        part = NumberedPart.objects.create(numbered=living)
        gone.delete()
        converge()
        assert NumberedPart.objects.get() == part
        assert Numbered.objects.get() == living
        assert states() == ["done"]


class TestPolicies:
    @pytest.fixture
    def giver(self) -> Giver:
        for pk in (left.DEFAULT, left.VALUE, left.CALLED, left.INSTANCE, left.CUSTOM):
            Giver.objects.create(pk=pk)
        return Giver.objects.create(pk=1)

    @pytest.mark.parametrize(
        ("model", "value"),
        [
            (left.Nulled, None),
            (left.Defaulted, left.DEFAULT),
            (left.Valued, left.VALUE),
            (left.Called, left.CALLED),
            (left.Instanced, left.INSTANCE),
            (left.Customised, left.CUSTOM),
        ],
    )
    def test_a_policy_that_sets_a_value(
        self, converge: Converge, giver: Giver, form: str, model: Any, value: int | None
    ) -> None:
        kept = Giver.objects.create(pk=2)
        for each in (giver, kept, giver):
            model.objects.create(giver=each)
        giver.delete()
        assert converge() == {f"left.{model.__name__}.giver": 2}
        found = Counter(model.objects.values_list("giver_id", flat=True))
        assert found == {value: 2, 2: 1}
        assert states() == ["done"]

    def test_do_nothing_is_left_alone(self, converge: Converge, giver: Giver) -> None:
        Untouched.objects.create(giver=giver)
        giver.delete()
        assert converge() == {}
        assert Untouched.objects.get().giver_id == 1
        assert states(database="test_right") == []

    def test_a_value_that_is_deleted_too_is_refused_and_the_error_kept(
        self, converge: Converge, giver: Giver
    ) -> None:
        row = left.Defaulted.objects.create(giver_id=left.DEFAULT)
        Giver.objects.get(pk=left.DEFAULT).delete()
        assert converge() == {}
        found = Cascade.objects.get()
        assert found.state == "waiting"
        assert found.reason.startswith("UnusablePolicy: left.Defaulted.giver: its on_delete sets")
        row.refresh_from_db()
        assert row.giver_id == left.DEFAULT

    def test_a_value_that_was_deleted_before_is_refused_and_the_error_kept(
        self, converge: Converge, giver: Giver
    ) -> None:
        Giver.objects.get(pk=left.DEFAULT).delete()
        converge()
        left.Defaulted.objects.create(giver=giver)
        giver.delete()
        assert converge() == {}
        assert states() == ["done", "waiting"]
        assert left.Defaulted.objects.get().giver_id == 1

    def test_a_policy_that_cannot_be_carried_out_elsewhere_says_so(
        self, converge: Converge
    ) -> None:
        stubborn = left.Stubborn.objects.create()
        left.Collected.objects.create(stubborn=stubborn)
        left.Stubborn.objects.filter(pk=stubborn.pk)._raw_delete("default")
        capture.record((left.Stubborn, [stubborn.pk]), using="default")
        assert converge() == {}
        [row] = Cascade.objects.all()
        assert row.state == "waiting"
        assert row.reason.startswith("UnusablePolicy: left.Collected.stubborn")
        assert left.Collected.objects.count() == 1


class TestLivingParents:
    """G2: no row with a living parent is deleted or changed."""

    def test_a_parent_that_came_back_keeps_every_row(self, converge: Converge, form: str) -> None:
        user = User.objects.create(username="ann")
        key = user.pk
        post = Post.objects.create(title="t", content="c", author=user)
        Order.objects.create(order_number="1", customer=user, total=1)
        user.delete()
        user.pk = key
        user.save(force_insert=True)
        assert converge() == {}
        assert Post.objects.get() == post
        assert Order.objects.count() == 1
        deletion = Deletion.objects.get()
        assert deletion.state == "kept"
        assert "taken over" in deletion.why
        assert states() == ["kept", "kept"]

    def test_it_keeps_one_and_cascades_the_others_of_the_same_claim(
        self, converge: Converge
    ) -> None:
        users = User.objects.bulk_create(User(username=f"{n}") for n in range(10))
        Order.objects.bulk_create(
            Order(order_number=f"{each.pk}", customer=each, total=1) for each in users
        )
        User.objects.all().delete()
        back = users[3]
        back.save(force_insert=True)
        assert converge() == {"shop.Order.customer": 9}
        assert Order.objects.get().customer == back
        assert Counter(states()) == {"done": 18, "kept": 2}

    def test_a_parent_that_comes_back_between_two_statements_keeps_what_is_left(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch, converge: Converge
    ) -> None:
        tune(statement_rows=2, statement_rows_max=2)
        owner = Owner.objects.create()
        Leaf.objects.bulk_create(Leaf(owner=owner) for _ in range(7))
        key = owner.pk
        owner.delete()
        took = BatchSize.record_step

        def come_back(batch_size: BatchSize, seconds: float, **told: Any) -> None:
            if Leaf.objects.count() < 7:
                Owner(pk=key).save()
            took(batch_size, seconds, **told)

        monkeypatch.setattr(BatchSize, "record_step", come_back)
        assert converge() == {"right.Leaf.owner": 2}
        assert Leaf.objects.count() == 5
        assert in_database(key, "test_right").kept == {"right.Leaf.owner": 5}
        assert in_database(key, "test_right").rows == {"right.Leaf.owner": 2}
        assert Counter(states()) == {"done": 1, "kept": 1}

    def test_a_row_that_moved_to_a_living_parent_is_kept(
        self, converge: Converge, form: str
    ) -> None:
        gone, kept = Owner.objects.create(), Owner.objects.create()
        moved, stays = Leaf.objects.create(owner=gone), Leaf.objects.create(owner=gone)
        gone.delete()
        Leaf.objects.filter(pk=moved.pk).update(owner=kept)
        assert converge() == {"right.Leaf.owner": 1}
        assert Leaf.objects.get() == moved
        assert stays.pk != moved.pk

    def test_a_leaf_below_that_moved_to_a_living_row_is_kept(self, converge: Converge) -> None:
        gone, kept = Root.objects.create(), Root.objects.create()
        doomed, living = tree(gone), tree(kept, boxes=0)
        box = Box.objects.filter(shelf=doomed)[0]
        gone.delete()
        Box.objects.filter(pk=box.pk).update(shelf=living)
        converge()
        assert Box.objects.get() == box
        assert Item.objects.filter(box=box).count() == 2

    def test_a_value_that_another_living_parent_took_over_keeps_its_rows(
        self, converge: Converge, form: str
    ) -> None:
        gone = Person.objects.create(code="ann")
        badge = Badge.objects.create(person=gone)
        gone.delete()
        Person.objects.create(code="ann")
        assert converge() == {}
        assert Badge.objects.get() == badge

    @pytest.mark.parametrize("hidden", [True, False])
    def test_a_parent_hidden_by_its_managers_is_alive(
        self, converge: Converge, form: str, *, hidden: bool
    ) -> None:
        key = 77
        capture.record((Hidden, [key]), using="default")
        Hidden(pk=key, hidden=hidden).save(force_insert=True)
        HiddenUse.objects.create(hidden_id=key)
        assert converge() == {}
        assert HiddenUse.objects.count() == 1
        assert Deletion.objects.get().state == "kept"

    def test_a_hidden_parent_is_not_recorded_as_gone(self) -> None:
        Hidden(pk=77, hidden=True).save()
        with pytest.raises(ParentStillExists):
            capture.record((Hidden, [77]), using="default")

    def test_a_text_longer_than_the_key_never_stands_for_a_living_parent(
        self, converge: Converge
    ) -> None:
        Deletion.objects.create(parent="parents.Word", key="a" * 13)
        word = Word.objects.create(text="a" * 12)
        WordUse.objects.create(word=word)
        assert converge() == {}
        assert WordUse.objects.count() == 1

    def test_a_key_that_cannot_be_read_touches_nothing_and_holds_up_nobody(
        self, converge: Converge
    ) -> None:
        Deletion.objects.create(parent="auth.User", key="not a number")
        user = User.objects.create(username="ann")
        for each in (user, User.objects.create(username="bob")):
            Order.objects.create(order_number=each.username, customer=each, total=1)
        user.delete()
        assert converge() == {"shop.Order.customer": 1}
        assert Order.objects.get().order_number == "bob"
        row = cascade_of("not a number", "shop_db")
        assert row.state == "waiting"
        assert row.reason.startswith("shop.Order.customer: InvalidKey: ")

    def test_random_deletes_take_what_is_theirs_and_nothing_else(
        self, converge: Converge, form: str
    ) -> None:
        dice = random.Random(7)  # noqa: S311
        users = User.objects.bulk_create(User(username=f"{n}") for n in range(30))
        posts = Post.objects.bulk_create(
            Post(title="t", content="c", author=dice.choice(users)) for _ in range(80)
        )
        Comment.objects.bulk_create(
            Comment(post=dice.choice(posts), author=dice.choice(users), content="c")
            for _ in range(200)
        )
        gone = dice.sample(users, 12)
        keys = {each.pk for each in gone}
        kept_posts = set(Post.objects.exclude(author_id__in=keys).values_list("pk", flat=True))
        kept_comments = set(
            Comment.objects.filter(post__in=kept_posts)
            .exclude(author_id__in=keys)
            .values_list("pk", flat=True)
        )
        User.objects.filter(pk__in=keys).delete()
        converge()
        assert set(Post.objects.values_list("pk", flat=True)) == kept_posts
        assert set(Comment.objects.values_list("pk", flat=True)) == kept_comments


class TestAgainAndAtOnce:
    """G4: twice, concurrently or after a crash is as once."""

    def test_a_second_run_finds_nothing(self, converge: Converge) -> None:
        user = User.objects.create(username="ann")
        Order.objects.create(order_number="1", customer=user, total=1)
        user.delete()
        assert converge() == {"shop.Order.customer": 1}
        before = list(Cascade.objects.order_by("pk").values())
        assert dispatch.sweep_all() == (0, frozenset())
        again = cascade.drain("shop_db")
        assert (again.finished, again.kept, again.failed, again.rows) == (0, 0, 0, {})
        assert not again.more
        assert list(Cascade.objects.order_by("pk").values()) == before

    def test_a_second_record_of_the_same_deletion_removes_nothing_more(
        self, converge: Converge
    ) -> None:
        owner = Owner.objects.create()
        Leaf.objects.create(owner=owner)
        key = owner.pk
        owner.delete()
        capture.record((Owner, [key]), using="default")
        assert converge() == {"right.Leaf.owner": 1}
        assert Counter(states(database="test_right")) == {"done": 2}

    @pytest.mark.parametrize("workers", [2, 4])
    def test_workers_at_the_same_time_count_each_row_once(
        self, tune: Tune, at_once: Callable[..., list[Any]], workers: int
    ) -> None:
        tune(claim_keys=5, statement_rows=20, statement_rows_max=20)
        roots = Root.objects.bulk_create(Root() for _ in range(40))
        for parent in roots:
            tree(parent, boxes=3, items=3)
        Root.objects.all().delete()
        dispatch.sweep("default")
        done = at_once(*[lambda: cascade.drain("test_left")] * workers)
        rows = sum((each.rows for each in done), Counter())
        expected = {
            "left.Shelf.root": 40,
            "left.Box.shelf": 120,
            "left.Item.box": 360,
            "left.Label.shelf": 40,
        }
        assert rows == expected
        assert sum(each.finished for each in done) == 40
        assert not any(each.failed for each in done)
        assert states() == ["done"] * 40
        receipts: Counter[str] = Counter()
        for row in Deletion.objects.all():
            for one in row.databases:
                receipts.update(one.rows)
        assert receipts == expected

    def test_two_workers_on_the_same_cascades_do_no_harm(
        self, at_once: Callable[..., list[Any]]
    ) -> None:
        """As when a lease runs out under a worker that is still alive."""
        roots = Root.objects.bulk_create(Root() for _ in range(10))
        for parent in roots:
            tree(parent, boxes=5, items=5)
        kept = tree(Root.objects.create())
        Root.objects.exclude(pk=kept.root_id).delete()
        dispatch.sweep("default")

        def expire_and_drain() -> cascade.Drained:
            Cascade.objects.filter(state="running").update(
                due_at=timezone.now() - dt.timedelta(seconds=1)
            )
            return cascade.drain("test_left")

        done = at_once(*[expire_and_drain] * 3)
        assert not any(each.failed for each in done)
        assert sum(each.finished for each in done) == 10
        assert sum((each.rows for each in done), Counter())["left.Item.box"] == 250
        assert (Shelf.objects.get(), Box.objects.count(), Item.objects.count()) == (kept, 2, 4)

    def test_the_work_of_a_dead_worker_is_done_when_its_lease_ends(
        self, converge: Converge
    ) -> None:
        owner = Owner.objects.create()
        Leaf.objects.create(owner=owner)
        key = owner.pk
        owner.delete()
        dispatch.sweep("default")
        dead = claims.claim("test_right", using="default", limit=9, lease_seconds=60)
        assert converge() == {}
        Cascade.objects.update(due_at=timezone.now())
        assert converge() == {"right.Leaf.owner": 1}
        assert Cascade.objects.get(database="test_right").attempts == 2
        assert dead is not None
        assert outcomes.finish(dead, {dead.deletions[0].id: {}}, barrier=None) == []
        assert in_database(key, "test_right").rows == {"right.Leaf.owner": 1}

    def test_rows_that_somebody_holds_are_done_when_they_are_let_go(
        self, converge: Converge, locked: Any
    ) -> None:
        owners = [Owner.objects.create() for _ in range(3)]
        for owner in owners:
            Leaf.objects.create(owner=owner)
        held = Leaf.objects.filter(owner=owners[0])
        keys = [owner.pk for owner in owners]
        with locked(held):
            Owner.objects.filter(pk__in=keys).delete()
            assert converge() == {"right.Leaf.owner": 2}
            row = cascade_of(keys[0], "test_right")
            assert (row.state, row.attempts) == ("waiting", 0)
            assert row.reason == "right.Leaf.owner: rows are locked by another transaction"
        Cascade.objects.update(due_at=timezone.now())
        assert converge() == {"right.Leaf.owner": 1}
        assert not Leaf.objects.exists()

    def test_a_row_below_that_somebody_holds_keeps_its_whole_tree_and_no_other(
        self, converge: Converge, locked: Any
    ) -> None:
        held, free = Root.objects.create(), Root.objects.create()
        for parent in (held, free):
            tree(parent)
        item = Item.objects.filter(box__shelf__root=held.pk)[0]
        key = str(held.pk)
        with locked(Item.objects.filter(pk=item.pk)):
            Root.objects.all().delete()
            converge()
            assert Shelf.objects.get() == item.box.shelf
            assert (Box.objects.count(), Item.objects.count()) == (2, 4)
            assert cascade_of(key, "test_left").state == "waiting"
            assert states() == ["done", "waiting"]
        Cascade.objects.update(due_at=timezone.now())
        converge()
        assert not Shelf.objects.exists()
        assert in_database(key, "test_left").rows == {
            "left.Shelf.root": 1,
            "left.Box.shelf": 2,
            "left.Item.box": 4,
            "left.Label.shelf": 1,
        }


class TestTakeOver:
    """A message that the broker delivers again belonged to a process that died."""

    @pytest.fixture
    def held(self) -> values.Claim:
        for _ in range(3):
            Leaf.objects.create(owner=Owner.objects.create())
        Owner.objects.all().delete()
        dispatch.sweep_all()
        held = claims.claim("test_right", using="default", limit=9, lease_seconds=60, owner="dead")
        assert held is not None
        return held

    def test_the_next_run_takes_over_at_once_what_the_dead_one_had_claimed(
        self, held: values.Claim
    ) -> None:
        done = cascade.drain("test_right", owner="dead", again=True)
        assert (done.finished, done.rows) == (3, {"right.Leaf.owner": 3})
        assert outcomes.finish(held, {each.id: {} for each in held.deletions}, barrier=None) == []

    @pytest.mark.parametrize(("owner", "again"), [("dead", False), ("another", True), ("", True)])
    def test_nobody_else_does(self, held: values.Claim, owner: str, *, again: bool) -> None:
        assert cascade.drain("test_right", owner=owner, again=again).rows == {}
        assert states(database="test_right") == ["running"] * 3


class TestLateRows:
    """G9: a child inserted after the cascade is found by the verification."""

    @pytest.fixture
    def verified(self) -> Callable[[], verification.Verified]:
        """Verify as soon as the grace period is over and no older transaction is open."""

        def run() -> verification.Verified:
            Cascade.objects.filter(state="done").update(due_at=timezone.now())
            found: list[verification.Verified] = []

            def probed() -> bool:
                found.append(verification.verify("test_right"))
                return bool(found[-1].verified or found[-1].reopened)

            assert eventually(probed, timeout=30)
            return found[-1]

        return run

    def test_it_is_removed_before_the_proof_is_given(
        self, converge: Converge, verified: Callable[[], verification.Verified]
    ) -> None:
        owner = Owner.objects.create()
        Leaf.objects.create(owner=owner)
        key = owner.pk
        owner.delete()
        assert converge() == {"right.Leaf.owner": 1}
        Leaf.objects.create(owner_id=key)
        assert verified().reopened == 1
        assert Cascade.objects.get(database="test_right").attempts == 0
        assert converge() == {"right.Leaf.owner": 1}
        assert verified().verified == 1
        row = in_database(key, "test_right")
        assert (row.state, row.rows) == ("verified", {"right.Leaf.owner": 2})
        assert row.verified_at is not None

    def test_a_row_of_a_parent_that_came_back_is_kept(self, converge: Converge) -> None:
        owner = Owner.objects.create()
        key = owner.pk
        owner.delete()
        converge()
        Owner.objects.create(pk=key)
        Leaf.objects.create(owner_id=key)
        Cascade.objects.filter(state="done").update(due_at=timezone.now())
        assert eventually(lambda: bool(verification.verify("test_right").kept), timeout=30)
        assert converge() == {}
        assert Leaf.objects.count() == 1
        assert states(database="test_right") == ["kept"]


class TestBounds:
    """G8: no statement touches more rows than the limit, each in its own transaction."""

    @pytest.fixture
    def row_counts(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        found: list[int] = []
        for name in ("delete_rows", "delete_total", "update_rows", "lock_rows"):
            self.count(monkeypatch, name, found)
        return found

    def count(self, monkeypatch: pytest.MonkeyPatch, name: str, found: list[int]) -> None:
        form = type(backends.row_backend("test_left"))
        plain = getattr(form, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            rows = plain(*args, **kwargs)
            number = rows.total() if isinstance(rows, Counter) else rows
            found.append(number if isinstance(number, int) else len(number))
            return rows

        monkeypatch.setattr(form, name, counted)

    @pytest.mark.parametrize("most", [1, 2, 7])
    def test_no_statement_touches_more_rows_than_the_limit(
        self, tune: Tune, converge: Converge, row_counts: list[int], most: int
    ) -> None:
        tune(statement_rows_max=most)
        for _ in range(3):
            tree(Root.objects.create(), boxes=3, items=4)
        Root.objects.all().delete()
        assert converge() == {
            "left.Shelf.root": 3,
            "left.Box.shelf": 9,
            "left.Item.box": 36,
            "left.Label.shelf": 3,
        }
        assert max(row_counts) <= most
        assert states() == ["done"] * 3

    def test_the_limit_holds_for_a_leaf_by_what_the_server_says(
        self, tune: Tune, converge: Converge, captured: Captured
    ) -> None:
        tune(statement_rows_max=7)
        cascade.drain("test_right")  # the databases have met
        owner = Owner.objects.create()
        Leaf.objects.bulk_create(Leaf(owner=owner) for _ in range(30))
        owner.delete()
        with captured:
            assert converge() == {"right.Leaf.owner": 30}
        deletes = [sql for sql in captured["test_right"] if "DELETE" in sql]
        assert len(deletes) >= 5  # 7 + 7 + 7 + 7 + 2
        assert all("LIMIT 7" in sql for sql in deletes)
        ends = [sql for sql in captured["test_right"] if "DELETE" in sql or sql == "COMMIT"]
        assert ends[1::2] == ["COMMIT"] * len(deletes)  # each is a transaction by itself

    @pytest.mark.postgresql
    def test_each_step_of_a_tree_is_its_own_transaction(
        self, tune: Tune, converge: Converge, captured: Captured
    ) -> None:
        tune(statement_rows_max=7)
        parent = Root.objects.create()
        tree(parent, boxes=3, items=4)
        parent.delete()
        with captured:
            converge()
        steps = "\n".join(captured["test_left"]).split("BEGIN")[1:]
        assert len(steps) > 3
        # One that had begun with too many roots was rolled back.
        assert all(step.count("COMMIT") + step.count("ROLLBACK") == 1 for step in steps)
        outside = captured["test_left"][0 : captured["test_left"].index("BEGIN")]
        assert not [sql for sql in outside if "DELETE" in sql]

    def test_batch_size_one_everywhere_still_converges(
        self, tune: Tune, converge: Converge, form: str
    ) -> None:
        tune(claim_keys=1, statement_rows=1, statement_rows_max=1, dispatch_keys=1)
        for _ in range(2):
            tree(Root.objects.create(), boxes=2, items=2)
        for _ in range(2):
            forest = Forest.objects.create()
            Node.objects.create(forest=forest, above=Node.objects.create(forest=forest))
        Root.objects.all().delete()
        Forest.objects.all().delete()
        assert converge() == {
            "left.Shelf.root": 2,
            "left.Box.shelf": 4,
            "left.Item.box": 8,
            "left.Label.shelf": 2,
            "left.Node.forest": 4,
        }
        assert set(states()) == {"done"}

    def test_many_deletions_share_their_statements(
        self, converge: Converge, captured: Captured
    ) -> None:
        cascade.drain("test_right")  # the databases have met
        owners = Owner.objects.bulk_create(Owner() for _ in range(400))
        Leaf.objects.bulk_create(Leaf(owner=owner) for owner in owners)
        Owner.objects.all().delete()
        with captured:
            assert converge() == {"right.Leaf.owner": 400}
        assert len(captured["test_right"]) < 15

    def test_a_collector_loads_a_bounded_batch(
        self, tune: Tune, converge: Converge, row_counts: list[int]
    ) -> None:
        forest = Forest.objects.create()
        Node.objects.bulk_create(Node(forest=forest) for _ in range(COLLECTOR_ROWS * 2))
        forest.delete()
        assert converge() == {"left.Node.forest": COLLECTOR_ROWS * 2}
        assert max(row_counts) == COLLECTOR_ROWS


class TestFairness:
    """G7: a huge deletion does not hold up small ones."""

    @pytest.mark.parametrize("together", [False, True], ids=["before them", "in their batch"])
    def test_the_small_are_done_while_the_giant_is_still_pending(
        self, tune: Tune, *, together: bool
    ) -> None:
        claimed = {} if together else {"claim_keys": 1}
        tune(turn_seconds=0.001, statement_rows=50, statement_rows_max=50, **claimed)
        giant = Owner.objects.create()
        Leaf.objects.bulk_create(Leaf(owner=giant) for _ in range(5_000))
        small = Owner.objects.bulk_create(Owner() for _ in range(10))
        Leaf.objects.bulk_create(Leaf(owner=owner) for owner in small)
        key = str(giant.pk)
        if not together:
            giant.delete()
            dispatch.sweep("default")
        Owner.objects.all().delete()
        dispatch.sweep("default")
        finished: list[int] = []

        def stop_after_ten(deletions: tuple[int, ...], **_: object) -> None:
            finished.extend(deletions)
            if len(finished) >= 10:
                actions.pause("test_right", actor="test", reason="enough", using="default")

        cascade_finished.connect(stop_after_ten)
        try:
            cascade.drain("test_right")
        finally:
            cascade_finished.disconnect(stop_after_ten)
        row = in_database(key, "test_right")
        assert deletion_of(key).pk not in finished
        assert row.state == "pending"
        assert cascade_of(key, "test_right").size == 1
        assert 0 < row.rows["right.Leaf.owner"] < 5_000
        assert row.rows["right.Leaf.owner"] + Leaf.objects.count() == 5_000
        assert states(database="test_right") == ["done"] * 10 + ["pending"]
        check_partitions()

    def test_nor_does_it_once_all_of_its_batch_have_lost_some_rows(self, tune: Tune) -> None:
        tune(turn_seconds=0.02, statement_rows=20, statement_rows_max=20)
        giant, *small = (User.objects.create(username=f"{n}") for n in range(11))
        post = Post.objects.create(title="t", content="c", author=User.objects.create())
        Post.objects.bulk_create(
            Post(title="t", content="c", author=user) for user in [giant] * 3_000 + small
        )
        Comment.objects.bulk_create(
            Comment(post=post, author=user, content="c") for user in [giant, *small]
        )
        key = giant.pk
        User.objects.filter(pk__in=[giant.pk, *(user.pk for user in small)]).delete()
        dispatch.sweep("default")
        finished: list[int] = []

        def stop_after_ten(deletions: tuple[int, ...], **_: object) -> None:
            finished.extend(deletions)
            if len(finished) >= 10:
                actions.pause("blog_db", actor="test", reason="enough", using="default")

        cascade_finished.connect(stop_after_ten)
        try:
            cascade.drain("blog_db")
        finally:
            cascade_finished.disconnect(stop_after_ten)
        assert deletion_of(key).pk not in finished
        assert states(database="blog_db") == ["done"] * 10 + ["pending"]
        assert Post.objects.filter(author_id=key).count() > 500
        check_partitions()

    def test_a_run_ends_when_its_time_is_up_and_says_that_there_is_more(
        self, tune: Tune, converge: Converge
    ) -> None:
        tune(statement_rows=10, statement_rows_max=10)
        owner = Owner.objects.create()
        Leaf.objects.bulk_create(Leaf(owner=owner) for _ in range(100))
        key = owner.pk
        owner.delete()
        dispatch.sweep("default")
        done = cascade.drain("test_right", seconds=0)
        assert done.more
        assert done.finished == 0
        assert done.rows == {"right.Leaf.owner": 10}
        assert converge() == {"right.Leaf.owner": 90}
        assert in_database(key, "test_right").rows == {"right.Leaf.owner": 100}


class TestReceiptsAndPreview:
    def test_each_receipt_counts_what_went_for_its_own_deletion(
        self, tune: Tune, converge: Converge, form: str
    ) -> None:
        tune(statement_rows_max=5)
        sizes = {}
        for boxes in (0, 1, 4):
            parent = Root.objects.create()
            tree(parent, boxes=boxes, items=3)
            sizes[str(parent.pk)] = boxes
        Root.objects.all().delete()
        converge()
        for key, boxes in sizes.items():
            expected = {"left.Shelf.root": 1, "left.Label.shelf": 1}
            if boxes:
                expected |= {"left.Box.shelf": boxes, "left.Item.box": boxes * 3}
            assert in_database(key, "test_left").rows == expected

    def test_the_preview_says_what_the_cascade_then_does(self, converge: Converge) -> None:
        dice = random.Random(11)  # noqa: S311
        users = User.objects.bulk_create(User(username=f"{n}") for n in range(12))
        posts = Post.objects.bulk_create(
            Post(title="t", content="c", author=dice.choice(users)) for _ in range(30)
        )
        Comment.objects.bulk_create(
            Comment(post=dice.choice(posts), author=dice.choice(users), content="c")
            for _ in range(90)
        )
        Order.objects.bulk_create(
            Order(order_number=f"{n}", customer=dice.choice(users), total=1) for n in range(20)
        )
        for user in users:
            promised = {
                effect["relation"]: effect["rows"]
                for effect in preview.preview_of("auth.User", str(user.pk))
                if effect["rows"]
            }
            user.delete()
            assert converge() == promised

    def test_the_preview_of_a_deep_tree(self, converge: Converge) -> None:
        dice = random.Random(13)  # noqa: S311
        for _ in range(4):
            parent = Root.objects.create()
            for _ in range(dice.randrange(4)):
                tree(parent, boxes=dice.randrange(4), items=dice.randrange(4))
        for parent in Root.objects.all():
            promised = {
                effect["relation"]: effect["rows"]
                for effect in preview.preview_of("parents.Root", str(parent.pk))
                if effect["rows"]
            }
            parent.delete()
            assert converge() == promised

    def test_finished_cascades_are_announced_with_their_log(self, converge: Converge) -> None:
        heard: list[Any] = []

        def note(database: str, using: str, deletions: tuple[int, ...], **_: object) -> None:
            heard.append((database, using, deletions))

        cascade_finished.connect(note)
        try:
            User.objects.create(username="ann").delete()
            converge()
        finally:
            cascade_finished.disconnect(note)
        pk = Deletion.objects.get().pk
        assert sorted(heard) == [("blog_db", "default", (pk,)), ("shop_db", "default", (pk,))]


def test_only_child_databases_are_drained() -> None:
    for alias in ("default", "nope"):
        with pytest.raises(UnknownName, match=r"known: .*blog_db"):
            cascade.drain(alias)


def test_two_parents_models_in_one_database_are_both_served(converge: Converge) -> None:
    word, person = Word.objects.create(text="a"), Person.objects.create(code="b")
    WordUse.objects.create(word=word)
    Badge.objects.create(person=person)
    word.delete()
    person.delete()
    assert converge() == {"left.WordUse.word": 1, "left.Badge.person": 1}
