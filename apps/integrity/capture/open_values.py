"""Whether rows may still refer to the value of a deleted parent."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django.db import models

from ..exceptions import UnknownName
from ..log.pending import is_open
from ..relations import discovery, relation
from ..relations.columns import underlying_field
from ..relations.homes import databases_for
from ..relations.keys import format_key, parse_key
from .recording import tracked_parent

if TYPE_CHECKING:
    from .. import relations
    from ..relations import Model


def pending(
    model: Model, value: Any, *, field: str | None = None, using: str | None = None
) -> bool:
    """Return whether rows may still refer to a deleted parent with that value.

    Use it in forms in which people choose a key, such as a user name, before the value is given to
    a new parent. It is True while a deletion of the value is open (recorded, running, blocked or
    not verified yet), or while a scan suspects that the parent is missing. It runs at most
    three indexed queries in each log of the model. Text is compared exactly.

    The answer is a snapshot: the value may be deleted between this call and the insert. Rows that
    refer to the new parent are then kept, and the deletion is not verified.

    Args:
        model: The parent model.
        value: The value of the primary key, or of `field`.
        field: A field that relations hold by `to_field`. Default: the primary key.
        using: The alias of the only log to query. Default: all logs of the model.

    Raises:
        UnknownName: no relation points to the model, or none holds the field.
        InvalidKey: the field cannot hold the value.
        DatabaseError: the log's database cannot be queried.
    """
    parent = tracked_parent(model)
    target = _target(parent, field)
    if value is None:
        return False
    texts = _texts(target, parse_key(target, value))
    name = None if target == relation.primary_key(parent) else target.name
    logs = databases_for(parent) if using is None else (discovery.log_database(using),)
    return any(is_open(parent._meta.label, texts, field=name, using=log) for log in logs)


def _texts(field: relations.Field, key: Any) -> list[str]:
    """Return how the log may write that key: a decimal also with all of its decimal places."""
    texts = [format_key(field, key)]
    if isinstance(decimal := underlying_field(field), models.DecimalField):
        places = Decimal(1).scaleb(-decimal.decimal_places)
        with suppress(InvalidOperation):  # the value has more digits than the field
            texts.append(format_key(field, key.quantize(places)))
    return [*dict.fromkeys(texts)]


def _target(parent: Model, field: str | None) -> relations.Field:
    """Return the field of that name that foreign keys hold; without a name, the primary key."""
    pk = relation.primary_key(parent)
    known = {target.name: target for target in (pk, *discovery.targets(parent))}
    if field not in {None, "pk", *known}:
        raise UnknownName(f"field of {parent._meta.label} that keys hold", str(field), known)
    return pk if field is None else known.get(field, pk)
