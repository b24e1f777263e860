"""Deleted parents → rows of the deletion log, in the delete's own transaction.

Input: keys of rows that are gone. Output: log rows in the same database, and the signal
`deletion_recorded` after the commit. A rolled-back delete leaves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.db.models import QuerySet

from .. import failpoints, relations
from ..backends import schemas
from ..backends.addresses import address
from ..exceptions import NotTheParents
from ..exceptions.loggers import logger_of
from ..failpoints import Failpoint
from ..log import deletions
from ..models import Deletion
from ..relations import discovery, relation
from ..relations.homes import databases_for
from ..relations.keys import format_key
from ..signals import deletion_recorded
from . import stating

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..relations import Model

logger = logger_of("integrity.capture")

#: Keys of one INSERT.
BATCH = 2_000

#: A deleted row's key, and its values of `to_field` targets as `targets_of` returns them.
Row = tuple[Any, "Mapping[str, str | None] | None"]
#: The warnings of this process about deletes that are not recorded: model, alias, schemas.
_warned: set[tuple[Model, str, tuple[str, str]]] = set()


def tracked_parent(model: Model) -> Model:
    """Return the concrete parent model. Raises `UnknownName` if no relation points to it."""
    return relations.catalogue().parent(relation.concrete(model)._meta.label)


def is_home(parent: Model, using: str) -> bool:
    """Return whether a delete on `using` deletes the parent itself, not a copy elsewhere.

    Another alias of the same physical database counts (a second route, a test mirror).
    """
    homes = databases_for(parent)
    return using in homes or address(using) in {address(home) for home in homes} - {None}


def targets_of(
    sender: Model, instance: models.Model, using: str, *, fresh: bool
) -> Mapping[str, str | None] | None:
    """Return the parent's values of `to_field` targets; None if all keys hold the primary key.

    A value that the parent did not have is None; a value that is unknown is absent. The instance
    that `delete()` was called on may have unsaved values: then `fresh=False` reads the row.
    """
    known = discovery.targets(relation.concrete(sender))
    # The row of a historical model may not have one of today's fields.
    fields = [field for field in known if hasattr(type(instance), field.attname)]
    if not known:
        return None
    if not fresh:
        row: QuerySet[Any] = QuerySet(model=type(instance), using=using).filter(pk=instance.pk)
        instance = row.only(*(field.name for field in fields)).first() or instance
    values = {field: getattr(instance, field.attname) for field in fields}
    return {
        field.name: None if value is None else format_key(field, value)
        for field, value in values.items()
    }


def insert(
    parent: Model, deleted: Sequence[Row], *, source: Deletion.Source, using: str
) -> list[str]:
    """Log deleted rows of the parent, and return the keys that were logged."""
    logged, stated = list[str](), stating.current()
    for batch in _batches(deleted):
        keys, targets = zip(*batch, strict=True)
        logged += deletions.record(parent, keys, targets, stated, source=source, using=using)
    failpoints.hit(Failpoint.RECORDED)
    if not logged and source == Deletion.Source.SIGNAL:
        _warn_elsewhere(parent, using)
    if logged:
        announce(parent, logged, using)
    return logged


def announce(parent: Model, keys: Sequence[str], using: str) -> None:
    """Send `deletion_recorded` once the transaction has committed."""

    # Not a partial: if a robust callback fails, Django reads its __qualname__.
    def send() -> None:
        failpoints.hit(Failpoint.COMMITTED)
        deletion_recorded.send_robust(
            sender=Deletion, parent=parent._meta.label, keys=tuple(keys), using=using
        )

    transaction.on_commit(send, using=using, robust=True)


def warn_not_recorded(sender: Model, using: str, **_: object) -> None:
    """`post_delete` of a parent with capture off: warn once per process which rows stay."""
    parent = relation.concrete(sender)
    warning = (parent, using, ("", ""))
    if warning in _warned or not is_home(parent, using):
        return
    _warned.add(warning)
    label = parent._meta.label
    if left := ", ".join(child.label for child in relations.catalogue().children_of(label)):
        logger.warning(
            "deletions of %s are not recorded (INTEGRITY['capture'] is 'off'): rows of %s stay"
            " unless the project removes them itself",
            label,
            left,
        )


def _warn_elsewhere(parent: Model, using: str) -> None:
    """Warn once per process that deletes of a schema's rows are not recorded."""
    mismatch = schemas.elsewhere(parent, using)
    if mismatch and (parent, using, mismatch) not in _warned:
        _warned.add((parent, using, mismatch))
        logger.warning("%s", NotTheParents(parent._meta.label, using, *mismatch))


def _batches(deleted: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (deleted[start : start + BATCH] for start in range(0, len(deleted), BATCH))
