"""Scans of children and parents on MariaDB find every orphan, by the stored values of each kind."""

from __future__ import annotations

import math
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.integrity import backends, relations, scan
from apps.integrity.backends.mysql import keys as reader
from apps.integrity.models import Suspect
from tests.kinds.left.models import Badge, Invoice, TokenUse, WordUse
from tests.kinds.parents.models import Owner, Person, Token, Word
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db import models

pytestmark = pytest.mark.usefixtures("committed")

TOKENS = [uuid.UUID(int=number * 2**120 + number) for number in range(1, 40)]
WORDS = ["a", "B", "c", "D", "Éa", "z,1", "ö", "x y", "zz", "'", "%s", "\\"]
#: Model, name of its key, its parents' model, their field, and keys.
KINDS: list[Any] = [
    pytest.param(Leaf, "owner_id", Owner, "id", [*range(1, 40), 2**40], id="bigint"),
    pytest.param(TokenUse, "token_id", Token, "id", TOKENS, id="uuid"),
    pytest.param(WordUse, "word_id", Word, "text", WORDS, id="text"),
    pytest.param(Badge, "person_id", Person, "code", WORDS, id="to_field"),
    pytest.param(
        Invoice,
        "person_id",
        Person,
        "number",
        [Decimal("-3.50"), Decimal(0), Decimal("0.25"), Decimal(9), Decimal("10.50")],
        id="decimal",
    ),
]
DATABASES = {Leaf: "test_right"}


def fill(child: Any, key: str, parent: Any, name: str, keys: Sequence[Any]) -> None:
    """Two rows for each key, and a parent for every second one."""
    parent.objects.bulk_create(parent(**{name: value}) for value in keys[::2])
    child.objects.bulk_create(child(**{key: value}) for value in keys for _ in range(2))


def scanned(child: type[models.Model], key: str) -> Any:
    label = f"{child._meta.label}.{key.removesuffix('_id')}"
    (done,), unreachable = scan.scan(
        DATABASES.get(child, "test_left"),
        labels=[label],
        seconds=math.inf,
        mode=scan.Mode(full=True),
    )
    assert not unreachable
    assert done.complete, done.reason
    return done


@pytest.mark.parametrize(("child", "key", "parent", "name", "keys"), KINDS)
@pytest.mark.parametrize("step", [1, 3, 1_000])
def test_every_orphan_is_found_and_nothing_else(
    child: Any,
    key: str,
    parent: Any,
    name: str,
    keys: list[Any],
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "STEP", step)
    fill(child, key, parent, name, keys)
    done = scanned(child, key)
    field = parent._meta.get_field(name)
    assert {field.to_python(one.value) for one in Suspect.objects.all()} == {*keys[1::2]}
    assert (done.keys_scanned, done.rows_scanned) == (len(keys), 2 * len(keys))
    assert done.orphans == 2 * len(keys[1::2])


def on_mysql(*aliases: str) -> bool:
    return all(connections[alias].vendor == "mysql" for alias in aliases)


class TestFastReads:
    """See Note [Found, then proven] and Note [One text]."""

    @pytest.fixture(autouse=True)
    def _only_here(self) -> None:
        if not on_mysql("default", "test_right"):
            pytest.skip("parents or children are on another engine")

    def test_a_text_that_was_cut_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "PACKED_BYTES", 9)
        fill(Leaf, "owner_id", Owner, "id", [*range(100, 160)])
        connections["test_right"].close()
        connections["default"].close()
        assert scanned(Leaf, "owner_id").orphans == 60
        connections["test_right"].close()
        connections["default"].close()

    def test_few_keys_among_many_parents(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "SPREAD", 0)
        fill(Leaf, "owner_id", Owner, "id", [*range(100, 160)])
        assert scanned(Leaf, "owner_id").orphans == 60

    def test_a_parent_that_fast_reads_miss_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As where the parents' table sorts or spells its keys otherwise."""
        fill(Leaf, "owner_id", Owner, "id", [*range(100, 160)])
        monkeypatch.setattr(reader.MySQLKeys, "_seen", lambda *_: set())
        assert scanned(Leaf, "owner_id").orphans == 60

    def test_a_page_is_three_statements_if_all_parents_are_there(self, captured: Any) -> None:
        owners = Owner.objects.bulk_create(Owner() for _ in range(50))
        Leaf.objects.bulk_create(Leaf(owner=owner) for owner in Owner.objects.all())
        field = relations.catalogue().relation("right.Leaf.owner").field
        keys = backends.key_reader(field, child="test_right", parent="default")
        with captured:
            page = keys.ask(field, None, 1_000, child="test_right")()
            assert page is not None
            assert page.count == len(owners)
            assert keys.missing(field, page, parent="default") == []
        assert not [sql for sql in captured["default"] if " IN (" in sql]
