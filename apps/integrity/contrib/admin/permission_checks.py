"""Admins that delete rows of other databases without checking the permission to.

Note [Who asks]: `get_deleted_objects` of an admin returns what its delete lacks permission for. Our
mixin's also checks models of other databases, if the mixin comes before `ModelAdmin`. As in one
database, models without an admin of the same site need no permission.
"""

from __future__ import annotations

import dis
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks

from ... import relations
from ...checks.keys import some
from ...checks.scope import concerns, scoped
from ...relations import delete_graph, relation
from .join_checks import DJANGO, MIXIN, OURS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from django.apps import AppConfig

    from ...relations import Model

ASKS, ALLOWS = "get_deleted_objects", "has_delete_permission"
#: Instructions that Python adds to each function.
IDLE = {"RESUME", "NOP", "CACHE", "COPY_FREE_VARS"}


def unasked(
    app_configs: Collection[AppConfig] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """W025, of `check --deploy`: an admin deletes rows elsewhere without checking permissions."""
    if not relations.catalogue().relations or not apps.is_installed("django.contrib.admin"):
        return []
    return [
        _warning(site, admin, names)
        for site, admin in _registered()
        if concerns(admin.model, app_configs) and not is_asking(type(admin))
        if not refuses(type(admin)) and (names := _unasked(site, admin.model))
    ]


def _registered() -> Iterator[tuple[Any, Any]]:
    """Yield each site with each of its ModelAdmins."""
    from django.contrib.admin.sites import all_sites

    for site in sorted(all_sites, key=lambda site: site.name):
        for model in apps.get_models():
            if site.is_registered(model):
                yield site, site.get_model_admin(model)


def is_asking(admin: type) -> bool:
    """Return whether the admin asks for models of other databases. See Note [Who asks]."""
    modules = [base.__module__ for base in admin.__mro__ if ASKS in vars(base)]
    return OURS in modules[: modules.index(DJANGO) if DJANGO in modules else None]


def refuses(admin: type) -> bool:
    """Return whether the admin lets nobody delete: its method does no more than return False."""
    code = getattr(getattr(admin, ALLOWS), "__code__", None)
    steps = [step for step in dis.get_instructions(code) if step.opname not in IDLE] if code else []
    # A constant and the return, which are one instruction since Python 3.12.
    names, value = [step.opname for step in steps], steps[0].argval if steps else None
    returns = names in (["RETURN_CONST"], ["LOAD_CONST", "RETURN_VALUE"])
    return returns and value is False


def _unasked(site: Any, model: Model) -> list[str]:
    """Return labels of models with an admin whose rows a delete takes along in other databases."""
    graph = delete_graph.graph_of(relations.catalogue())
    beyond = graph.beyond([relation.concrete(model)])
    return sorted(child._meta.label for child in beyond if site.is_registered(child))


def _warning(site: Any, admin: Any, names: list[str]) -> checks.CheckMessage:
    kind, model = type(admin), admin.model._meta
    method = getattr(kind, ALLOWS)
    doubt = (
        f" This check cannot tell whether its {ALLOWS}() allows a delete at all."
        if method.__module__ != DJANGO
        else ""
    )
    return checks.Warning(
        f"{kind.__module__}.{kind.__qualname__} of the site {site.name!r} deletes {some(names)} in"
        f" other databases along with {model.label}, and does not check the permission to delete"
        f" them.{doubt}",
        hint=f"{MIXIN.format(name=kind.__name__)}, registered instead, below"
        f" admin.site.unregister({model.object_name}) if it is not yours.",
        obj=kind,
        id="integrity.W025",
    )


DEPLOYED = scoped(unasked)
