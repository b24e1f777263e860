"""How a task of this app fails: one plain error, and what Celery acts upon stays what it is."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.backends.base import Backend
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from apps.integrity.exceptions import TaskFailed, UnknownName
from apps.integrity.queues.celery_tasks import Bounded

if TYPE_CHECKING:
    from collections.abc import Callable

SAID = "CRM refused ann@example.org\x1b[31m\0"


def task(work: Callable[[], None], **options: Any) -> Any:
    """A task of an app of its own."""
    app = Celery("failing", set_as_current=False, broker="memory://", backend="cache+memory://")
    return app.task(work, base=Bounded, name="integrity.tried", shared=False, **options)


def chained(error: BaseException) -> Callable[[], None]:
    """Work that raises `error` from another one."""

    def work() -> None:
        try:
            {}[SAID]
        except KeyError as first:
            raise error from first

    return work


def ended(made: Any) -> tuple[str, Any, str]:
    """State, error and traceback of a task that a worker's process ran."""
    request = {"id": "1", "is_eager": False, "called_directly": False, "hostname": "a@b"}
    told = build_tracer(made.name, made, app=made.app)("1", (), {}, request)
    return told.info.state, told.info.retval, str(told.retval.traceback)


class Subtle(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


FOREIGN: dict[str, Exception] = {
    "a receiver's": ValueError(SAID),
    "none that can be pickled": Subtle(SAID, SAID),
    "a group": ExceptionGroup(SAID, [ValueError(SAID)]),
    "a lack of memory": MemoryError(SAID),
}


@pytest.mark.parametrize("error", FOREIGN.values(), ids=FOREIGN)
def test_it_names_the_task_and_the_class(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    error.add_note(SAID)
    caplog.set_level("INFO")
    state, failure, told = ended(task(chained(error)))
    assert (state, type(failure)) == ("FAILURE", TaskFailed)
    assert str(failure).startswith("integrity.tried: ")
    assert type(error).__name__ in str(failure)
    assert (failure.__cause__, failure.__context__) == (None, None)
    for text in (str(failure), repr(failure), told, caplog.text):
        assert "ann@" not in text
        assert "\x1b" not in text
    assert "raise error from first" in told


def test_its_text_is_the_same_on_the_other_side_of_a_backend() -> None:
    made = task(chained(ValueError(SAID)))
    _, failure, _ = ended(made)
    backend = Backend(made.app)
    backend.serializer = "json"
    sent = backend.prepare_exception(failure, serializer="json")
    for copy in (backend.exception_to_python(sent), pickle.loads(pickle.dumps(failure))):  # noqa: S301 (ours)
        assert str(copy) == "integrity.tried: ValueError, from KeyError"


MEANT: dict[str, tuple[Exception, str]] = {
    "its time is up": (SoftTimeLimitExceeded(), "FAILURE"),
    "an unknown name": (UnknownName("database", "x", ()), "FAILURE"),
    "what a project lets it throw": (LookupError("known"), "FAILURE"),
    "again": (Retry("later"), "RETRY"),
    "never mind": (Ignore(), "IGNORED"),
    "back to the broker": (Reject("full", requeue=True), "REJECTED"),
}


@pytest.mark.parametrize(("error", "state"), MEANT.values(), ids=MEANT)
def test_what_celery_acts_upon_stays_and_is_alone(error: Exception, state: str) -> None:
    made = task(chained(error), throws=(UnknownName, LookupError))
    found, raised, told = ended(made)
    assert (found, type(raised)) == (state, type(error))
    assert "ann@" not in told
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_process_ends_it(kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        ended(task(chained(kind())))


def test_in_place_it_fails_as_in_a_worker() -> None:
    made = task(chained(ValueError(SAID)))
    assert isinstance(made.apply().result, TaskFailed)
    with pytest.raises(TaskFailed, match="tried: ValueError, from KeyError") as caught:
        made.apply(throw=True)
    assert "raise error from first" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_called_as_a_function_it_raises_what_it_meets() -> None:
    with pytest.raises(ValueError, match="CRM refused"):
        task(chained(ValueError(SAID)))()


def test_the_error_itself_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="integrity")
    ended(task(chained(ValueError(SAID))))
    assert "CRM refused" in caplog.text
