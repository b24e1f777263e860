"""Whatever happened: each sentence and number of a receipt against SQL on the child databases."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from django.contrib.auth.models import User
from hypothesis import strategies as st

from apps.blog.models import Comment, Post
from apps.integrity import cascade, relations
from apps.integrity.cascade import verification
from apps.integrity.log import deletions
from apps.integrity.management.exit_codes import ExitCode
from apps.integrity.management.verbs.receipt import exit_code, lines
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.report import receipt_text, receipts, unfollowed
from apps.integrity.report.receipt_lines import NOT_COVERED
from tests.kinds.left import models as left
from tests.kinds.parents.models import Giver, Guarded, Mixed

if TYPE_CHECKING:
    from apps.integrity.relations import Relation
    from apps.integrity.report.receipts import Receipt
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

#: Children on PostgreSQL and on SQLite, with every policy: also below others in one database.
PARENTS: tuple[type[Any], ...] = (User, Giver, Mixed, Guarded)
#: What the SET policies put in place has to exist.
VALUES = (left.DEFAULT, left.VALUE, left.CALLED, left.INSTANCE, left.CUSTOM)
BELOW = "blog.Comment.post"
REMOVED = {"deleted", "set to null", "replaced"}

KEYS = st.integers(0, 3)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.integers(0, len(PARENTS) - 1), st.integers(0, 2)),
        st.tuples(st.sampled_from(["signal", "trigger", "scan", "back", "late", "cancel"]), KEYS),
        st.tuples(st.sampled_from(["dispatch", "verify"])),
        st.tuples(st.just("drain"), st.integers(0, 4)),
    ),
    min_size=3,
    max_size=14,
)


class World:
    """Parents, what their rows were at first, and what the receipts said when it was over."""

    def __init__(self) -> None:
        self.parents: list[tuple[type[Any], Any]] = []
        self.inserted: dict[tuple[str, Any], int] = {}
        self.said: dict[int, str] = {}
        self.states: dict[int, str] = {}
        self.other = User.objects.create(username="other")
        self.other_post = Post.objects.create(title="t", content="", author=self.other)
        for pk in VALUES:
            Giver.objects.create(pk=pk)

    # Acts

    def make(self, kind: int, number: int) -> None:
        model = PARENTS[kind]
        named = {"username": f"u{len(self.parents)}"} if model is User else {}
        parent = model.objects.create(**named)
        self.parents.append((model, parent.pk))
        for relation in pointing(model):
            for _ in range(0 if relation.policy.protects else number):
                self.insert(relation, parent.pk)
        for post in Post.objects.filter(author_id=parent.pk) if model is User else ():
            Comment.objects.create(post=post, author=self.other, content="")
            self._count((BELOW, parent.pk))

    def insert(self, relation: Relation, key: Any) -> None:
        values: dict[str, Any] = {relation.field.attname: key}
        if relation.child is Comment:
            values |= {"post": self.other_post, "content": ""}
        if relation.label == "shop.Order.customer":
            values |= {
                "total": 1,
                "order_number": f"{len(self.inserted)}{sum(self.inserted.values())}",
            }
        relation.child._base_manager.using(relation.child_databases[0]).create(**values)
        self._count((relation.label, key))

    def _count(self, place: tuple[str, Any]) -> None:
        self.inserted[place] = self.inserted.get(place, 0) + 1

    def record(self, at: int, source: str) -> None:
        for model, key in self.parents[at : at + 1]:
            if not (rows := model.objects.filter(pk=key)):
                return
            if source == "signal":
                rows[0].delete()
                return
            rows._raw_delete("default")
            labels = [each.label for each in pointing(model) if each.policy.cascades]
            found = labels[:2] if source == "scan" else [""]
            for label in found:
                Deletion.objects.create(
                    parent=model._meta.label, key=str(key), relation=label, source=source
                )

    def back(self, at: int) -> None:
        for model, key in self.parents[at : at + 1]:
            named = {"username": f"back{key}"} if model is User else {}
            model.objects.get_or_create(pk=key, defaults=named)

    def late(self, at: int) -> None:
        for model, key in self.parents[at : at + 1]:
            for relation in pointing(model):
                if not relation.policy.protects:
                    self.insert(relation, key)

    def cancel(self, at: int) -> None:
        for model, key in self.parents[at : at + 1]:
            rows = Deletion.objects.filter(parent=model._meta.label, key=str(key))
            deletions.cancel(rows.values_list("pk", flat=True), "given up", using="default")

    def act(self, name: str, *arguments: int) -> None:
        databases = relations.catalogue().child_databases
        if name in {"signal", "trigger", "scan"}:
            self.record(arguments[0], name)
        elif name == "dispatch":
            dispatch.sweep_all()
        elif name == "drain":
            cascade.drain(databases[arguments[0] % len(databases)])
        elif name == "verify":
            for database in databases:
                verification.verify(database)
        else:
            getattr(self, name)(*arguments)

    # Checks

    def check(self) -> None:
        for model, key in self.parents:
            found = receipts.receipts_of(model._meta.label, str(key))
            self._check_counts(model, key, found)
            for receipt in map(unfollowed.count, found):
                self._check(model, key, receipt)

    def _check_counts(self, model: type[Any], key: Any, found: list[Receipt]) -> None:
        """What the receipts of a key count is what is no longer there."""
        labels = {each.label: there(each, key) for each in pointing(model)}
        if model is User:
            labels[BELOW] = Comment.objects.filter(post__author_id=key).count()
        for label, number in labels.items():
            counted = sum(
                line["rows"] or 0
                for receipt in found
                for line in receipt["scope"]
                if line["relation"] == label
            )
            assert counted == self.inserted.get((label, key), 0) - number, label

    def _check(self, model: type[Any], key: Any, receipt: Receipt) -> None:
        pk, state = receipt["deletion"]["id"], receipt["deletion"]["state"]
        states = {row.state for row in Cascade.objects.all() if pk in row.deletions}
        proven = states == {"verified"}
        assert (exit_code([receipt]) is ExitCode.CLEAN) == proven
        statement = receipt_text.statement(receipt)
        assert statement[0].startswith("Counted again by ") == proven
        assert proven or "no proof" in statement[0] or "not proof yet" in statement[0]
        assert "".join(lines(receipt, str(key))).count("UTC") >= 1
        by_label = {each.label: each for each in pointing(model)}
        just_ended = self.states.get(pk) != state
        for line in receipt["scope"]:
            relation = by_label.get(line["relation"])
            number = there(relation, key) if relation else 0
            if line["outcome"] == NOT_COVERED and line["rows_now"] is not None:
                assert line["rows_now"] == number
            if just_ended and proven and line["outcome"] in REMOVED:
                assert number == 0
            if just_ended and state == "kept" and line["outcome"] == "kept":
                assert line["kept"] == number
        by_place = {(line["relation"], line["database"]): line for line in receipt["scope"]}
        assert len(by_place) == len(receipt["scope"])
        for each in receipt["cascades"]:
            for label, number in each["rows"].items():
                assert by_place[label, each["database"]]["rows"] == number
        covered = {each["relation"] for each in receipt["scope"] if each["outcome"] != NOT_COVERED}
        along = receipt["deletion"]["relation"]
        followed = {each.label for each in by_label.values() if each.policy.cascades}
        if along:
            assert covered - {BELOW} <= {along}
            assert f"along {along} only" in " ".join(statement)
        if proven:
            assert covered - {BELOW} == ({along} if along else followed)
        self.states[pk] = state
        if state in Deletion.ENDED:
            text = frozen(receipt)
            assert self.said.setdefault(pk, text) == text


def pointing(model: type[Any]) -> list[Relation]:
    return [each for each in relations.catalogue().relations if each.parent is model]


def there(relation: Relation, key: Any) -> int:
    """How many rows refer to the key now. The product's own statements are not asked."""
    return sum(
        relation.child._base_manager.using(alias).filter(**{relation.field.attname: key}).count()
        for alias in relation.child_databases
    )


