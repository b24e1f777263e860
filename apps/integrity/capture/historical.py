"""Deletes in data migrations: those of historical models, as `apps.get_model()` returns them.

A delete of a historical parent is recorded as a delete of today's model, and Django does not look
for its children in the wrong database. Only names that today's models have are known here.

Note [Historical models]: each migration makes its own classes. Django sends `class_prepared` for
each; there the class gets its receivers, and its keys to parents in other databases a policy that
does nothing. The state that migrations are compared in keeps the declared policy: what is rendered
is a copy.

Note [Before the log]: in a new database, data migrations run before those of this app, and there is
no log yet. A delete is then not recorded, and says so. It must not fail: a new database could not
be migrated, and it has no rows to lose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import models
from django.db.models.signals import post_delete, pre_delete

from .. import conf, relations
from ..backends import missing_tables
from ..exceptions import ChildDatabaseUnavailable
from ..exceptions.loggers import logger_of
from ..models import Deletion
from ..relations import delete_graph, historical, relation
from ..relations.dry_run import require_usable
from . import receivers, recording

if TYPE_CHECKING:
    from django.db.transaction import Atomic

    from ..relations import Model

logger = logger_of("integrity.capture")
UID = "integrity.historical"
REFUSED = (
    "{child}: PROTECT or RESTRICT cannot be checked for a historical model, so the delete is"
    " refused. In this migration, delete rows of {parent} by today's model; or remove what may"
    " refuse it first, delete with _raw_delete(), and record that with capture.record()"
)


def follow(sender: Model, **_: Any) -> None:
    """`class_prepared`: see Note [Historical models]."""
    if not historical.is_historical(sender):
        return
    catalogue = relations.catalogue()
    unknown = {key.label.lower() for key in catalogue.unknown_homes}
    for field in historical.crossing_keys(sender):
        if relation.label(field).lower() not in unknown:
            field.remote_field.on_delete = models.DO_NOTHING
    if _parent(sender) is not None:
        pre_delete.connect(gather, sender=sender, dispatch_uid=UID)
        post_delete.connect(flush, sender=sender, dispatch_uid=UID)


def gather(
    sender: Model, instance: models.Model, using: str, origin: object = None, **_: object
) -> None:
    """`pre_delete` of a historical model.

    Raises:
        ChildDatabaseUnavailable: PROTECT or RESTRICT cannot be checked.
        UnusablePolicy: the workers could not execute an `on_delete`.
    """
    parent = _parent(sender)
    if parent is not None and _is_recorded(parent, using):
        receivers.remember(parent, instance, using, fresh=not isinstance(origin, sender))


def flush(sender: Model, using: str, **_: object) -> None:
    """`post_delete` of a historical model."""
    parent = _parent(sender)
    if parent is not None and _is_recorded(parent, using):
        receivers.flush(parent, using)


def _parent(model: Model) -> Model | None:
    """Return the parent of today that a historical model is, or None.

    A signal may reach another class than the one that it was connected for, which is gone.
    """
    if not historical.is_historical(model):
        return None
    return relations.catalogue().parents.get(relation.concrete(model)._meta.label)


#: The delete's `Atomic` → parent → whether it is recorded.
_decisions: WeakKeyDictionary[Atomic, dict[Model, bool]] = WeakKeyDictionary()


def _is_recorded(parent: Model, using: str) -> bool:
    """Return whether the delete that runs is recorded. Decided once for each delete and parent."""
    if (operation := receivers.operation_of(using)) is None:
        return False
    decisions = _decisions.setdefault(operation, {})
    if parent not in decisions:
        decisions[parent] = _decide(parent, using)
    return decisions[parent]


def _decide(parent: Model, using: str) -> bool:
    """Return whether deletes of the parent there are recorded; warn if they should be."""
    label = parent._meta.label
    if not recording.is_home(parent, using):
        return False
    if conf.current().is_off(label):
        recording.warn_not_recorded(parent, using)
        return False
    if missing_tables.absent([Deletion], using=using):  # see Note [Before the log]
        logger.warning("a migration deletes rows of %s, and %s has no log yet", label, using)
        return False
    catalogue = relations.catalogue()
    graph = delete_graph.graph_of(catalogue)
    for child in catalogue.relations:
        if child.parent is parent:
            require_usable(child.field, child.label, child.child_databases[0])
            if graph.asks(child):
                raise ChildDatabaseUnavailable(REFUSED.format(child=child.label, parent=label))
    return True
