"""G2: nothing is concluded from, or changed in, a table that MariaDB cannot vouch for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections
from django.utils import timezone

from apps.integrity import backends, relations
from apps.integrity.backends import visibility
from apps.integrity.checks import databases
from apps.integrity.exceptions import FilteredRead
from apps.integrity.models import Cascade
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

RIGHT = "test_right"
LEAF = "right.Leaf.owner"


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    if connections[RIGHT].vendor != "mysql":
        pytest.skip("the children are on another engine")
    visibility._listed.clear()
    yield
    visibility._listed.clear()


def run(*statements: str) -> None:
    with connections[RIGHT].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    visibility._listed.clear()


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_a_table_without_transactions_is_left_alone(engine: str, converge: Converge) -> None:
    owner = Owner.objects.create()
    Leaf.objects.create(owner=owner)
    run(f"ALTER TABLE right_leaf ENGINE={engine}")
    try:
        owner.delete()
        assert converge() == {}
        assert Leaf.objects.count() == 1
        assert "ENGINE=InnoDB" in Cascade.objects.get(database=RIGHT).reason
        [found] = databases.shown(databases=[RIGHT])
        assert (found.id, "not InnoDB" in found.msg) == ("integrity.E014", True)
    finally:
        run("ALTER TABLE right_leaf ENGINE=InnoDB")
    Cascade.objects.update(due_at=timezone.now())
    assert converge() == {LEAF: 1}


def test_a_view_is_refused() -> None:
    field = relations.catalogue().relation(LEAF).field
    run(
        "RENAME TABLE right_leaf TO right_leaf_all",
        "CREATE SQL SECURITY DEFINER VIEW right_leaf AS SELECT * FROM right_leaf_all WHERE id < 0",
    )
    try:
        with pytest.raises(FilteredRead, match="view"):
            backends.row_backend(RIGHT).keys_with_rows(field, [1], using=RIGHT)
    finally:
        run("DROP VIEW right_leaf", "RENAME TABLE right_leaf_all TO right_leaf")


def test_reads_of_what_is_not_committed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would show a parent's delete that is rolled back later."""
    field = relations.catalogue().relation(LEAF).field
    options = connections[RIGHT].settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "isolation_level", "read uncommitted")
    connections[RIGHT].close()
    try:
        with pytest.raises(FilteredRead, match="READ UNCOMMITTED"):
            backends.row_backend(RIGHT).keys_with_rows(field, [1], using=RIGHT)
    finally:
        connections[RIGHT].close()
