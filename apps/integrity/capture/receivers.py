"""Deletions of tracked parents → rows of the deletion log, in the delete's own transaction.

Takes Django's delete signals, or keys through `record()`; gives log rows on the same alias, and
`deletion_recorded` once the transaction has committed. A rolled-back delete leaves nothing.

Note [Gather, then insert]: the Collector sends every `pre_delete` before its first DELETE, and a
model's first `post_delete` after all of its rows are gone, both inside one `atomic`
(django/db/models/deletion.py, `Collector.delete`). So keys are gathered by the former and
inserted by the latter: one INSERT for each model, however many rows, guarded by "its row is gone".
What is gathered belongs to that `Atomic` and disappears with it, whatever goes wrong.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from django.apps import apps
from django.db import connections, models, transaction
from django.db.models import QuerySet
from django.db.models.signals import post_delete, pre_delete

from .. import conf, failpoints, relations
from ..backends import schemas
from ..backends.addresses import address
from ..exceptions import InvalidKey, NotTheParents, ParentStillExists, UnknownName
from ..exceptions.loggers import logger_of
from ..failpoints import Failpoint
from ..log import deletions
from ..log.pending import is_open
from ..models import Deletion
from ..relations import discovery, relation
from ..relations.columns import underlying_field
from ..relations.homes import databases_for
from ..relations.keys import format_key, parse_key
from ..signals import deletion_recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.db.transaction import Atomic

    from ..relations import Catalogue, Model

logger = logger_of("integrity.capture")

#: Keys of one INSERT.
BATCH = 2_000

Gathered = dict["Model", list[tuple[Any, "Mapping[str, str | None] | None"]]]
_gathered: WeakKeyDictionary[Atomic, Gathered] = WeakKeyDictionary()
#: What this process has said of deletes that are not recorded: model, alias, schemas.
_told: set[tuple[Model, str, tuple[str, str]]] = set()


def connect(catalogue: Catalogue) -> None:
    """Listen to the deletes of each tracked parent and of its proxies, and of no other model.

    A receiver without sender would switch off fast deletes for every model of the project. Nobody
    listens where a trigger alone records; where nothing does, the process's log says so.
    """
    settings = conf.current()
    for model in apps.get_models(include_auto_created=True):
        label, uid = relation.concrete(model)._meta.label, f"integrity.capture.{model._meta.label}"
        if label in catalogue.parents and settings.is_off(label):
            post_delete.connect(tell_off, sender=model, dispatch_uid=uid)
            _connected[uid] = model
        elif label in catalogue.parents and settings.by_signal(label):
            pre_delete.connect(gather, sender=model, dispatch_uid=uid)
            post_delete.connect(flush, sender=model, dispatch_uid=uid)
            _connected[uid] = model


#: What is listened to: uid → model.
_connected: dict[str, Model] = {}


def disconnect() -> None:
    """Listen to no model any more."""
    while _connected:
        uid, model = _connected.popitem()
        pre_delete.disconnect(sender=model, dispatch_uid=uid)
        post_delete.disconnect(sender=model, dispatch_uid=uid)


def gather(
    sender: Model, instance: models.Model, using: str, origin: object = None, **_: object
) -> None:
    """`pre_delete`: remember what is about to go."""
    operation = _operation(using)
    if operation is not None:
        # Rows that a queryset or a cascade loaded are as they were saved; the one that `delete()`
        # was called on, or its parent tables' part of it, may not be.
        fresh = not isinstance(origin, sender)
        found = (instance.pk, _targets(sender, instance, using, fresh=fresh))
        _gathered.setdefault(operation, {}).setdefault(sender, []).append(found)


def flush(sender: Model, using: str, **_: object) -> None:
    """The model's first `post_delete`: log what was gathered for it. Later ones find nothing."""
    operation = _operation(using)
    found = _gathered.get(operation, {}).pop(sender, None) if operation is not None else None
    if found and is_home(relation.concrete(sender), using):
        _insert(relation.concrete(sender), found, source=Deletion.Source.SIGNAL, using=using)


def tell_off(sender: Model, using: str, **_: object) -> None:
    """`post_delete` of a parent that is not recorded: say once in a process what stays behind."""
    parent = relation.concrete(sender)
    told = (parent, using, ("", ""))
    if told in _told or not is_home(parent, using):
        return
    _told.add(told)
    label = parent._meta.label
    if left := ", ".join(each.label for each in relations.catalogue().children_of(label)):
        logger.warning(
            "deletions of %s are not recorded (INTEGRITY['capture'] is 'off'): rows of %s stay"
            " unless the project removes them itself",
            label,
            left,
        )


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
        for model, found in _by_model(parents).items():
            if conf.current().is_off(model._meta.label):
                tell_off(model, using)
                continue
            logged = _insert(model, found, source=Deletion.Source.API, using=using)
            if len(logged) < len(found):
                if found_elsewhere := schemas.elsewhere(model, using):
                    raise NotTheParents(model._meta.label, using, *found_elsewhere)
                text = {format_key(relation.primary_key(model), pk) for pk, _ in found}
                alive = ", ".join(sorted(text - set(logged)))
                raise ParentStillExists(
                    f"{model._meta.label} {alive} still has a row in {using!r}: delete it first,"
                    " then record it in the same transaction"
                )
            recorded += logged
    return recorded


