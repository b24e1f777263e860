"""Deletions of tracked parents → rows of the deletion log, in the delete's own transaction.

Input: Django's delete signals, or keys given to `record()`. Output: log rows in the same database,
and the signal `deletion_recorded` after the commit. A rolled-back delete leaves nothing.

Note [Gather, then insert]: the Collector sends every `pre_delete` before its first DELETE, and a
model's first `post_delete` after all of its rows are gone, both inside one `atomic`
(django/db/models/deletion.py, `Collector.delete`). So `pre_delete` gathers the keys and
`post_delete` inserts them: one INSERT per model for any number of rows, only for keys whose row is
gone. The gathered keys belong to that `Atomic` and disappear with it if anything fails.

Note [Recorded by a trigger]: where a trigger records a parent, nothing is inserted, and the keys
are only announced. The signals cannot see what the trigger did, so a trigger that is not installed
would lose deletions silently. Each process looks for it (presence.py), and records by signal what
it would not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from django.apps import apps
from django.db import connections, models, transaction
from django.db.models import QuerySet
from django.db.models.signals import post_delete, pre_delete

from .. import conf, failpoints, relations
from ..backends import schemas
from ..backends.addresses import address
from ..exceptions import InvalidKey, NotTheParents, ParentStillExists
from ..exceptions.loggers import logger_of
from ..failpoints import Failpoint
from ..log import deletions
from ..models import Deletion
from ..relations import discovery, relation
from ..relations.homes import databases_for
from ..relations.keys import format_key, parse_key
from ..signals import deletion_recorded
from . import presence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.db.transaction import Atomic

    from ..relations import Catalogue, Model

logger = logger_of("integrity.capture")

#: Keys of one INSERT.
BATCH = 2_000

Gathered = dict["Model", list[tuple[Any, "Mapping[str, str | None] | None"]]]
_gathered: WeakKeyDictionary[Atomic, Gathered] = WeakKeyDictionary()
#: The warnings of this process about deletes that are not recorded: model, alias, schemas.
_warned: set[tuple[Model, str, tuple[str, str]]] = set()


def connect(catalogue: Catalogue) -> None:
    """Connect receivers to the deletes of each tracked parent and its proxies, and no other model.

    A receiver without a sender would disable fast deletes for every model of the project. Where
    capture is off, a receiver logs a warning.
    """
    settings = conf.current()
    for model in apps.get_models(include_auto_created=True):
        label, uid = relation.concrete(model)._meta.label, f"integrity.capture.{model._meta.label}"
        if label in catalogue.parents and settings.is_off(label):
            post_delete.connect(warn_not_recorded, sender=model, dispatch_uid=uid)
            _connected[uid] = model
        elif label in catalogue.parents:
            pre_delete.connect(gather, sender=model, dispatch_uid=uid)
            post_delete.connect(flush, sender=model, dispatch_uid=uid)
            _connected[uid] = model


#: The connected receivers: uid → model.
_connected: dict[str, Model] = {}


def disconnect() -> None:
    """Disconnect all receivers."""
    while _connected:
        uid, model = _connected.popitem()
        pre_delete.disconnect(sender=model, dispatch_uid=uid)
        post_delete.disconnect(sender=model, dispatch_uid=uid)


def gather(
    sender: Model, instance: models.Model, using: str, origin: object = None, **_: object
) -> None:
    """`pre_delete`: remember the key of a row that is about to be deleted."""
    # Rows that a queryset or a cascade loaded have their saved values. The instance that
    # `delete()` was called on may have others, and so may the part of its parent tables.
    remember(sender, instance, using, fresh=not isinstance(origin, sender))


def remember(sender: Model, instance: models.Model, using: str, *, fresh: bool) -> None:
    """Remember the key of a row for `flush` of that sender; `fresh` rows have no unsaved values."""
    operation = operation_of(using)
    if operation is not None:
        deletion = (instance.pk, _targets(sender, instance, using, fresh=fresh))
        _gathered.setdefault(operation, {}).setdefault(sender, []).append(deletion)


def flush(sender: Model, using: str, **_: object) -> None:
    """The model's first `post_delete`: log its gathered keys. Later ones have nothing to log.

    See Note [Recorded by a trigger].
    """
    operation, parent = operation_of(using), relation.concrete(sender)
    gathered = _gathered.get(operation, {}).pop(sender, None) if operation is not None else None
    if not gathered or not is_home(parent, using):
        return
    if conf.current().is_triggered(parent._meta.label) and presence.is_triggered(parent, using):
        pk = relation.primary_key(parent)
        _announce(parent, [format_key(pk, key) for key, _ in gathered], using)
    else:
        _insert(parent, gathered, source=Deletion.Source.SIGNAL, using=using)


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
            logged = _insert(model, deleted, source=Deletion.Source.API, using=using)
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


def is_home(parent: Model, using: str) -> bool:
    """Return whether a delete on `using` deletes the parent itself, not a copy elsewhere.

    Another alias of the same physical database counts (a second route, a test mirror).
    """
    homes = databases_for(parent)
    return using in homes or address(using) in {address(home) for home in homes} - {None}


def _by_model(
    parents: Iterable[models.Model] | tuple[Model, Iterable[Any]],
) -> Gathered:
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
    gathered: Gathered = {}
    for instance in cast("Iterable[models.Model]", parents):
        parent = tracked_parent(type(instance))
        targets = _targets(parent, instance, "", fresh=True)
        key = _key(relation.primary_key(parent), instance.pk)
        gathered.setdefault(parent, []).append((key, targets))
    return gathered


def _key(pk: relations.Field, value: Any) -> Any:
    if value is None:
        raise InvalidKey(f"None is not a key of {relation.label(pk)}: was the instance saved?")
    return parse_key(pk, str(value))


def tracked_parent(model: Model) -> Model:
    """Return the concrete parent model. Raises `UnknownName` if no relation points to it."""
    return relations.catalogue().parent(relation.concrete(model)._meta.label)


def _insert(
    parent: Model,
    deleted: Sequence[tuple[Any, Mapping[str, str | None] | None]],
    *,
    source: Deletion.Source,
    using: str,
) -> list[str]:
    logged: list[str] = []
    for batch in _batches(deleted):
        keys, targets = zip(*batch, strict=True)
        logged += deletions.record(parent, keys, targets, source=source, using=using)
    failpoints.hit(Failpoint.RECORDED)
    if not logged and source == Deletion.Source.SIGNAL:
        _warn_elsewhere(parent, using)
    if logged:
        _announce(parent, logged, using)
    return logged


def _announce(parent: Model, keys: Sequence[str], using: str) -> None:
    """Send `deletion_recorded` once the transaction has committed."""

    # Not a partial: if a robust callback fails, Django reads its __qualname__.
    def announce() -> None:
        failpoints.hit(Failpoint.COMMITTED)
        deletion_recorded.send_robust(
            sender=Deletion, parent=parent._meta.label, keys=tuple(keys), using=using
        )

    transaction.on_commit(announce, using=using, robust=True)


def _warn_elsewhere(parent: Model, using: str) -> None:
    """Warn once per process that deletes of a schema's rows are not recorded."""
    mismatch = schemas.elsewhere(parent, using)
    if mismatch and (parent, using, mismatch) not in _warned:
        _warned.add((parent, using, mismatch))
        logger.warning("%s", NotTheParents(parent._meta.label, using, *mismatch))


def operation_of(using: str) -> Atomic | None:
    """Return the `Atomic` of the Collector that sends the signal; None for other senders."""
    blocks: list[Atomic] = connections[using].atomic_blocks
    return blocks[-1] if blocks else None


def _targets(
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


def _batches(deleted: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (deleted[start : start + BATCH] for start in range(0, len(deleted), BATCH))
