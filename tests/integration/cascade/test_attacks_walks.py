"""Attacks on the walks through the rows of one key that has very many."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from apps.integrity import backends, cascade, failpoints
from apps.integrity.cascade import second_walk, verification, walks
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from tests.integration.cascade.test_second_walk import (  # the fixtures are used by their names
    SECONDS,
    Both,
    both,
    delete,
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
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

__all__ = ["both", "more_than_one_step", "no_bloat", "tallied"]
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


class TestASecondWalkThatCannotBegin:
    @pytest.fixture(autouse=True)
    def short_slices(self, more_than_one_step: None, tune: Tune, both: Both) -> None:
        both.patient = False
        tune(statement_rows=1_000, statement_rows_max=1_500, turn_seconds=1e-6)

    def test_nobody_waits_for_its_connection_and_no_other_one_joins_it(
        self, converge: Converge, both: Both, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where a pool has no connection left: it lets each thread wait for half a minute."""
        free, waiting = threading.Event(), list[threading.Thread]()

        def wait(_database: str) -> None:
            waiting.append(threading.current_thread())
            free.wait(5 * SECONDS)

        monkeypatch.setattr(second_walk, "reach", wait)
        monkeypatch.setattr(second_walk, "JOIN_SECONDS", 10 * SECONDS)
        living = one_of_two()
        try:
            converge()
            assert len(both.wanted) > 2
            assert [thread.is_alive() for thread in waiting] == [True]
        finally:
            free.set()
        require_exact(living)
        assert not both.second

    def test_no_thread_is_needed(
        self, converge: Converge, both: Both, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "integrity-walk":
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
        living = one_of_two()
        converge()
        require_exact(living)
        assert len(both.wanted) > 2


def test_what_it_commits_after_the_deletion_was_kept_counts(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent comes back after the second walk's last check, and its COMMIT takes long."""
    dead, kept = Owner.objects.create(), threading.Event()
    leaves(dead)
    key = dead.pk
    dead.delete()

    def hit(point: Failpoint) -> None:
        if point is Failpoint.REMOVED and threading.current_thread().name == "integrity-walk":
            Owner.objects.create(pk=key)
            both.began.set()
            kept.wait(5 * SECONDS)

    def wait_for_its_check(walk: Any, *given: Any, **named: Any) -> Any:
        if not walk.backwards:
            both.began.wait(SECONDS)
        return delete(walk, *given, **named)

    monkeypatch.setattr(walks.Walk, "delete", wait_for_its_check)
    monkeypatch.setattr(failpoints, "hit", hit)
    monkeypatch.setattr(second_walk, "JOIN_SECONDS", 0.0)
    dispatch.sweep("default")
    try:
        first = cascade.drain("test_right").rows["right.Leaf.owner"]
    finally:
        kept.set()
    for thread in threading.enumerate():
        if thread.name == "integrity-walk":
            thread.join(SECONDS)
    done = Cascade.objects.get(database="test_right")
    assert done.state == "kept"
    gone = ROWS - Leaf.objects.count()
    assert gone > first
    verification.verify("test_right")
    done.refresh_from_db()
    assert [*(done.rows or {}).values()] == [{"right.Leaf.owner": gone}]
