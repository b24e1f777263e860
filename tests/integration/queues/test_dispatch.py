"""Recorded deletions become cascades: each once, in every child database of its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from apps.integrity import capture
from apps.integrity.models import Cascade, Deletion
from apps.integrity.models.deletions import read_outcomes
from apps.integrity.queues import dispatch
from tests.kinds.left.models import Book
from tests.kinds.lite.models import Author
from tests.kinds.parents.models import Everywhere, Guarded, Owner
from tests.log_rows import check_partitions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")


def record(model: Any, *keys: object, using: str = "default") -> None:
    capture.record((model, keys), using=using)


def cascades(using: str = "default") -> list[tuple[str, str]]:
    """Return the key and the child databases of each deletion, the oldest first."""
    check_partitions(using=using)
    rows = list(Deletion.objects.using(using).order_by("pk"))
    read_outcomes(rows, using=using)
    return [(str(row.key), one.database) for row in rows for one in row.databases]


def test_a_deletion_gets_one_cascade_for_each_child_database() -> None:
    record(User, 1)
    assert dispatch.sweep("default") == (1, frozenset({"blog_db", "shop_db"}))
    assert cascades() == [("1", "blog_db"), ("1", "shop_db")]
    deletion = Deletion.objects.get()
    assert deletion.state == "dispatched"
    assert deletion.dispatched_at is not None
    assert deletion.cascaded_at is None
    assert {each.recorded_at for each in Cascade.objects.all()} == {deletion.recorded_at}


def test_it_goes_into_every_home_of_a_child_not_those_believed_concerned() -> None:
    record(Everywhere, 1)
    dispatch.sweep_all()
    assert cascades() == [("1", "test_left"), ("1", "test_right")]


def test_a_parent_that_this_process_does_not_know_yet_waits_for_one_that_does() -> None:
    """A rolling deploy: the web runs the new code, this dispatcher still the old."""
    record(User, 1)
    Deletion.objects.create(parent="newer.Model", key="7", source="signal")
    assert dispatch.sweep("default")[0] == 1
    assert Deletion.objects.get(parent="newer.Model").state == "recorded"


def test_sweeping_again_finds_nothing() -> None:
    record(User, 1)
    dispatch.sweep("default")
    before = list(Cascade.objects.order_by("pk").values())
    assert dispatch.sweep("default") == (0, frozenset({"blog_db", "shop_db"}))
    assert list(Cascade.objects.order_by("pk").values()) == before


def test_every_log_of_the_project_is_swept() -> None:
    record(User, 1)
    record(Book, 2, using="test_left")
    record(Author, 3, using="test_lite")
    number, due = dispatch.sweep_all()
    assert (number, due) == (3, {"blog_db", "shop_db", "test_right", "test_left"})
    assert cascades("test_left") == [("2", "test_right")]
    assert cascades("test_lite") == [("3", "test_left")]


def test_a_deletion_that_no_policy_follows_is_complete_at_once_and_says_why() -> None:
    record(Guarded, 1)
    assert dispatch.sweep("default") == (1, frozenset())
    deletion = Deletion.objects.get()
    assert (deletion.state, cascades()) == ("cancelled", [])
    assert deletion.reason == "no policy leaves work in a child database"
    assert deletion.cancelled_at is not None
    assert (deletion.verified_at, deletion.batch) == (None, None)
    assert dispatch.sweep("default") == (0, frozenset())


def test_a_deletion_of_a_model_that_is_gone_from_the_project_blocks_nothing() -> None:
    Deletion.objects.create(parent="gone.Model", key="1")
    record(User, 1)
    assert dispatch.sweep("default")[0] == 1
    assert Deletion.objects.get(parent="gone.Model").state == "recorded"
    assert Deletion.objects.get(parent="auth.User").state == "dispatched"


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_one_transaction_dispatches_at_most_the_limit(
    tune: Tune, captured: Captured, limit: int
) -> None:
    tune(dispatch_keys=limit)
    record(User, *range(1, 8))
    with captured:
        assert dispatch.sweep("default")[0] == 7
    assert len(cascades()) == 14
    assert max(row.size for row in Cascade.objects.all()) == limit
    asked = [sql.replace("`", "").replace('"', "") for sql in captured["default"]]
    made = [sql for sql in asked if "INSERT INTO integrity_cascade" in sql]
    assert len(made) - -(-7 // limit) in {0, 1}  # the last one finds nothing


def test_the_first_transaction_is_a_claims_worth_and_each_next_one_twice_as_much(
    tune: Tune,
) -> None:
    """So the work on the first begins at once, and many do not make many transactions."""
    tune(claim_keys=2, dispatch_keys=7)
    record(User, *range(1, 22))
    everywhere = frozenset({"blog_db", "shop_db"})
    assert list(dispatch.fan_out("default")) == [
        (2, everywhere),
        (4, everywhere),
        (7, everywhere),
        (7, everywhere),
        (1, everywhere),
    ]


def test_the_number_of_statements_does_not_grow_with_the_number_of_deletions(
    captured: Captured,
) -> None:
    def statements_for(number: int) -> int:
        record(User, *range(1, number + 1))
        with captured:
            assert dispatch.sweep("default")[0] == number
        return len(captured["default"])

    assert statements_for(10) == statements_for(999)


def test_a_lower_id_that_commits_later_is_found(at_once: Callable[..., Any]) -> None:
    """Deletions are found by their state, never by `id > last`."""
    with transaction.atomic():
        record(User, 1)
        at_once(lambda: record(User, 2))
        at_once(lambda: dispatch.sweep("default"))
        assert cascades() == [("2", "blog_db"), ("2", "shop_db")]
    dispatch.sweep("default")
    assert [key for key, _ in cascades()] == ["1", "1", "2", "2"]


def test_an_uncommitted_deletion_is_not_dispatched_and_holds_up_nobody(
    at_once: Callable[..., Any],
) -> None:
    record(User, 2)
    with transaction.atomic():
        record(User, 1)
        assert at_once(lambda: dispatch.sweep("default")[0]) == [1]


def test_what_somebody_is_just_dispatching_is_passed_over_without_waiting(locked: Any) -> None:
    record(User, 1, 2)
    with locked(Deletion.objects.filter(key="1")):
        assert dispatch.sweep("default")[0] == 1
    assert {key for key, _ in cascades()} == {"2"}


def test_sweeps_at_the_same_time_share_the_work(tune: Tune, at_once: Callable[..., Any]) -> None:
    tune(dispatch_keys=10)
    record(User, *range(1, 301))
    numbers = at_once(*[lambda: dispatch.sweep("default")[0]] * 4)
    assert sum(numbers) == 300
    assert len(set(cascades())) == len(cascades()) == 600
    assert sum(row.size for row in Cascade.objects.all()) == 600


def test_a_deletion_is_cascaded_as_soon_as_its_last_cascade_is_done() -> None:
    """Nothing has to be settled, so no death can come in between."""
    record(Owner, 1)
    dispatch.sweep("default")
    assert Deletion.objects.get().state == "dispatched"
    Cascade.objects.update(state=Cascade.State.DONE, done_at=timezone.now())
    deletion = Deletion.objects.get()
    assert deletion.state == "cascaded"
    assert deletion.cascaded_at is not None


def test_a_deletion_with_an_open_cascade_is_not_complete() -> None:
    record(User, 1)
    dispatch.sweep("default")
    for state in ("running", "waiting", "blocked"):
        Cascade.objects.filter(database="blog_db").update(state=state)
        Cascade.objects.filter(database="shop_db").update(state="done")
        assert Deletion.objects.get().state == "dispatched"
