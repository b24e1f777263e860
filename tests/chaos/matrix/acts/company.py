"""Deletions held at c, d, e and f at the same time, so that one fault strikes all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from apps.integrity.failpoints import Failpoint

from ..stage import insist

if TYPE_CHECKING:
    import datetime as dt

    from ..stage import Stage
    from ..traps import Trap


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """Users whose deletions wait; every child of the worker holds one of the tasks.

    `working` are cascaded into blog_db (comments removed and committed) and into shop_db (the log
    knows); `received` wait in a dispatch that has done nothing; `queued` in a message in Redis.
    """

    stage: Stage
    working: list[int]
    received: list[int]
    queued: list[int]
    removing: Trap
    finished: Trap
    dispatch: Trap
    ended: dt.datetime

    @classmethod
    def gather(cls, stage: Stage) -> Self:
        """Delete users and wait until each is held at its place."""
        working, received, queued = stage.take(2), stage.take(), stage.take()
        removing = stage.traps.arm("blog_db", Failpoint.REMOVAL_COMMITTED, "wait")
        finished = stage.traps.arm("shop_db", Failpoint.FINISHED, "wait")
        stage.delete(working)
        stage.until(lambda: removing.sprung and finished.sprung, "cascades held at e and f")
        dispatch = stage.traps.arm("default", Failpoint.RECEIVED, "wait")
        stage.delete(received)
        stage.until(lambda: dispatch.sprung, "a dispatch held at d")
        stage.delete(queued)
        stage.until(stage.queued, "a message at c")
        ended = stage.cascade(working[0], "shop_db").done_at
        insist(ended, "f: the log does not know")
        return cls(
            stage=stage,
            working=working,
            received=received,
            queued=queued,
            removing=removing,
            finished=finished,
            dispatch=dispatch,
            ended=ended,
        )

    def release(self) -> None:
        """Let all of them go on."""
        for trap in (self.removing, self.finished, self.dispatch):
            trap.release()

    def removed(self) -> bool:
        """Whether the cascade at e has come to its end."""
        return all(self.stage.cascade(user, "blog_db").done_at for user in self.working)

    def insist_removed_once(self, *, by_the_dead: bool) -> None:
        """At e: whether who removed rows is dead or alive, each row is in the receipt, and once."""
        for user in self.working:
            cascade = self.stage.cascade(user, "blog_db")
            insist(cascade.attempts == 1 + by_the_dead, f"e: {cascade.attempts} attempts")
        self.stage.insist_counted(self.working)

    def insist_kept(self) -> None:
        """At f: the log stays as it was."""
        for user in self.working:
            cascade = self.stage.cascade(user, "shop_db")
            insist(cascade.done_at == self.ended, "f: done twice")
            insist(cascade.attempts == 1, f"f: {cascade.attempts} attempts")
        self.stage.insist_counted(self.working)
