"""Django's delete signals → the deletion log.

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

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from django.apps import apps
from django.db import connections, models
from django.db.models.signals import post_delete, pre_delete

from .. import conf
from ..models import Deletion
from ..relations import relation
from ..relations.keys import format_key
from . import presence
from .recording import announce, insert, is_home, targets_of, warn_not_recorded

if TYPE_CHECKING:
    from django.db.transaction import Atomic

    from ..relations import Catalogue, Model
    from .recording import Row

_gathered: WeakKeyDictionary[Atomic, dict[Model, list[Row]]] = WeakKeyDictionary()


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
        deletion = (instance.pk, targets_of(sender, instance, using, fresh=fresh))
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
        announce(parent, [format_key(pk, key) for key, _ in gathered], using)
    else:
        insert(parent, gathered, source=Deletion.Source.SIGNAL, using=using)


def operation_of(using: str) -> Atomic | None:
    """Return the `Atomic` of the Collector that sends the signal; None for other senders."""
    blocks: list[Atomic] = connections[using].atomic_blocks
    return blocks[-1] if blocks else None