def pending(
    model: Model, value: Any, *, field: str | None = None, using: str | None = None
) -> bool:
    """Return whether rows may still refer to a deleted parent with that value.

    Use it in forms in which people choose a key, such as a user name, before the value is given to
    a new parent. It is True while a deletion of the value is open (recorded, running, blocked or
    not verified yet), or while a scan suspects that the parent is missing. It runs one indexed
    query in each log of the model. Text is compared exactly.

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
    parent = _tracked(model)
    target = _target(parent, field)
    if value is None:
        return False
    texts = _texts(target, parse_key(target, value))
    name = None if target == relation.primary_key(parent) else target.name
    logs = databases_for(parent) if using is None else (discovery.log_database(using),)
    return any(is_open(parent._meta.label, texts, field=name, using=each) for each in logs)


def _texts(field: relations.Field, key: Any) -> list[str]:
    """Return how the log may have that key: a decimal, with all of its places, too."""
    texts = [format_key(field, key)]
    if isinstance(decimal := underlying_field(field), models.DecimalField):
        places = Decimal(1).scaleb(-decimal.decimal_places)
        with suppress(InvalidOperation):  # it has more digits than the field
            texts.append(format_key(field, key.quantize(places)))
    return [*dict.fromkeys(texts)]


def _target(parent: Model, field: str | None) -> relations.Field:
    """Return the field of that name that keys hold; without a name, the primary key."""
    pk = relation.primary_key(parent)
    known = {each.name: each for each in (pk, *discovery.targets(parent))}
    if field not in {None, "pk", *known}:
        raise UnknownName(f"field of {parent._meta.label} that keys hold", str(field), known)
    return pk if field is None else known.get(field, pk)


def is_home(parent: Model, using: str) -> bool:
    """Whether a delete on `using` deletes the parent itself, not a copy of it elsewhere.

    Another alias of the same physical database counts (a second route, a test mirror).
    """
    homes = databases_for(parent)
    return using in homes or address(using) in {address(home) for home in homes} - {None}


def _by_model(
    parents: Iterable[models.Model] | tuple[Model, Iterable[Any]],
) -> Gathered:
    if isinstance(parents, tuple) and parents and isinstance(parents[0], type):
        model, keys = parents
        parent = _tracked(model)
        pk = relation.primary_key(parent)
        if fields := discovery.targets(parent):
            held = ", ".join(relation.label(field) for field in fields)
            raise InvalidKey(
                f"a key of {parent._meta.label} does not tell {held}, which relations hold:"
                " give the instances, loaded before the delete"
            )
        unique = dict.fromkeys(_key(pk, key) for key in keys)
        return {parent: [(key, None) for key in unique]} if unique else {}
    found: Gathered = {}
    for instance in cast("Iterable[models.Model]", parents):
        parent = _tracked(type(instance))
        targets = _targets(parent, instance, "", fresh=True)
        key = _key(relation.primary_key(parent), instance.pk)
        found.setdefault(parent, []).append((key, targets))
    return found


def _key(pk: relations.Field, value: Any) -> Any:
    if value is None:
        raise InvalidKey(f"None is no key of {relation.label(pk)}: was the instance saved?")
    return parse_key(pk, str(value))


def _tracked(model: Model) -> Model:
    return relations.catalogue().parent(relation.concrete(model)._meta.label)


def _insert(
    parent: Model,
    found: Sequence[tuple[Any, Mapping[str, str | None] | None]],
    *,
    source: Deletion.Source,
    using: str,
) -> list[str]:
    logged: list[str] = []
    for batch in _batches(found):
        keys, targets = zip(*batch, strict=True)
        logged += deletions.record(parent, keys, targets, source=source, using=using)
    failpoints.hit(Failpoint.RECORDED)
    if not logged and source == Deletion.Source.SIGNAL:
        _tell_elsewhere(parent, using)
    if logged:
        # A function, no partial: Django asks a robust callback that fails for its __qualname__.
        def announce() -> None:
            failpoints.hit(Failpoint.COMMITTED)
            deletion_recorded.send_robust(
                sender=Deletion, parent=parent._meta.label, keys=tuple(logged), using=using
            )

        transaction.on_commit(announce, using=using, robust=True)
    return logged


def _tell_elsewhere(parent: Model, using: str) -> None:
    """Say once in a process that deletes of a schema's rows are not recorded."""
    found = schemas.elsewhere(parent, using)
    if found and (parent, using, found) not in _told:
        _told.add((parent, using, found))
        logger.warning("%s", NotTheParents(parent._meta.label, using, *found))


def _operation(using: str) -> Atomic | None:
    """The `Atomic` of the Collector that sends the signal; None when somebody else sends it."""
    blocks: list[Atomic] = connections[using].atomic_blocks
    return blocks[-1] if blocks else None


def _targets(
    sender: Model, instance: models.Model, using: str, *, fresh: bool
) -> Mapping[str, str | None] | None:
    """The values that `to_field` keys hold; None where every key holds the primary key.

    A value that the parent did not have is None: what is not there is not known.

    The instance that `delete()` was called on may carry values that were never saved: what counts
    is the row (`fresh=False` reads it).
    """
    fields = discovery.targets(relation.concrete(sender))
    if not fields:
        return None
    if not fresh:
        row: QuerySet[Any] = QuerySet(model=type(instance), using=using).filter(pk=instance.pk)
        instance = row.only(*(field.name for field in fields)).first() or instance
    values = {field: getattr(instance, field.attname) for field in fields}
    return {
        field.name: None if value is None else format_key(field, value)
        for field, value in values.items()
    }


def _batches(found: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (found[start : start + BATCH] for start in range(0, len(found), BATCH))
