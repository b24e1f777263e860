"""One step function per strategy: what one transaction does in a child's database.

Takes a plan's tree, keys whose parents are gone and an allowance of rows; returns the rows changed,
per label and key. It runs inside the caller's transaction, which locks and commits. Nothing here
decides whether a parent is gone: see `live_check.LiveClaim`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Protocol

from django.db import models, transaction
from django.db.models.deletion import Collector

from .. import backends
from ..exceptions import InvalidKey, UnusablePolicy
from ..exceptions.failures import contained
from ..relations import relation, stored
from ..relations.dry_run import require_usable
from ..relations.homes import databases_for
from ..relations.keys import from_stored
from ..relations.plan import Strategy, replacement
from ..relations.stored import with_keys
from .allowance import Left
from .gathering import delete_gathering
from .trees import delete_trees

if TYPE_CHECKING:
    from ..backends.base import RowBackend
    from ..relations import Field
    from ..relations.plan import Node
    from ..relations.relation import ForeignKey
    from .allowance import Allowance, Counts, StepResult
    from .gatherer import Gatherer


class StepFunction(Protocol):
    """One bounded step of a plan on rows of `keys`.

    With `skip_locked`, it passes over rows that another transaction has locked; without, it waits.
    """

    def __call__(
        self,
        backend: RowBackend,
        node: Node,
        keys: list[Any],
        allowed: Allowance,
        *,
        using: str,
        skip_locked: bool,
    ) -> StepResult:
        """Run it on the database `using`, by its statements."""
        ...


def _set_based(
    backend: RowBackend,
    node: Node,
    keys: list[Any],
    allowed: Allowance,
    *,
    using: str,
    skip_locked: bool,
) -> StepResult:
    """Delete rows of `keys`, and what refers to them."""
    require_usable(node.field, node.label, using)
    if gatherer := allowed.gatherer:
        return delete_gathering(backend, node, keys, allowed, gatherer, using=using)
    if node.below:
        return delete_trees(backend, node, keys, allowed, using=using, skip_locked=skip_locked)
    if allowed.walk is not None:
        walked = allowed.walk.delete(
            backend,
            node.field,
            keys[0],
            allowed.rows,
            most=allowed.statement,
            pks=False,
            using=using,
        )
        return {node.label: walked.numbers}, Left.SOME
    gone = backend.delete_rows(node.field, keys, allowed.rows, using=using, skip_locked=skip_locked)
    if gone.total() >= allowed.rows:
        return {node.label: gone}, Left.SOME
    return {node.label: gone}, Left.NONE if gone.whole else Left.FEW


def _collector(
    backend: RowBackend,
    node: Node,
    keys: list[Any],
    allowed: Allowance,
    *,
    using: str,
    skip_locked: bool,  # noqa: ARG001 (it always skips locked rows)
) -> StepResult:
    """Delete rows of `keys` as Django does, with signals, a bounded batch of them at a time."""
    require_usable(node.field, node.label, using)
    counts: Counts = defaultdict(Counter)
    most = allowed.rows
    roots = backend.lock_rows(node.field, keys, most, using=using)
    if roots:
        backend.restore_row_security(using=using)
    # A receiver may hide an error after which MySQL has rolled back the transaction. Then there is
    # no savepoint any more, and that is an error again.
    with transaction.atomic(using=using):
        _collect(node, roots, counts, using, allowed.gatherer)
    return counts, Left.SOME if len(roots) >= most else Left.FEW


def _collect(
    node: Node, roots: dict[Any, Any], counts: Counts, using: str, gatherer: Gatherer | None
) -> None:
    """Delete those roots with what refers to them; add what was deleted to the counts."""
    model = node.field.model
    pk = relation.primary_key(model)
    for key in set(roots.values()):
        rows: models.QuerySet[Any] = models.QuerySet(model=model, using=using).filter(
            with_keys(pk, [root for root, root_key in roots.items() if root_key == key])
        )
        collector = Collector(using=using, origin=rows)
        numbers = Counter[Any]()
        if gatherer:
            numbers = gatherer.collect(collector, rows, key)
        else:
            collector.collect(rows)
        with contained():
            deleted = collector.delete()[1]
        if gatherer:
            gatherer.require_gone(collector, numbers, deleted)
        for label, number in deleted.items():
            counts[node.label if label == model._meta.label else label][key] += number


def _update(
    backend: RowBackend,
    node: Node,
    keys: list[Any],
    allowed: Allowance,
    *,
    using: str,
    skip_locked: bool,
) -> StepResult:
    """Put the policy's value in place of `keys`."""
    require_usable(node.field, node.label, using)
    value = replacement(node.field, using)
    if value is not None and not _lives(node.field, value):
        if not backend.keys_with_rows(node.field, keys, using=using):
            return {}, Left.FEW
        raise UnusablePolicy(f"{node.label}: its on_delete sets {value!r}, which does not exist")
    changed = backend.update_rows(
        node.field, keys, value, allowed.rows, using=using, skip_locked=skip_locked
    )
    return {node.label: changed}, Left.SOME if changed.total() >= allowed.rows else Left.FEW


def _lives(field: ForeignKey, value: Any) -> bool:
    """Return whether a parent has that key; what is no key refers to none, and may stand."""
    key = from_stored(field, value)
    target: Field = field.target_field
    homes = databases_for(relation.concrete(field.remote_field.model))
    return key is None or any(
        backends.row_backend(home).keys_with_rows(
            target, [stored.prepare(target, key, home)], using=home
        )
        for home in homes
    )


def require_asked(label: str, touched: set[Any], keys: list[Any]) -> None:
    """Refuse rows of other keys than those asked for. A collation takes some texts for equal."""
    if not touched <= set(keys):
        raise equal_by_collation(label)


def equal_by_collation(label: str) -> InvalidKey:
    """Return the error for rows whose key only the column's collation takes for a parent's."""
    return InvalidKey(
        f"{label}: rows hold keys that equal those of deleted parents only by the column's"
        " collation. They were not changed; write the keys in the rows as they are in their"
        " parents, or give both columns the same collation"
    )


STEP_FUNCTIONS: dict[Strategy, StepFunction] = {
    Strategy.SET_BASED: _set_based,
    Strategy.COLLECTOR: _collector,
    Strategy.UPDATE: _update,
}
