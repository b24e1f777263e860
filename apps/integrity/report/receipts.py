"""What is known of one deletion: its steps, and its receipt."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypedDict

from django.db.models import Q

from .. import relations
from ..backends import clocks
from ..log.tables import id_in
from ..models import Cascade, Deletion, read_outcomes
from ..relations import discovery, homes
from ..relations.keys import format_key, parse_key
from ..relations.policies import Policy
from ..relations.relation import primary_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..models import InDatabase
    from ..relations import Model, Relation


#: The name of this app on the package index.
DISTRIBUTION = "django-crossdb-integrity"
#: States of a cascade along whose free values no row is left.
PROBED = (Cascade.State.DONE, Cascade.State.VERIFIED, Cascade.State.KEPT)
#: States of a cascade without work under way.
OVER = (*PROBED, Cascade.State.CANCELLED)
#: Policy → what it made of the rows; under a label without one, rows went along with others.
OUTCOMES = {"CASCADE": "deleted", "SET_NULL": "set to null", "": "deleted"}
#: What became of the rows along a relation that no cascade follows.
NOT_COVERED = "not covered"
#: Policy → why no cascade follows its relations.
UNFOLLOWED = {
    Policy.DO_NOTHING: "DO_NOTHING leaves its rows as they are",
    Policy.PROTECT: "PROTECT refuses the delete while rows refer to it, and is not asked again",
    Policy.RESTRICT: "RESTRICT refuses the delete while rows refer to it, and is not asked again",
}


class Receipt(TypedDict):
    """Proof for one deletion: what was removed where, when, how many rows.

    `scope` is what it speaks for: the outcome along each relation in each child database, and the
    relations that it does not cover, with the reason. Their `rows_now` are counted by
    `unfollowed.count`.
    """

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
                "database": line.database,
                "policy": line.policy,
                "outcome": line.outcome,
                "reason": line.reason,
                "rows": line.rows,
                "kept": line.kept,
                "kept_at": iso(line.kept_at),
                "rows_now": None,
            }
            for line in receipt_lines(deletion)
        ],
        "issued": _issued(),
    }


def is_exact(cascade: InDatabase) -> bool:
    """Return whether its rows are all that were changed; else a killed worker's may be missing.

    What the child's database counts is read once the work is over. The attempts prove nothing: a
    retry begins them anew. Pure.
    """
    return cascade.counted and cascade.state in OVER


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptLine:
    """What one deletion did along one relation in one child database.

    `rows` is None if it has not begun. `kept` counts the rows that were left alone because a living
    row has the value; None if no row has it. Counting stops above `log.kept.COUNTED_MAX`. Without a
    `cascade`, the deletion does not cover the relation, for that `reason`.
    """

    relation: str
    database: str
    policy: str
    rows: int | None = None
    kept: int | None = None
    cascade: InDatabase | None = None
    reason: str = ""

    @property
    def outcome(self) -> str:
        """Return what became of the rows, in a word."""
        if self.cascade is None:
            return NOT_COVERED
        if self.kept is not None:
            return "kept"
        if self.cascade.state not in PROBED:
            return "given up" if self.cascade.state == Cascade.State.CANCELLED else "open"
        return OUTCOMES.get(self.policy, "replaced")

    @property
    def kept_at(self) -> dt.datetime | None:
        """Return when rows were first kept."""
        return self.cascade.kept_at if self.cascade and self.kept is not None else None


def receipt_lines(of: Deletion) -> list[ReceiptLine]:
    """Return a line for each child database and relation of a deletion's parent."""
    pointing = [
        relation
        for relation in relations.catalogue().relations
        if relation.parent._meta.label == of.parent
    ]
    children = relations.catalogue().children_of(of.parent, relation=of.relation)
    followed = {relation.label: relation for relation in children}
    lines = []
    for cascade in of.databases:
        here = [
            label
            for label, relation in followed.items()
            if cascade.database in relation.child_databases
        ]
        done = cascade.done_at is not None
        for label in dict.fromkeys([*here, *cascade.rows]):
            line = ReceiptLine(
                relation=label,
                database=cascade.database,
                policy=str(followed[label].policy) if label in followed else "",
                rows=cascade.rows.get(label, 0 if done else None),
                kept=cascade.kept.get(label),
                cascade=cascade,
            )
            lines.append(line)
    others = [relation for relation in pointing if relation.label not in followed]
    return lines + [line for relation in others for line in _uncovered(of, relation)]


def _uncovered(of: Deletion, relation: Relation) -> Iterator[ReceiptLine]:
    """Yield a line for each child database of a relation that the deletion does not cover."""
    reason = UNFOLLOWED.get(relation.policy) or (
        f"a scan found what was missing for {of.relation}, and only that was followed"
    )
    for database in relation.child_databases:
        yield ReceiptLine(
            relation=relation.label,
            database=database,
            policy=str(relation.policy),
            reason=reason,
        )


def _issued() -> dict[str, str]:
    """Return by which release a receipt is made, if it was installed as a package, and when."""
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "unknown"
    now = dt.datetime.fromtimestamp(clocks.own(), dt.UTC)
    return {"by": DISTRIBUTION, "version": version, "at": now.isoformat(timespec="seconds")}


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
