"""G8: what is left to Django's Collector starts from a bounded number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kinds.left.models import Node
from tests.kinds.parents.models import Forest

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")


def test_it_starts_from_no_more_rows_than_a_statement_may_touch(
    tune: Tune, captured: Captured, converge: Callable[[], Counter[str]]
) -> None:
    tune(statement_rows_max=7)
    forest = Forest.objects.create()
    Node.objects.bulk_create(Node(forest=forest) for _ in range(20))
    forest.delete()
    with captured:
        assert converge() == {"left.Node.forest": 20}
    locks = [sql for sql in captured["test_left"] if "FOR UPDATE OF child SKIP LOCKED" in sql]
    assert len(locks) >= 3  # 7 + 7 + 6
    assert all("LIMIT 7" in sql for sql in locks)
