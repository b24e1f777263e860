"""Attacks on the walks through the rows of one key that has very many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from apps.integrity import backends
from tests.integration.cascade.test_second_walk import (  # the fixtures are used by their names
    one_of_two,
    require_exact,
    tallied,
)
from tests.integration.cascade.test_walks import (
    KEY,
    ROWS,
    leaves,
    more_than_one_step,
    no_bloat,
    run,
)
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

__all__ = ["more_than_one_step", "no_bloat", "tallied"]
pytestmark = pytest.mark.usefixtures("committed", "more_than_one_step", "no_bloat", "tallied")

INDEXES = """
SELECT pg_get_indexdef(indexrelid), indexrelid::regclass::text FROM pg_index
WHERE indrelid = 'right_leaf'::regclass AND NOT indisprimary
"""


@pytest.fixture(params=["owner_id DESC", "owner_id, id DESC"])
def backwards(request: pytest.FixtureRequest) -> Iterator[None]:
    """The only index of the key leads through its rows from the table's end to its beginning."""
    before = run(INDEXES)
    for _, name in before:
        run(f"DROP INDEX {name}")
    run(f"CREATE INDEX backwards ON right_leaf ({request.param})")
    yield
    run("DROP INDEX backwards")
    for definition, _ in before:
        run(definition)


@pytest.mark.usefixtures("backwards")
class TestAnIndexInTheOtherOrder:
    def test_all_blocks_are_found(self) -> None:
        leaves(Owner(pk=1))
        run("ANALYZE right_leaf")
        dense: Any = backends.row_backend("test_right").dense_blocks(KEY, 1, using="test_right")
        ((pages,),) = run("SELECT pg_relation_size('right_leaf') / 8192")
        assert dense.blocks == range(pages)

    def test_it_blocks_no_deletion(self, converge: Converge, tune: Tune) -> None:
        """Nor one that needs more than one time slice, each of which begins with a walk."""
        tune(statement_rows=1_000, statement_rows_max=1_500, turn_seconds=1e-6)
        living = one_of_two()
        run("ANALYZE right_leaf")
        assert converge()["right.Leaf.owner"] == ROWS * 9 // 10
        require_exact(living)
