"""What is known of one deletion: its steps, and its receipt."""

from __future__ import annotations

import datetime as dt
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypedDict

from django.db.models import Q
from django.utils import timezone

from .. import relations
from ..backends import clocks
from ..log.tables import id_in
from ..models import STATED_TEXTS, Cascade, Deletion, read_outcomes
from ..relations import discovery, homes
from ..relations.keys import format_key, parse_key
from ..relations.relation import primary_key
from .receipt_lines import PROBED, covered, frozen, receipt_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..log.scopes import Covered
    from ..models import InDatabase
    from ..relations import Model
    from .receipt_lines import ReceiptLine


#: The name of this app on the package index.
DISTRIBUTION = "django-crossdb-integrity"
#: Other deletions of the same key that a receipt names.
OTHERS = 20
#: The moments of a deletion, in their order.
MOMENTS = ("recorded_at", "cascaded_at", "verified_at", "ended_at")
#: What is said of a restore that has undone a cascade; `lost` is whether its rows are known to have
#: been back.
UNDONE = ("noticed_at", "done_at", "verified_at", "lost")
#: States of a cascade without work under way.
OVER = (*PROBED, Cascade.State.CANCELLED)


class Receipt(TypedDict):
    """Proof for one deletion: what was removed where, when, how many rows.

    `scope` is what it speaks for: the outcome along each relation in each child database, and the
    relations that it does not cover, with the reason. Their `rows_now`, or why these are
    `not_counted`, come from `unfollowed.count`. All else is the same whenever it is made, once the
    deletion has ended.
    """

    #: The database whose log holds the deletion. The id is of that log.
    log: str
    deletion: dict[str, Any]
    cascades: list[dict[str, Any]]
    scope: list[dict[str, Any]]
    #: By which release of this app, and when the receipt was made.
    issued: dict[str, str]


def receipts_of(model: str, key: str) -> list[Receipt]:
    """Return the receipts of that parent's deletions, the newest first.

    `key` is its primary key, or "field=value" for what a scan found by a `to_field`. Raises
    `UnknownName` for a model that no relation points to, `InvalidKey` for a key that its field
    cannot hold.
    """
    parent = relations.catalogue().parent(model)
    aged = list[tuple[float, Receipt]]()
    for using in homes.databases_for(parent):
        rows = Deletion.objects.using(using).filter(_of(parent, key), parent=parent._meta.label)
        in_log = list(rows.annotate(age=clocks.age("recorded_at")))  # by the clock of its own log
        ages = [clocks.age_of(row) or 0.0 for row in in_log]
        aged += zip(ages, receipts_for(in_log, using=using), strict=True)
    return [receipt for _, receipt in sorted(aged, key=lambda pair: pair[0])]


def _of(parent: Model, key: str) -> Q:
    """Return the condition for deletions of the parent that `key` names, as for `receipts_of`."""
    name, equals, value = key.partition("=")
    for field in discovery.targets(parent):
        if equals and field.name == name:
            text = format_key(field, parse_key(field, value))
            return Q(**{f"targets__{name}": text})
    pk = primary_key(parent)
    return Q(key=format_key(pk, parse_key(pk, key)))


def receipts_for(deletions: Sequence[Deletion], *, using: str) -> list[Receipt]:
    """Return the receipts of those deletions of one log. At most two statements."""
    read_outcomes(deletions, using=using)
    known = frozen(deletions)
    return [_receipt(row, known) for row in deletions]


def receipt_of(deletion: Deletion) -> Receipt:
    """Return the receipt of one deletion."""
    return _receipt(deletion, frozen([deletion]))


def lines_of(deletion: Deletion) -> list[ReceiptLine]:
    """Return the lines of its receipt."""
    return receipt_lines(deletion, frozen([deletion]))


