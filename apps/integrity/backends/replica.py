"""What a server says of its load, and of each of its replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A replica of a server. `written` and `replayed` are positions in the log, in bytes.

    `seconds` is the age of the newest change that it has replayed. None is unknown. Where it is not
    `visible`, the role lacks a right to know.
    """

    name: str
    written: int | None
    replayed: int | None
    seconds: float | None
    visible: bool


class LoadBackend(Protocol):
    """What a server says of its load, and how its workers take turns."""

    def replicas(self, *, using: str) -> list[Replica] | None:
        """Return the replicas that the server sends its log to; None where it cannot tell."""

    def take_token(self, *, using: str) -> bool:
        """Take the database's token until the end of this transaction; return False if it is taken.

        Where an engine has none, it is always free.
        """
