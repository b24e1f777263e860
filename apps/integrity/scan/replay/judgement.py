"""Whether a row is the parent that was erased, which a restore has brought back. Pure.

Note [A reused key]: a sequence that was restored hands out the same numbers again, and anybody may
register a name that became free. So a row with the key of an erased parent may be another one,
whose owner is alive. It counts as the erased one only if something of the row says so: the values
that relations refer to are the same, or it was created before the erasure. If anything says that it
is another one, it is. Where nothing says anything, it is not known, and nobody deletes it.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...log.ledger import Erased
    from ...relations import Field, Model

#: The clocks of the parents' and the child's server may differ by so much.
SKEW = dt.timedelta(minutes=10)


class Verdict(enum.StrEnum):
    """What is known of a row with the key of an erased parent."""

    BACK = "back"
    REUSED = "reused"
    UNKNOWN = "unknown"


#: Why nothing is concluded.
UNTOLD = "nothing tells whether it is the erased row: neither a to_field nor a time of creation"
BY_A_SCAN = "a scan had found its rows without a parent: nobody is known to have deleted it"


def creation_fields(model: Model) -> list[Field]:
    """Return the fields that say when a row was created. Pure."""
    return [
        field
        for field in model._meta.concrete_fields
        if isinstance(field, models.DateTimeField)
        and (field.auto_now_add or field.default is timezone.now)
    ]


def verdict(
    erased: Erased, values: Mapping[str, str | None], created: Sequence[Any]
) -> tuple[Verdict, str]:
    """Return what is known of a row, and why it is not back.

    `values` are those of the row's fields that relations refer to, as text; `created` its times of
    creation.
    """
    if erased.relation:
        return Verdict.UNKNOWN, BY_A_SCAN
    others = [name for name, value in erased.targets.items() if values.get(name) != value]
    if others:
        return Verdict.REUSED, f"another row: its {', '.join(sorted(others))} is another one"
    moments = [aware(at) for at in created if at is not None]
    if any(at > aware(erased.at) - SKEW for at in moments):
        return Verdict.REUSED, "another row: it was created after the erasure, or just before it"
    if moments or erased.targets:
        return Verdict.BACK, ""
    return Verdict.UNKNOWN, UNTOLD


def aware(at: dt.datetime) -> dt.datetime:
    """Return a time of a row with its zone, also without USE_TZ. Pure."""
    zone = timezone.get_default_timezone()
    return timezone.make_aware(at, zone) if timezone.is_naive(at) else at
