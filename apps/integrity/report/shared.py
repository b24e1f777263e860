"""One computation of a figure for all who ask for it at about the same time.

`Shared` wraps a function and returns one result of it to all callers in this process for a while.
So the databases are asked once, however many requests arrive.

While one caller computes, the others get the last result at once. If that is too old, they wait for
the new one, for a limited time: a database that does not answer blocks one thread, not all.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import conf
from ..exceptions import FiguresUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

#: The age up to which a result is returned while the next one is computed, in seconds.
USABLE_SECONDS = 15.0
#: How long a caller waits for a result that is being computed, in seconds.
PATIENCE_SECONDS = 5.0
#: A slow result is kept longer, so that at most this share of the time is spent on computing.
SHARE_OF_TIME = 0.1
#: A slow result is kept for at most this multiple of the setting.
TIMES_LONGER = 5.0

Figure = TypeVar("Figure")


@dataclass(frozen=True, slots=True)
class _Result(Generic[Figure]):
    """A result or an error, when it was there, and how long it serves."""

    future: Future[Figure]
    at: float
    seconds: float


class Shared(Generic[Figure]):
    """Call it for the result of `compute`, which at most one thread computes at a time.

    A result serves for the setting `figures_seconds`; one that took long, up to `times_longer` as
    long. An error of `compute` is shared like a result.
    """

    def __init__(
        self, compute: Callable[[], Figure], *, times_longer: float = TIMES_LONGER
    ) -> None:
        self._compute, self._times_longer = compute, times_longer
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        """Start without a result. A forked process must: it has no thread that computes one."""
        self._lock = threading.Lock()
        self._last: _Result[Figure] | None = None
        self._under_way: Future[Figure] | None = None

    def __call__(self) -> Figure:
        """Return the result, or raise its error; `FiguresUnavailable` where it takes too long."""
        mine: Future[Figure] | None = None
        now = time.monotonic()
        with self._lock:
            last, under_way = self._last, self._under_way
            if last and now - last.at < last.seconds:
                return last.future.result()
            if under_way is None:
                self._under_way = mine = Future()
        if mine is not None:
            return self._computed(mine)
        if last and now - last.at < USABLE_SECONDS:
            return last.future.result()
        assert under_way is not None
        try:
            return under_way.result(timeout=PATIENCE_SECONDS)
        except concurrent.futures.TimeoutError:
            if under_way.done():  # an error of the computation itself
                raise
            raise FiguresUnavailable(PATIENCE_SECONDS) from None

    def forget(self) -> None:
        """Forget the result, so that the next caller sees what has just changed."""
        with self._lock:
            self._last, self._under_way = None, None

    def _computed(self, mine: Future[Figure]) -> Figure:
        began = time.monotonic()
        try:
            mine.set_result(self._compute())
        except Exception as error:  # noqa: BLE001 (every caller that waits raises it, too)
            mine.set_exception(error)
        finally:
            if not mine.done():  # this process is told to end
                mine.set_exception(FiguresUnavailable(PATIENCE_SECONDS))
            self._remember(mine, time.monotonic() - began)
        return mine.result()

    def _remember(self, mine: Future[Figure], took: float) -> None:
        kept = kept_seconds(took, conf.current().figures_seconds, self._times_longer)
        with self._lock:
            if self._under_way is mine:  # else it was forgotten during the computation
                self._under_way = None
                self._last = _Result(mine, time.monotonic(), kept)


def kept_seconds(took: float, seconds: float, times_longer: float) -> float:
    """Return for how many seconds a result is kept, if it took `took` seconds to compute. Pure."""
    return max(seconds, min(took / SHARE_OF_TIME, seconds * times_longer))


def forget_all() -> None:
    """Forget every result, so that the next callers see what has just changed."""
    for figure in list(_ALL):
        figure.forget()


def _begin_all() -> None:
    for figure in _ALL:
        figure._begin()  # noqa: SLF001 (of this module)


_ALL: weakref.WeakSet[Shared[Any]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_begin_all)
