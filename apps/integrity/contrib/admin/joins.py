"""Whether a lookup, as in "author__username", needs a JOIN that no single database can do.

Takes models and the routers' answers; gives the step at which a path leaves its database. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F
from django.db.models.constants import LOOKUP_SEP

from ...relations.homes import databases_for
from ...relations.relation import concrete

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...relations import Model

#: So many levels `select_related()` follows.
LEVELS = 5


@dataclass(frozen=True, slots=True)
class JoinHop:
    """A JOIN from a model by one of its names to another model, in other databases."""

    model: Model
    name: str
    to: Model

    def __str__(self) -> str:
        here, there = databases_for(concrete(self.model)), databases_for(concrete(self.to))
        return f"{self.model._meta.label}.{self.name} leads from {here[0]!r} to {there[0]!r}"


def apart(here: Model, there: Model) -> bool:
    """Whether some database with rows of `here` has no table of `there`."""
    return not set(databases_for(concrete(here))) <= set(databases_for(concrete(there)))


def crossing(model: Model, path: str) -> JoinHop | None:
    """The first JOIN of a lookup that cannot be done.

    A key is a column of its own table: "author", "author__pk", "author__isnull" join nothing.
    """
    here, waiting, targets = model, None, ()
    for name in path.split(LOOKUP_SEP):
        field = field_of(here, name)
        if field is None:
            return None
        if waiting and field not in targets:
            return waiting
        for info in getattr(field, "path_infos", ()):
            here, there = info.from_opts.model, info.to_opts.model
            step = JoinHop(here, field.name, there) if apart(here, there) else None
            if step and not info.direct:
                return step
            waiting, targets = waiting or step, info.target_fields
            here = there
    return None


def sorting(model: Model, path: str, *above: Model) -> JoinHop | None:
    """As `crossing`, for `order_by`: a key sorts by the `Meta.ordering` of its parent, if any.

    Django JOINs the parent then, also where that is an ordering by its key. `above`: models
    whose ordering led here, for Django follows no circle.
    """
    names = path.lstrip("+-").split(LOOKUP_SEP)
    here, field, plain = model, cast("Any", None), LOOKUP_SEP.join(names)
    for name in names:
        field = field_of(here, name)
        here = getattr(field, "related_model", None) or here
    by_itself = field is None or names[-1] in {"pk", getattr(field, "attname", "")}
    if by_itself or not field.is_relation or not here._meta.ordering or here in above:
        return crossing(model, plain)
    below = (sorting(here, each, model, *above) for each in ordered_by(here._meta.ordering))
    return selecting(model, plain) or next(filter(None, below), None)


def selecting(model: Model, path: str) -> JoinHop | None:
    """The first JOIN of `select_related(path)` that cannot be done."""
    here = model
    for name in path.split(LOOKUP_SEP):
        there = getattr(field_of(here, name), "related_model", None)
        if there is None:
            return None
        if apart(here, there):
            return JoinHop(here, name, there)
        here = there
    return None


def selecting_all(model: Model) -> JoinHop | None:
    """The first JOIN of `select_related()` that cannot be done; it follows no nullable key."""
    seen, level = {model}, [model]
    for _ in range(LEVELS):
        steps = [
            JoinHop(each, key.name, key.related_model) for each in level for key in _keys(each)
        ]
        found = next((each for each in steps if apart(each.model, each.to)), None)
        if found:
            return found
        level = [each for each in dict.fromkeys(step.to for step in steps) if each not in seen]
        seen.update(level)
    return None


def _keys(model: Model) -> Iterator[Any]:
    for field in model._meta.fields:
        remote: Any = field.remote_field
        if remote and not field.null and not remote.parent_link:
            yield field


def ordered_by(ordering: Iterable[Any] | None) -> Iterator[str]:
    """The paths that an ordering names, also inside expressions, where a key is only a column."""
    for each in ordering or ():
        if isinstance(each, str):
            yield each.lstrip("+-")
        else:
            parts: Iterable[Any] = [each] if isinstance(each, F) else each.flatten()
            found: Iterable[Any] = (part for part in parts if isinstance(part, F))
            yield from (part.name for part in found)


def field_of(model: Model, name: str) -> Any:
    """The field, or the relation that ends here; None for a lookup, an annotation, a method.

    None also for a relation to a model that is not there, which Django's checks name.
    """
    meta = model._meta
    try:
        field: Any = meta.pk if name == "pk" else meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return None if isinstance(field.related_model, str) else field
