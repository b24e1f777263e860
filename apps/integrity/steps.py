"""What one transaction does in a child's database, the way that a plan says.

Takes a plan's tree, keys whose parents are gone and an allowance of rows; gives the rows changed,
per label and key. It runs inside the caller's transaction, which locks and commits. Nothing here
decides whether a parent is gone: see `claims.Held`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from django.db import models
from django.db.models.deletion import Collector

from . import relations, statements
from .exceptions import UnusablePolicy
from .plan import Way, labels, replacement
from .policies import require_usable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plan import Node
    from .relations import Field, ForeignKey

#: Rows changed, for each label and key.
Counts = dict[str, Counter[Any]]
#: That, and whether the allowance was spent, so that there may be more.
Stepped = tuple[Counts, bool]

#: Rows that one transaction of Django's Collector starts from: it loads all that hangs on them.
COLLECTOR_ROWS = 100


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one step may change: so many rows in all, roots and what hangs on them.

    `each` is the rows that go with one root, itself included, as far as known.
    """

    rows: int
    each: float = 0.0

    def roots(self, node: Node) -> int:
        """How many roots a step begins with, so that it gets done with them."""
        return max(1, int(self.rows / (self.each or 1 + len(node.below))))


#: Roots that the first guess weighs as much as.
GUESSED_ROOTS = 200


def allowance(node: Node, rows: int, changed: Mapping[str, int]) -> Allowance:
    """The next step's, by what the steps before it have changed, per label. Pure."""
    below = sum(changed.get(label, 0) for label in labels(node)) - changed.get(node.label, 0)
    roots = changed.get(node.label, 0) + GUESSED_ROOTS
    return Allowance(rows, 1 + (below + GUESSED_ROOTS * len(node.below)) / roots)


class Step(Protocol):
    """One bounded step of a plan on rows of `keys`.

    A step that is not `patient` passes over rows that somebody else has locked.
    """

    def __call__(
        self, node: Node, keys: list[Any], allowed: Allowance, using: str, *, patient: bool
    ) -> Stepped:
        """Run it on the database `using`."""
        ...


def _set_based(
    node: Node, keys: list[Any], allowed: Allowance, using: str, *, patient: bool
) -> Stepped:
    """Delete rows of `keys`, leaf first; the rows above stay locked meanwhile.

    Note [Locked above, then below]: a leaf goes because the row above it goes. The lock keeps that
    row from moving to a living parent in between, and its foreign key keeps new leaves out.
    """
    require_usable(node.field, node.label, using)
    on = statements.on(using)
    on.walk_indexes(using=using)
    if not node.below:
        gone = on.delete_rows(node.field, keys, allowed.rows, using=using, patient=patient)
        return {node.label: gone}, gone.total() >= allowed.rows
    work, most = _Tree(using, allowed.rows, patient=patient), allowed.roots(node)
    roots = on.lock_rows(node.field, keys, most, using=using)
    more = len(roots) >= most
    if roots:
        if work.clear_below(node, roots):
            work.delete(node, roots)
        else:
            more = True
    return work.counts, more


