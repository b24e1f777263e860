"""What a server says of one of its replicas."""

from __future__ import annotations

from dataclasses import dataclass


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
