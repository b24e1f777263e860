"""The models whose rows go with a cascade, and the erasure steps that cover them. No queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import conf
from ..conf import steps
from .homes import databases_for
from .plan import referring
from .policies import Policy, policy_of
from .relation import Model, concrete

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..erasure import Step
    from .relation import Relation

#: Model → the names of the steps that cover it.
Covering = dict[Model, tuple[str, ...]]


def models_removed(relation: Relation) -> tuple[Model, ...]:
    """Return the models whose rows a cascade along the relation may remove, in its own database.

    They are those that Django's Collector would delete from, and their parent tables.
    """
    found = dict[Model, None]()
    if relation.policy is Policy.CASCADE:
        _add(relation.child, found)
    return (*found,)


def _add(model: Model, found: dict[Model, None]) -> None:
    model = concrete(model)
    if model in found:
        return
    found[model] = None
    for above in model._meta.get_parent_list():
        _add(above, found)
    for private in model._meta.private_fields:
        if hasattr(private, "bulk_related_objects"):
            _add(private.remote_field.model, found)
    home = databases_for(model)
    for key in referring(model):
        policy = policy_of(key)
        if (policy.deletes or policy is Policy.CUSTOM) and databases_for(key.model) == home:
            _add(key.model, found)


def step_named(name: str, known: dict[Any, Any]) -> Step:
    """Return the step with that name, created once and `known` then. Raises `InvalidSetting`."""
    given: Mapping[str, Any] = conf.current().steps or {}
    if ("erasure", name) not in known:
        known["erasure", name] = steps.created(name, given[name])
    found: Step = known["erasure", name]
    return found


def covering(relation: Relation, names: Sequence[str], known: dict[Any, Any]) -> Covering:
    """Return the models that those steps cover among those whose rows go along the relation."""
    covered = {
        model: tuple(name for name in names if step_named(name, known).covers(model))
        for model in models_removed(relation)
    }
    return {model: by for model, by in covered.items() if by}
