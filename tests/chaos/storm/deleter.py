"""Deletes its share of the users, in transactions of which some roll back: `DIRECTORY NAME`.

May be killed at any moment. Started again, it goes on with the next transaction; the one that was
cut off is carried out again or left alone, as the plan says.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from django.db import Error, connections, transaction

from . import journal
from .scene import Part

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from .plan import Batch

LATE_POSTS = 50_000_000


class Planned(Exception):
    """Rolls a block back because the plan says so."""


class Deleter:
    """One deleting process."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.number = int(part.name.rpartition("-")[2])

    def run(self) -> None:
        """All batches, each at its time."""
        begun = self._begun()
        for batch in self.part.plan.batches[self.number]:
            if batch.id in begun and (begun[batch.id] or not batch.again):
                continue
            self._wait_for(batch)
            self._carry_out(batch, first=batch.id not in begun)

    def _begun(self) -> dict[int, bool]:
        """Batch → whether its end is known, from the journal of the processes before us."""
        return {
            entry.data["batch"]: entry.outcome in {journal.COMMITTED, Planned.__name__}
            for entry in journal.read(self.part.scene.journal(self.part.name))
            if entry.kind == "delete"
        }

    def _wait_for(self, batch: Batch) -> None:
        scene = self.part.scene
        if batch.tail:
            scene.give(f"{self.part.name}.waiting")
            scene.wait("tail")
            return
        time.sleep(max(0.0, batch.at - scene.seconds_since("begin")))

    def _carry_out(self, batch: Batch, *, first: bool) -> None:
        """Until no database is in the way; only the first try may hold a row over its commit.

        A delete that is committed is not repeated: its users may have been restored since.
        """
        draw = self.part.plan.draw("deleter", batch.id)
        ended = False
        while not ended:
            try:
                with self._late_post(batch, draw) if batch.late and first else nullcontext():
                    self._transaction(batch, draw)
                    ended = True
            except Error:
                first = False
                connections.close_all()
                time.sleep(0.3)

    @contextmanager
    def _late_post(self, batch: Batch, draw: random.Random) -> Iterator[None]:
        """A request in flight: its row was there before the delete, and commits after it."""
        from tests.chaos.rows import insert

        row = (LATE_POSTS + batch.id, batch.keys[0], "Late", "Written before.")
        name = self.part.journal.intend("post", row=row)
        with transaction.atomic(using="blog_db"):
            insert("post", row)
            yield
            time.sleep(draw.uniform(0.5, 2.5))
        self.part.journal.end(name)

    def _transaction(self, batch: Batch, draw: random.Random) -> None:
        data = {"batch": batch.id, "doomed": batch.doomed, "spared": batch.spared}
        name = self.part.journal.intend("delete", **data)
        try:
            with transaction.atomic():
                self._delete(batch, draw)
        except Planned:
            self.part.journal.end(name, Planned.__name__)
        except Error as error:
            self.part.journal.end(name, type(error).__name__)
            raise
        else:
            self.part.journal.end(name)

    def _delete(self, batch: Batch, draw: random.Random) -> None:
        remove(batch.doomed, batch.how)
        if batch.fate != "committed":
            with (
                suppress(Planned) if batch.fate == "savepoint" else nullcontext(),
                transaction.atomic(),
            ):
                remove(batch.spared, batch.how)
                planned()
        # A moment to be killed in.
        time.sleep(draw.uniform(0, 0.25))


def planned(*, roll_back: bool = True) -> None:
    """Roll the block around back."""
    if roll_back:
        raise Planned


def remove(keys: Sequence[int], how: str) -> None:
    """Delete users in one of three ways."""
    from django.contrib.auth.models import User

    from apps.integrity import capture

    if how == "queryset":
        User.objects.filter(pk__in=keys).delete()
    elif how == "instance":
        for user in User.objects.filter(pk__in=keys):
            user.delete()
    elif keys:
        with connections["default"].cursor() as cursor:
            cursor.execute("DELETE FROM auth_user WHERE id = ANY(%s)", [list(keys)])
        capture.record((User, keys), using="default")


if __name__ == "__main__":
    Deleter(Part.from_command_line()).run()
