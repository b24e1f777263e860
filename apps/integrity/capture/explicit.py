"""Deletions that the project records itself, because they send no signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import models, transaction

from .. import conf
from ..backends import schemas
from ..exceptions import InvalidKey, NotTheParents, ParentStillExists
from ..models import Deletion
from ..relations import discovery, relation
from ..relations.keys import format_key, parse_key
from .recording import insert, targets_of, tracked_parent, warn_not_recorded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .. import relations
    from ..relations import Model
    from .recording import Row


def record(
    parents: Iterable[models.Model] | tuple[Model, Iterable[Any]], *, using: str
) -> list[str]:
    """Record deletions that send no signal, such as raw SQL or `_raw_delete`, after the delete.

    Call it in the same transaction as the delete. It joins that transaction, so that both commit or
    neither does.

    Args:
        parents: The deleted instances, or a tuple of a model and its deleted keys. If a relation
            holds a field other than the primary key, only instances are accepted.
        using: The alias of the database that they were deleted from.

    Returns the recorded keys as text. The list is empty if capture is "off".

    Raises:
        UnknownName: no relation points to the model.
        InvalidKey: a key that its field cannot hold.
        ParentStillExists: one of the parents still has a row. The caller's transaction rolls back.
        NotTheParents: the connection leads to a table in another schema. The caller's transaction
            rolls back.
    """
    recorded: list[str] = []
    with transaction.atomic(using=using):
        for model, deleted in _by_model(parents).items():
            if conf.current().is_off(model._meta.label):
                warn_not_recorded(model, using)
                continue
            logged = insert(model, deleted, source=Deletion.Source.API, using=using)
            if len(logged) < len(deleted):
                if mismatch := schemas.elsewhere(model, using):
                    raise NotTheParents(model._meta.label, using, *mismatch)
                text = {format_key(relation.primary_key(model), pk) for pk, _ in deleted}
                alive = ", ".join(sorted(text - set(logged)))
                raise ParentStillExists(
                    f"{model._meta.label} {alive} still has a row in {using!r}: delete it first,"
                    " then record it in the same transaction"
                )
            recorded += logged
    return recorded


def _by_model(
    parents: Iterable[models.Model] | tuple[Model, Iterable[Any]],
) -> dict[Model, list[Row]]:
    if isinstance(parents, tuple) and parents and isinstance(parents[0], type):
        model, keys = parents
        parent = tracked_parent(model)
        pk = relation.primary_key(parent)
        if fields := discovery.targets(parent):
            held = ", ".join(relation.label(field) for field in fields)
            raise InvalidKey(
                f"a key of {parent._meta.label} does not tell {held}, which relations refer to:"
                " pass the instances, loaded before the delete"
            )
        unique = dict.fromkeys(_key(pk, key) for key in keys)
        return {parent: [(key, None) for key in unique]} if unique else {}
    gathered: dict[Model, list[Row]] = {}
    for instance in cast("Iterable[models.Model]", parents):
        parent = tracked_parent(type(instance))
        targets = targets_of(parent, instance, "", fresh=True)
        key = _key(relation.primary_key(parent), instance.pk)
        gathered.setdefault(parent, []).append((key, targets))
    return gathered


def _key(pk: relations.Field, value: Any) -> Any:
    if value is None:
        raise InvalidKey(f"None is not a key of {relation.label(pk)}: was the instance saved?")
    return parse_key(pk, str(value))