class _Tree:
    """One way through a tree of rows, leaf first, with an allowance of rows."""

    def __init__(self, using: str, limit: int, *, patient: bool) -> None:
        self.using, self.allowance, self.patient = using, limit, patient
        self.on = statements.on(using)
        self.counts: Counts = defaultdict(Counter)

    def clear_below(self, node: Node, roots: dict[Any, Any]) -> bool:
        """Clear what refers to `roots` (primary key → key); False when the allowance ran out.

        Roots that somebody's locked row still refers to are taken out of `roots`.
        """
        for sub in node.below:
            if self.allowance <= 0 or not self._clear(sub, roots):
                return False
            if not self.patient and roots:
                for pk in self.on.keys_with_rows(sub.field, list(roots), using=self.using):
                    del roots[pk]
        return True

    def _clear(self, sub: Node, roots: dict[Any, Any]) -> bool:
        pks, before = list(roots), self.allowance
        if not pks:
            return True
        if sub.update:
            value = replacement(sub.field, self.using)
            changed = self.on.update_rows(
                sub.field, pks, value, before, using=self.using, patient=self.patient
            )
            self._count(sub, roots, changed)
        elif not sub.below:
            self._remove(sub, sub.field, roots, before, patient=self.patient)
        else:
            above = self.on.lock_rows(sub.field, pks, before, using=self.using)
            inner = {pk: roots[pk_above] for pk, pk_above in above.items()}
            if inner and not self.clear_below(sub, inner):
                return False
            self.delete(sub, inner)
            return len(above) < before
        return self.allowance > 0

    def delete(self, node: Node, roots: dict[Any, Any]) -> None:
        """Delete rows whose leaves are gone and that this transaction has locked."""
        if roots:
            pk = relations.primary_key(node.field.model)
            self._remove(node, pk, roots, len(roots), patient=True)

    def _remove(
        self, node: Node, field: Field, roots: dict[Any, Any], limit: int, *, patient: bool
    ) -> None:
        """Delete the node's rows whose `field` holds one of `roots`, and count them."""
        pks, keys = list(roots), {*roots.values()}
        if len(keys) > 1:
            gone = self.on.delete_rows(field, pks, limit, using=self.using, patient=patient)
            self._count(node, roots, gone)
            return
        (key,) = keys  # all for one: the sum is enough
        number = self.on.delete_number(field, pks, limit, using=self.using, patient=patient)
        self._count(node, {key: key}, Counter({key: number} if number else {}))

    def _count(self, node: Node, roots: dict[Any, Any], changed: Counter[Any]) -> None:
        self.allowance -= changed.total()
        counted = self.counts[node.label]
        for pk, number in changed.items():
            counted[roots[pk]] += number


def _collector(
    node: Node,
    keys: list[Any],
    allowed: Allowance,
    using: str,
    *,
    patient: bool,  # noqa: ARG001 (it never waits for a locked row)
) -> Stepped:
    """Delete rows of `keys` as Django does, with signals, a bounded batch of them at a time."""
    require_usable(node.field, node.label, using)
    counts: Counts = defaultdict(Counter)
    model, most = node.field.model, allowed.rows
    roots = statements.on(using).lock_rows(node.field, keys, most, using=using)
    for key in set(roots.values()):
        rows: models.QuerySet[Any] = models.QuerySet(model=model, using=using).filter(
            pk__in=[pk for pk, each in roots.items() if each == key]
        )
        collector = Collector(using=using, origin=rows)
        collector.collect(rows)
        for label, number in collector.delete()[1].items():
            counts[node.label if label == model._meta.label else label][key] += number
    return counts, len(roots) >= most


def _update(
    node: Node, keys: list[Any], allowed: Allowance, using: str, *, patient: bool
) -> Stepped:
    """Put the policy's value in place of `keys`."""
    require_usable(node.field, node.label, using)
    value = replacement(node.field, using)
    on = statements.on(using)
    if value is not None and not _lives(node.field, value):
        if not on.keys_with_rows(node.field, keys, using=using):
            return {}, False
        raise UnusablePolicy(f"{node.label}: its on_delete sets {value!r}, which does not exist")
    on.walk_indexes(using=using)
    changed = on.update_rows(node.field, keys, value, allowed.rows, using=using, patient=patient)
    return {node.label: changed}, changed.total() >= allowed.rows


def _lives(field: ForeignKey, value: Any) -> bool:
    """Whether a parent has that key; a value that is none refers to nobody, and may stand."""
    key = relations.as_key(field, value)
    target: Field = field.target_field
    homes = relations.databases_for(relations.concrete(field.remote_field.model))
    return key is None or any(
        statements.on(home).keys_with_rows(target, [key], using=home) for home in homes
    )


STEPS: dict[Way, Step] = {
    Way.SET_BASED: _set_based,
    Way.COLLECTOR: _collector,
    Way.UPDATE: _update,
}
