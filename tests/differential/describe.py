"""The models of a side → what a history needs to know of them, as JSON can carry it."""

from __future__ import annotations

from django.apps import apps
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.db import models

from .zoo.keys import KEEPERS


def describe():
    """Each model of the zoo by name; see `kinds.Kind`."""
    return {model.__name__: _kind(model) for model in zoo()}


def zoo():
    """All models of the zoo that have a table."""
    found = apps.get_app_config("zoo").get_models(include_auto_created=True)
    return [model for model in found if not model._meta.proxy]


def columns(model):
    """The attributes of the columns of the model's own table."""
    return [each.attname for each in model._meta.local_concrete_fields]


def _kind(model):
    links = {*model._meta.parents.values()}
    fields = [each for each in model._meta.concrete_fields if not _is_link(each)]
    keys = [each for each in fields if each.is_relation and each.name != "content_type"]
    return {
        "name": model.__name__,
        "columns": columns(model),
        "pk": [each.attname for each in model._meta.pk_fields],
        "root": _root(model).__name__,
        "above": [each.__name__ for each in model._meta.all_parents],
        "values": {each.attname: _type(each) for each in fields if each not in keys},
        "keys": [_key(each) for each in keys if each not in links],
        "pairs": bool(model._meta.auto_created),
        "generic": _generic(model),
        "proxies": [
            each.__name__
            for each in apps.get_app_config("zoo").get_models()
            if each._meta.proxy and each._meta.concrete_model is model
        ],
    }


def _is_link(field):
    return bool(field.is_relation and field.remote_field.parent_link)


def _root(model):
    above = list(model._meta.all_parents)
    return above[-1] if above else model


def _type(field):
    if field.name in {"content_type", "object_id"}:
        return field.name
    for kind, name in ((models.UUIDField, "uuid"), (models.CharField, "text")):
        if isinstance(field, kind):
            return name
    return "number"


def _key(field):
    parent, target = field.remote_field.model._meta.concrete_model, field.target_field
    return {
        "name": field.attname,
        "parent": parent.__name__,
        "target": target.attname,
        "policy": _policy(field),
        "null": field.null,
        "unique": field.unique,
    }


def _policy(field):
    on_delete = field.remote_field.on_delete
    return "SET" if hasattr(on_delete, "deconstruct") else on_delete.__name__


def _generic(model):
    """The models that a GenericForeignKey may point to: those with a GenericRelation to it."""
    if not any(isinstance(each, GenericForeignKey) for each in model._meta.private_fields):
        return []
    return [
        each.__name__
        for each in zoo()
        if any(
            isinstance(field, GenericRelation) and field.related_model is model
            for field in each._meta.private_fields
        )
    ]


def keeper(kind):
    """The value of a keeper's field of that kind."""
    return KEEPERS.get(kind)
