"""Soft deletes that cascade inside one database only. Nothing of django-safedelete is imported."""

from __future__ import annotations

import sys
from typing import Any

from django.core import checks

from .. import relations
from .keys import some
from .scope import scoped


def cascaded(**_: Any) -> list[checks.CheckMessage]:
    """W033: SOFT_DELETE_CASCADE of a parent, and nothing follows its soft deletes."""
    config = sys.modules.get("safedelete.config")
    if config is None:
        return []
    catalogue, policy = relations.catalogue(), getattr(config, "SOFT_DELETE_CASCADE", None)
    return [
        checks.Warning(
            f"{parent._meta.label} has SOFT_DELETE_CASCADE, which hides no rows of"
            f" {some([relation.label for relation in children])}: they are in another database.",
            hint=f"Follow post_softdelete and post_undelete of {parent.__name__}: see the guide"
            " about third-party apps, Soft deletes. With a receiver this is silent.",
            obj=parent,
            id="integrity.W033",
        )
        for parent in catalogue.parents.values()
        if policy is not None and getattr(parent, "_safedelete_policy", None) == policy
        if (children := catalogue.children_of(parent._meta.label)) and not _is_followed(parent)
    ]


def _is_followed(parent: relations.Model) -> bool:
    """Return whether the project has a receiver for the parent's soft deletes."""
    signal = getattr(sys.modules.get("safedelete.signals"), "post_softdelete", None)
    return signal is not None and bool(signal.has_listeners(parent))


CHECKS = scoped(cascaded)
