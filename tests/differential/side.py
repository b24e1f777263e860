"""One side: what its process is told to do.

Each command answers with what became of it and with all rows of all tables.
"""

# ruff: noqa: BLE001 - whatever a delete raises is an answer, to be compared

from __future__ import annotations

import re

from django.apps import apps
from django.db import IntegrityError, connections, models, transaction

from . import describe
from .spread import SPREAD, current
from .tables import Tables

#: What a delete may raise that is an answer, and no accident.
REFUSALS = (models.ProtectedError, models.RestrictedError, IntegrityError)
#: What a delete that only tries does at the end.
GOES = "goes"


class Side:
    """Carries out commands."""

    def __init__(self):
        self.tables = Tables()
        self.spread = current().side == SPREAD
        self.models = {model.__name__: model for model in self._models()}

    def describe(self):
        return {"models": describe.describe(), "homes": self.tables.homes}

    def reset(self):
        self.tables.empty()
        return {"outcome": "done", "rows": self.tables.rows()}

    def rows(self, rows):
        for name, values in rows:
            self.tables.insert(self.models[name], values)
        return {"outcome": "done", "rows": self.tables.rows()}

    def delete(self, model, how, keys, *, tries=False):
        """Delete them; where it only `tries`, tell whether that would be refused at once."""
        self.refused_by = []
        outcome = self._delete(self.models[model], how, keys, tries=tries)
        return {"outcome": outcome, "rows": self.tables.rows(), "by": self.refused_by}

    def _models(self):
        yield from describe.zoo()
        for model in apps.get_app_config("zoo").get_models():
            if model._meta.proxy:
                yield model

    def _delete(self, model, how, keys, *, tries):
        using = current().home(model._meta.concrete_model.__name__)
        chosen = model._base_manager.using(using).filter(_of(model, keys))
        if not chosen.exists():
            return "absent"
        try:
            with transaction.atomic(using=using):
                (chosen.first() if how == "instance" else chosen).delete()
                if tries:
                    connections[using].check_constraints()
                    transaction.set_rollback(True, using=using)
        except REFUSALS as error:
            self.refused_by = re.findall(r"'(\w+\.\w+)'", str(error.args[0]))
            return _name(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if tries:
            return GOES
        if self.spread:
            drain(self.tables)
        return "done"

    def settle(self):
        """What `testing.drain` makes of what is left, for a difference that may be work undone."""
        if not self.spread:
            return {"outcome": "done", "rows": self.tables.rows()}
        from apps.integrity import testing

        try:
            testing.drain()
        except testing.NotDrained as error:
            return {"outcome": f"NotDrained: {error}", "rows": self.tables.rows()}
        return {"outcome": "done", "rows": self.tables.rows()}


def drain(tables):
    """Dispatch where deletions were recorded, and cascade where that made work, until none is.

    As `testing.drain`, which asks every log twice, with few queries: there are thousands of these.
    """
    from apps.integrity import cascade
    from apps.integrity.queues import dispatch

    while recorded := tables.recorded():
        due = frozenset().union(*(dispatch.sweep(alias)[1] for alias in recorded))
        for database in sorted(due):
            cascade.drain(database)


def _name(error):
    """The name of the error that a project would catch."""
    return next(
        each.__name__ for each in REFUSALS if type(error) is each or isinstance(error, each)
    )


def _of(model, keys):
    """The condition for rows of those primary keys, each a list of its parts."""
    names = [each.attname for each in model._meta.pk_fields]
    found = models.Q(pk__in=[])
    for key in keys:
        found |= models.Q(**dict(zip(names, key, strict=True)))
    return found
