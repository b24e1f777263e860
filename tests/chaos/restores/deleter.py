"""Deletes people one transaction after the other, in a thread, whatever happens to the servers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import Error, connections, transaction

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


class Deleter(threading.Thread):
    """Knows when each delete was committed at the latest, by the monotonic clock."""

    def __init__(self, keys: Sequence[int], draw: random.Random, *, seconds: float) -> None:
        super().__init__(daemon=True)
        self.keys, self.draw = list(keys), draw
        self.pause = seconds / max(1, len(self.keys))
        self.committed: dict[int, float] = {}
        self.failed = 0

    def run(self) -> None:
        """Delete them all."""
        left = list(self.keys)
        while left:
            some, left = left[: (size := self.draw.randint(1, 4))], left[size:]
            by_one = self.draw.random() < 0.5
            while not self._deleted(some, by_one=by_one):
                self.failed += 1
                time.sleep(0.3)
            self.committed |= dict.fromkeys(some, time.monotonic())
            time.sleep(self.pause * len(some))
        connections.close_all()

    def _deleted(self, keys: Sequence[int], *, by_one: bool) -> bool:
        """Delete; an error leaves open whether it is done, and the next try does nothing then."""
        try:
            with transaction.atomic():
                users = User.objects.filter(pk__in=keys)
                if by_one:
                    for user in users:
                        user.delete()
                else:
                    users.delete()
        except Error:
            connections.close_all()
            return False
        return True