def _receipt(deletion: Deletion, known: Mapping[int, Covered]) -> Receipt:
    return {
        "log": str(deletion._state.db),  # noqa: SLF001 (it is documented)
        "deletion": {
            "id": deletion.pk,
            "parent": deletion.parent,
            "key": deletion.key,
            "targets": deletion.targets or {},
            "relation": deletion.relation,
            "source": deletion.source,
            "state": deletion.state,
            "reason": deletion.why,
            **{name: getattr(deletion, name) for name in STATED_TEXTS},
            **{moment: iso(getattr(deletion, moment)) for moment in ("deadline", *MOMENTS)},
        },
        "cascades": [
            {
                "database": cascade.database,
                "state": cascade.state,
                "reason": cascade.reason,
                "attempts": cascade.work_attempts,
                "scope_known": covered(deletion, cascade, known) is not None,
                "rows": dict(cascade.rows),
                "rows_exact": is_exact(cascade),
                "kept": dict(cascade.kept),
                "kept_at": iso(cascade.kept_at),
                "acknowledged_at": iso(cascade.acknowledged_at),
                "done_at": iso(cascade.done_at),
                "verified_at": iso(cascade.verified_at),
                "undone": [{name: one[name] for name in UNDONE} for one in cascade.undone],
            }
            for cascade in deletion.databases
        ],
        "scope": [
            {
                "relation": line.relation,
                "database": line.database,
                "policy": line.policy,
                "outcome": line.outcome,
                "reason": line.reason,
                "rows": line.rows,
                "kept": line.kept,
                "kept_at": iso(line.kept_at),
                "rows_now": None,
                "not_counted": "",
            }
            for line in receipt_lines(deletion, known)
        ],
        "issued": _issued(),
    }


def is_exact(cascade: InDatabase) -> bool:
    """Return whether its rows are all that were changed; else a killed worker's may be missing.

    What the child's database counts is read once the work is over. The attempts prove nothing: a
    retry begins them anew. Pure.
    """
    return cascade.counted and cascade.state in OVER


def _issued() -> dict[str, str]:
    """Return by which release a receipt is made, if it was installed as a package, and when."""
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "unknown"
    now = dt.datetime.fromtimestamp(clocks.own(), dt.UTC)
    return {"by": DISTRIBUTION, "version": version, "at": now.isoformat(timespec="seconds")}


def receipts_by_id(pks: Sequence[int], *, using: str) -> list[Receipt]:
    """Return the receipts of those deletions of one log, in the order of their ids."""
    rows = Deletion.objects.using(using).filter(id_in("pk", pks, using)).order_by("pk")
    return receipts_for(list(rows), using=using)


def deletion(pk: int, *, using: str) -> Deletion | None:
    """Return the deletion with that id and what came of it, or None."""
    rows = list(Deletion.objects.using(using).filter(pk=pk))
    read_outcomes(rows, using=using)
    return next(iter(rows), None)


def others_of(row: Deletion) -> list[Deletion]:
    """Return the other deletions of its key in the same log, the newest first, at most `OTHERS`."""
    using = str(row._state.db)  # noqa: SLF001 (it is documented)
    same = Deletion.objects.using(using).filter(parent=row.parent, key=row.key)
    others = list(same.exclude(pk=row.pk).order_by("-pk")[:OTHERS]) if row.key is not None else []
    read_outcomes(others, using=using)
    return others


def newest(parent: Model, keys: Sequence[Any], *, using: str) -> list[Deletion]:
    """Return the latest deletions of those parents, at most as many as there are keys."""
    pk = primary_key(parent)
    texts = [format_key(pk, key) for key in keys]
    rows = Deletion.objects.using(using).filter(key__in=texts, parent=parent._meta.label)
    return list(rows.order_by("-pk")[: len(texts)])


def iso(moment: dt.datetime | None) -> str | None:
    """Return the moment in ISO 8601, with its zone."""
    if moment and timezone.is_naive(moment):  # without USE_TZ
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.isoformat() if moment else None
