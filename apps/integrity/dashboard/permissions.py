"""Which rows of other databases an account may see and delete, by Django's own rules.

Takes a request and an admin site. Returns the names of models that may not be deleted, and whether
a model's rows and a parent's keys may be shown.

Note [As in one database]: `django.contrib.admin.utils.get_deleted_objects` asks each registered
`ModelAdmin` for `has_delete_permission` of each row that a delete takes along by CASCADE. A model
that is not registered needs no permission, nor does a row whose key is set to another value. The
same is asked here for rows in other databases, however many steps away. Rows are looked up only if
some answer may be no. If they cannot be looked up, the answer is no.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import NestedObjects
from django.contrib.auth import get_permission_codename
from django.db.models import AutoField, BigAutoField, SmallAutoField, UUIDField

from .. import relations
from ..capture.protection.going import Collected
from ..capture.protection.walk import Walk
from ..exceptions import ChildDatabaseUnavailable
from ..relations import delete_graph, homes, relation
from ..relations.delete_graph import Graph
from ..relations.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.admin import AdminSite
    from django.db import models
    from django.http import HttpRequest

    from ..relations import Model
    from ..relations.delete_graph import Edge

#: The most rows along each key for which a project's own `has_delete_permission` is asked.
ROWS = 1_000
#: Primary keys that say nothing about whom they name.
SURROGATES = (AutoField, BigAutoField, SmallAutoField, UUIDField)


#: The reason for refusing a delete whose permissions could not be checked.
UNKNOWN = (
    "The rows to be deleted in other databases cannot be looked up now, so your permission to"
    " delete them cannot be checked. Try again later, or delete fewer at once."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Lacking:
    """Verbose names of models that may not be deleted; `unknown` if that was not checked."""

    names: frozenset[str]
    unknown: bool = False


def lacking(objs: Any, model: Model, request: HttpRequest, site: AdminSite) -> Lacking:
    """Return the models of rows elsewhere that go with `objs` and that the account may not delete.

    Queries no database if the account may delete every model that could be reached.
    """
    graph = delete_graph.graph_of(relations.catalogue())
    beyond = graph.beyond([relation.concrete(model)])
    doubtful = {child for child in beyond if _may_refuse(child, request, site)}
    if not doubtful:
        return Lacking(frozenset())
    # As `Model.delete()` asks: a router of several databases may go by the row.
    first = next(iter(objs), None)
    using = homes.write_database(model, first)
    collector: Any = NestedObjects(using=using, origin=objs)
    collector.collect(objs)
    if collector.protected:  # refused by Django, whatever the permissions
        return Lacking(frozenset())
    walk = Walk(_asking(graph, doubtful), Collected(collector), limit=ROWS)
    try:
        rows_by_edge = walk.run(whole=True)
    except ChildDatabaseUnavailable:
        return Lacking(frozenset(map(_name, doubtful)), unknown=True)
    refused = {
        edge.child
        for edge, rows in rows_by_edge.items()
        if len(rows) >= ROWS or not _may_delete(rows, edge.child, request, site)
    }
    return Lacking(frozenset(map(_name, refused)))


def _may_refuse(model: Model, request: HttpRequest, site: AdminSite) -> bool:
    """Return whether the model's admin refuses to delete some or all rows for the account."""
    if not site.is_registered(model):
        return False
    admin = site.get_model_admin(model)
    decides = type(admin).has_delete_permission is not ModelAdmin.has_delete_permission
    return decides or not admin.has_delete_permission(request)


def _may_delete(
    rows: dict[models.Model, None], model: Model, request: HttpRequest, site: AdminSite
) -> bool:
    admin = site.get_model_admin(model)
    return all(admin.has_delete_permission(request, row) for row in rows)


def _asking(graph: Graph, doubtful: set[Model]) -> Graph:
    """Return the cascades of the graph, with a PROTECT edge beside each into a doubtful model."""

    def edges() -> Iterator[Edge]:
        for edge in itertools.chain.from_iterable(graph.below.values()):
            if not edge.may_refuse:
                yield edge
                if edge.child in doubtful:
                    yield dataclasses.replace(edge, policy=Policy.PROTECT)

    return Graph(edges())


def _name(model: Model) -> str:
    return str(model._meta.verbose_name)


def may_see(model: Model, request: HttpRequest, site: AdminSite) -> bool:
    """Return whether the account may view, change or delete rows of that model."""
    if site.is_registered(model):
        admin = site.get_model_admin(model)
        return bool(
            admin.has_view_or_change_permission(request) or admin.has_delete_permission(request)
        )
    return _has_permission(model, request, ("view", "change", "delete"))


def _has_permission(model: Model, request: HttpRequest, actions: tuple[str, ...]) -> bool:
    meta = model._meta
    names = (f"{meta.app_label}.{get_permission_codename(action, meta)}" for action in actions)
    return any(request.user.has_perm(name) for name in names)


def may_view(model: Model, request: HttpRequest, site: AdminSite) -> bool:
    """Return whether the account may view rows of that model."""
    if site.is_registered(model):
        return bool(site.get_model_admin(model).has_view_or_change_permission(request))
    return _has_permission(model, request, ("view", "change"))


def may_view_keys(label: str, request: HttpRequest, site: AdminSite) -> bool:
    """Return whether the account may see the keys and `to_field` values of that parent.

    If the model no longer exists, only superusers may.
    """
    try:
        model: relations.Model = apps.get_model(label)
    except (LookupError, ValueError):
        return bool(request.user.is_active and request.user.is_superuser)
    return may_view(model, request, site)


def tells_nothing(label: str) -> bool:
    """Return whether the primary keys of that parent are generated numbers or UUIDs."""
    try:
        model: relations.Model = apps.get_model(label)
    except (LookupError, ValueError):
        return False
    return isinstance(relation.primary_key(model), SURROGATES)