def frozen(receipt: Receipt) -> str:
    document = json.loads(json.dumps(receipt_text.document(receipt)))
    del document["issued"], document["statement"]
    for line in document["scope"]:
        del line["rows_now"], line["not_counted"]
    for each in (document["deletion"], *document["cascades"]):
        each.pop("acknowledged_at", None)
    return json.dumps(document)


@pytest.fixture
def _quick(tune: Tune) -> None:
    tune(grace_seconds=1e-6)


@hypothesis.settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[*hypothesis.HealthCheck],
)
@hypothesis.given(acts=ACTS)
@hypothesis.example(
    acts=[
        *[("make", kind, 1) for kind in range(4)],
        *[("signal", at) for at in range(4)],
        ("dispatch",),
        ("back", 1),
        *[("drain", at) for at in range(5)],
        ("late", 0),
        ("verify",),
        *[("drain", at) for at in range(5)],
        ("verify",),
        ("late", 2),
        ("scan", 1),
        ("cancel", 1),
    ]
)
@pytest.mark.usefixtures("_quick")
def test_receipts_say_what_sql_says(acts: list[tuple[Any, ...]]) -> None:
    for model in (Comment, Post, *(each.child for each in relations.catalogue().relations)):
        for relation in relations.catalogue().relations:
            if relation.child is model and relation.parent in PARENTS:
                for alias in relation.child_databases:
                    model._base_manager.using(alias).all()._raw_delete(alias)
    for model in (Cascade, Deletion, *PARENTS):
        model._base_manager.all()._raw_delete("default")
    world = World()
    for act in acts:
        world.act(*act)
        world.check()
