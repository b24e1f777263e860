"""Asks erasure steps what belongs to rows, in the transaction that removes these, before they go.

Takes a plan's tree; removes rows as `delete_trees` does, but by their primary keys: they are locked
first, then the steps are asked, and then exactly those rows go. If one of them stays, nothing is
committed: what was found for it must not be erased.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from .. import relations
from ..conf.steps import place_of
from ..control import identity
from ..exceptions import RowsKept
from ..exceptions.failures import contained
from ..log import findings
from ..relations.relation import concrete, primary_key
from ..relations.stored import with_keys
from .trees import HeldBelow, LeavesFirst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models.deletion import Collector

    from ..backends.base import RowBackend
    from ..erasure import Item
    from ..log.values import Claim
    from ..models import Finding
    from ..relations import Model, Relation
    from ..relations.plan import Node
    from .allowance import Allowance, StepResult

#: Rows that a step is asked about at once.
ASKED = 500


class Gatherer:
    """What erasure steps find of the rows that one transaction removes along a relation."""

    def __init__(self, relation: Relation, using: str) -> None:
        self.using = using
        self.covering = relations.catalogue().covering(relation)
        #: The key of a parent that is gone, the name of a step, and what it found.
        self.found: list[tuple[Any, str, list[Item]]] = []

    def covers(self, model: Model) -> bool:
        """Return whether some step has to be asked about rows of that model."""
        return concrete(model) in self.covering

    def gather(self, model: Model, owners: Mapping[Any, Any]) -> None:
        """Ask about rows that the transaction has locked: primary key → the parent's key."""
        by_key: dict[Any, list[Any]] = {}
        for pk, key in owners.items() if self.covers(model) else ():
            by_key.setdefault(key, []).append(pk)
        for key, pks in by_key.items():
            for at in range(0, len(pks), ASKED):
                self._ask(model, key, pks[at : at + ASKED])

    def _ask(self, model: Model, key: Any, pks: Sequence[Any]) -> None:
        catalogue = relations.catalogue()
        for name in self.covering[concrete(model)]:
            rows = _rows(concrete(model), pks, self.using)
            with contained():
                if items := [*catalogue.step(place_of(name)).collect(rows)]:
                    self.found.append((key, name, items))

    def gather_collected(self, collector: Collector, key: Any) -> Counter[Any]:
        """Ask about the rows that Django is about to delete; return how many are covered."""
        numbers = Counter[Any]()
        for model, instances in collector.data.items():
            if self.covers(model):
                pks = sorted({instance.pk for instance in instances}, key=str)
                locked = self._locked(model, pks)
                numbers[concrete(model)] += len(locked)
                self.gather(model, dict.fromkeys(locked, key))
        return numbers

    def _locked(self, model: Model, pks: Sequence[Any]) -> list[Any]:
        """Lock rows, so that what a step reads of them is what goes; return those that are left."""
        parts = (pks[at : at + ASKED] for at in range(0, len(pks), ASKED))
        rows = (_rows(concrete(model), part, self.using) for part in parts)
        locked = (
            one.select_for_update().order_by("pk").values_list("pk", flat=True) for one in rows
        )
        return [pk for some in locked for pk in some]

    def rows(self, claim: Claim, owners: Mapping[Any, int]) -> list[Finding]:
        """Return what was found as rows for the child's database."""
        if not self.found:
            return []
        log = claim.log or identity.of_log(claim.using)
        batches = {one.id: one.batch for one in claim.deletions}
        return [
            row
            for key, name, items in self.found
            for row in findings.rows_of(log, batches[owners[key]], owners[key], name, items)
        ]


def _rows(model: Model, pks: Sequence[Any], using: str) -> QuerySet[Any]:
    rows: QuerySet[Any] = QuerySet(model=model, using=using)
    return rows.filter(with_keys(primary_key(model), pks))


class Gathering(LeavesFirst):
    """Removes locked rows by their primary keys. See Note [Whole rows] in trees.py."""

    def __init__(
        self, backend: RowBackend, using: str, allowed: Allowance, gatherer: Gatherer
    ) -> None:
        # With `skip_locked`, it makes sure that no row below is left, however it was missed.
        by_index = dataclasses.replace(allowed, walk=None)
        super().__init__(backend, using, by_index, skip_locked=True)
        self.gatherer = gatherer

    def _clear_whole(self, node: Node, roots: dict[Any, Any]) -> bool:
        before = len(self.gatherer.found)
        try:
            return super()._clear_whole(node, roots)
        except HeldBelow:
            del self.gatherer.found[before:]
            raise

    def _clear(self, sub: Node, owners: dict[Any, Any]) -> bool:
        if sub.update or sub.below or not self.gatherer.covers(sub.field.model):
            return super()._clear(sub, owners)
        limit = self.allowed.statement
        above = self.backend.lock_rows(sub.field, list(owners), limit, using=self.using)
        self._delete(sub, {pk: owners[key] for pk, key in above.items()})
        return len(above) < limit

    def _delete(self, node: Node, owners: dict[Any, Any]) -> None:
        self.gatherer.gather(node.field.model, owners)
        before = self.changed
        super()._delete(node, owners)
        if self.changed - before != len(owners):
            raise RowsKept(node.label, self.using)


def delete_gathering(
    backend: RowBackend, node: Node, keys: list[Any], allowed: Allowance, *, using: str
) -> StepResult:
    """Delete rows of `keys`, with what refers to them, after the erasure steps were asked."""
    assert allowed.gatherer is not None
    return Gathering(backend, using, allowed, allowed.gatherer).step(node, keys)


def collect_gathering(
    collector: Collector, rows: QuerySet[Any], key: Any, gatherer: Gatherer
) -> dict[str, int]:
    """Delete rows as Django does, after the erasure steps were asked; return label → number.

    Django loads all of them then: what it would delete without loading it, nobody could be asked
    about. Raises `RowsKept` where fewer rows went than a step was asked about.
    """
    collector.can_fast_delete = lambda *_, **__: False  # type: ignore[method-assign]
    collector.collect(rows)
    numbers = gatherer.gather_collected(collector, key)
    labels: dict[str, Model] = {model._meta.label: concrete(model) for model in collector.data}
    with contained():
        deleted: dict[str, int] = collector.delete()[1]
    gone = Counter[Any]()
    for label, number in deleted.items():
        gone[labels.get(label)] += number
    for model, number in numbers.items():
        if gone[model] != number:
            raise RowsKept(model._meta.label, gatherer.using)
    return deleted
