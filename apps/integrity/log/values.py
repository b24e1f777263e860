"""The values of a claim: the cascades that one worker holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models import Cascade

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A cascade that this worker holds until its lease ends."""

    id: int
    deletion: int
    parent: str
    #: The relation by which a scan found it; "" for all relations of the parent.
    relation: str
    key: str | None
    #: Values of `to_field` targets; None if the parent had none. An absent value is unknown.
    targets: Mapping[str, str | None]
    attempts: int
    rows: Mapping[str, int]
    #: The reason for each relation whose rows were left at the last attempt.
    failing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Rows of each relation that were left because they refer to a living row.
    kept: Mapping[str, int] = dataclasses.field(default_factory=dict)
    #: How long it had waited when it became due.
    waited: dt.timedelta = dt.timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Cascades of one parent model into one database, claimed together by one worker."""

    token: uuid.UUID
    using: str
    database: str
    cascades: tuple[Claimed, ...]
    state: Cascade.State = Cascade.State.RUNNING
