"""Sends each model of the zoo to the database that the seed drew for it."""

from __future__ import annotations

from .spread import DEFAULT, current


class ZooRouter:
    """Content types are in all databases; their own home is the default one."""

    def db_for_read(self, model, **_hints):
        return _home(model)

    def db_for_write(self, model, **_hints):
        return _home(model)

    def allow_relation(self, _obj1, _obj2, **_hints):
        return True

    def allow_migrate(self, db, app_label, model_name=None, model=None, **_hints):
        if app_label == "contenttypes":
            return True
        return model is not None and db == _home(model)


def _home(model):
    if model._meta.app_label != "zoo":
        return DEFAULT
    return current().home(model._meta.concrete_model.__name__)
