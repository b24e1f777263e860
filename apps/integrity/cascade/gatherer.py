"""Asks erasure steps what belongs to rows before these go, in the transaction that removes them."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models.deletion import Collector

    from ..erasure import Item
    from ..log.values import Claim
    from ..models import Finding
    from ..relations import Model
    from ..relations.removed import Covering

#: Rows that a step is asked about at once.
ASKED = 500


class Gatherer:
    """What erasure steps find of the rows that one transaction removes along a relation."""

    def __init__(self, covering: Covering, using: str) -> None:
        self.covering, self.using = covering, using
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

    def collect(self, collector: Collector, rows: QuerySet[Any], key: Any) -> Counter[Any]:
        """Collect rows as Django does, and ask about them; return model → how many are covered.

        Django loads all of them: nobody could be asked about what it deletes without loading it.
        """
        collector.can_fast_delete = lambda *_, **__: False  # type: ignore[method-assign]
        collector.collect(rows)
        return self._gather_collected(collector, key)

    def _gather_collected(self, collector: Collector, key: Any) -> Counter[Any]:
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

    def require_gone(
        self, collector: Collector, numbers: Mapping[Any, int], deleted: Mapping[str, int]
    ) -> None:
        """Raise `RowsKept` where fewer rows went than a step was asked about."""
        labels = {model._meta.label: concrete(model) for model in collector.data}
        gone = Counter[Any]()
        for label, number in deleted.items():
            gone[labels.get(label)] += number
        for model, number in numbers.items():
            if gone[model] != number:
                raise RowsKept(model._meta.label, self.using)

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
