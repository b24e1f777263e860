"""What is known of one deletion: its steps, and its receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from django.db.models import Q

from .. import relations
from ..backends import clocks
from ..log.kept import counted
from ..log.tables import id_in
from ..models import Cascade, Deletion, read_outcomes
from ..relations import discovery, homes
from ..relations.keys import format_key, parse_key
from ..relations.relation import primary_key

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from ..models import InDatabase
    from ..relations import Model


#: States of a cascade along whose free values no row is left.
PROBED = (Cascade.State.DONE, Cascade.State.VERIFIED, Cascade.State.KEPT)
#: States of a cascade without work under way.
OVER = (*PROBED, Cascade.State.CANCELLED)
#: Policy → what it made of the rows; under a label without one, rows went along with others.
OUTCOMES = {"CASCADE": "deleted", "SET_NULL": "set to null", "": "deleted"}


class Receipt(TypedDict):
    """Proof for one deletion: what was removed where, when, how many rows.

    `scope` is what it speaks for: the outcome along each relation in each child database.
    """

    deletion: dict[str, Any]
    cascades: list[dict[str, Any]]
    scope: list[dict[str, Any]]


def receipts_of(model: str, key: str) -> list[Receipt]:
    """Return the receipts of that parent's deletions, the newest first.

    `key` is its primary key, or "field=value" for what a scan found by a `to_field`. Raises
    `UnknownName` for a model that no relation points to, `InvalidKey` for a key that its field
    cannot hold.
    """
    parent = relations.catalogue().parent(model)
    deletions: list[Deletion] = []
    for using in homes.databases_for(parent):
        rows = Deletion.objects.using(using).filter(_of(parent, key), parent=parent._meta.label)
        in_log = list(rows.annotate(age=clocks.age("recorded_at")))
        read_outcomes(in_log, using=using)
        deletions += in_log
    deletions.sort(key=lambda row: clocks.age_of(row) or 0.0)  # by the clock of its own log
    return [receipt_of(deletion) for deletion in deletions]


def _of(parent: Model, key: str) -> Q:
    """Return the condition for deletions of the parent that `key` names, as for `receipts_of`."""
    name, equals, value = key.partition("=")
    for field in discovery.targets(parent):
        if equals and field.name == name:
            text = format_key(field, parse_key(field, value))
            return Q(**{f"targets__{name}": text})
    pk = primary_key(parent)
    return Q(key=format_key(pk, parse_key(pk, key)))


def receipt_of(deletion: Deletion) -> Receipt:
    """Return the receipt of one deletion."""
    return {
        "deletion": {
            "id": deletion.pk,
            "parent": deletion.parent,
            "key": deletion.key,
            "targets": deletion.targets or {},
            "relation": deletion.relation,
            "source": deletion.source,
            "state": deletion.state,
            "reason": deletion.why,
            "recorded_at": iso(deletion.recorded_at),
            "cascaded_at": iso(deletion.cascaded_at),
            "verified_at": iso(deletion.verified_at),
        },
        "cascades": [
            {
                "database": cascade.database,
                "state": cascade.state,
                "reason": cascade.reason,
                "attempts": cascade.attempts,
                "rows": dict(cascade.rows),
                "rows_exact": is_exact(cascade),
                "kept": dict(cascade.kept),
                "kept_at": iso(cascade.kept_at),
                "acknowledged_at": iso(cascade.acknowledged_at),
                "done_at": iso(cascade.done_at),
                "verified_at": iso(cascade.verified_at),
            }
            for cascade in deletion.databases
        ],
        "scope": [
            {
                "relation": line.relation,
                "database": line.cascade.database,
                "policy": line.policy,
                "outcome": line.outcome,
                "rows": line.rows,
                "kept": line.kept,
                "kept_at": iso(line.cascade.kept_at) if line.kept is not None else None,
            }
            for line in receipt_lines(deletion)
        ],
    }


def is_exact(cascade: InDatabase) -> bool:
    """Return whether its rows are all that were changed; else a killed worker's may be missing.

    What the child's database counts is read once the work is over. The attempts prove nothing: a
    retry begins them anew. Pure.
    """
    return cascade.counted and cascade.state in OVER


def left_alone(receipt: Receipt) -> list[str]:
    """Return a sentence for each relation whose rows a cascade has kept. Pure."""
    return [
        f"{counted(line['kept'])} of {line['relation']} in {line['database']} still"
        f" {'refers' if line['kept'] == 1 else 'refer'} to the value; it belongs to another row"
        f" since {line['kept_at'][:19].replace('T', ' ')} or before"
        for line in receipt["scope"]
        if line["kept"] is not None
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptLine:
    """What one deletion did along one relation in one child database.

    `rows` is None if it has not begun. `kept` counts the rows that were left alone because a living
    row has the value; None if no row has it. Counting stops above `log.kept.COUNTED_MAX`.
    """

    relation: str
    policy: str
    rows: int | None
    kept: int | None
    cascade: InDatabase

    @property
    def outcome(self) -> str:
        """Return what became of the rows, in a word."""
        if self.kept is not None:
            return "kept"
        if self.cascade.state not in PROBED:
            return "given up" if self.cascade.state == Cascade.State.CANCELLED else "open"
        return OUTCOMES.get(self.policy, "replaced")


def receipt_lines(of: Deletion) -> list[ReceiptLine]:
    """Return a line for each child database and relation of a deletion."""
    declared = {
        relation.label: relation
        for relation in relations.catalogue().children_of(of.parent, relation=of.relation)
    }
    lines = []
    for cascade in of.databases:
        here = [
            label
            for label, relation in declared.items()
            if cascade.database in relation.child_databases
        ]
        rows = cascade.rows
        done = cascade.done_at is not None
        for label in dict.fromkeys([*here, *rows]):
            policy = str(declared[label].policy) if label in declared else ""
            number = rows.get(label, 0 if done else None)
            kept = cascade.kept.get(label)
            line = ReceiptLine(
                relation=label, policy=policy, rows=number, kept=kept, cascade=cascade
            )
            lines.append(line)
    return lines


def receipts_by_id(pks: Sequence[int], *, using: str) -> Iterator[Receipt]:
    """Yield the receipts of those deletions of one log, in the order of their ids."""
    rows = list(Deletion.objects.using(using).filter(id_in("pk", pks, using)).order_by("pk"))
    read_outcomes(rows, using=using)
    yield from map(receipt_of, rows)


def deletion(pk: int, *, using: str) -> Deletion | None:
    """Return the deletion with that id and what came of it, or None."""
    rows = list(Deletion.objects.using(using).filter(pk=pk))
    read_outcomes(rows, using=using)
    return next(iter(rows), None)


def newest(parent: Model, keys: Sequence[Any], *, using: str) -> list[Deletion]:
    """Return the latest deletions of those parents, at most as many as there are keys."""
    pk = primary_key(parent)
    texts = [format_key(pk, key) for key in keys]
    rows = Deletion.objects.using(using).filter(key__in=texts, parent=parent._meta.label)
    return list(rows.order_by("-pk")[: len(texts)])


def iso(moment: dt.datetime | None) -> str | None:
    """Return the moment in ISO 8601."""
    return moment.isoformat() if moment else None
