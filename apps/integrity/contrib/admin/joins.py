"""Whether a lookup, as in "author__username", needs a JOIN that no single database can do.

Return the hop at which a path leaves its database, by the routers' answers. Pure.
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

#: Number of levels that `select_related()` follows.
LEVELS = 5


@dataclass(frozen=True, slots=True)
class JoinHop:
    """A JOIN from a model, by the field `name`, to a model in other databases."""

    model: Model
    name: str
    to: Model

    def __str__(self) -> str:
        start, end = databases_for(concrete(self.model)), databases_for(concrete(self.to))
        return f"{self.model._meta.label}.{self.name} leads from {start[0]!r} to {end[0]!r}"


def apart(model: Model, to: Model) -> bool:
    """Return whether some database with rows of `model` has no table of `to`."""
    return not set(databases_for(concrete(model))) <= set(databases_for(concrete(to)))


def crossing(model: Model, path: str) -> JoinHop | None:
    """Return the first JOIN of a lookup that cannot be done.

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
            here, to = info.from_opts.model, info.to_opts.model
            step = JoinHop(here, field.name, to) if apart(here, to) else None
            if step and not info.direct:
                return step
            waiting, targets = waiting or step, info.target_fields
            here = to
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
    below = (sorting(here, name, model, *above) for name in ordered_by(here._meta.ordering))
    return selecting(model, plain) or next(filter(None, below), None)


def selecting(model: Model, path: str) -> JoinHop | None:
    """Return the first JOIN of `select_related(path)` that cannot be done."""
    here = model
    for name in path.split(LOOKUP_SEP):
        to = getattr(field_of(here, name), "related_model", None)
        if to is None:
            return None
        if apart(here, to):
            return JoinHop(here, name, to)
        here = to
    return None


def selecting_all(model: Model) -> JoinHop | None:
    """Return the first JOIN of `select_related()` that cannot be done. It skips nullable keys."""
    seen, level = {model}, [model]
    for _ in range(LEVELS):
        hops = [JoinHop(here, key.name, key.related_model) for here in level for key in _keys(here)]
        impossible = next((hop for hop in hops if apart(hop.model, hop.to)), None)
        if impossible:
            return impossible
        level = [to for to in dict.fromkeys(hop.to for hop in hops) if to not in seen]
        seen.update(level)
    return None


def _keys(model: Model) -> Iterator[Any]:
    for field in model._meta.fields:
        remote: Any = field.remote_field
        if remote and not field.null and not remote.parent_link:
            yield field


def ordered_by(ordering: Iterable[Any] | None) -> Iterator[str]:
    """Yield the paths of an ordering, also those inside expressions, where a key is a column."""
    for term in ordering or ():
        if isinstance(term, str):
            yield term.lstrip("+-")
        else:
            parts: Iterable[Any] = [term] if isinstance(term, F) else term.flatten()
            columns: Iterable[Any] = (part for part in parts if isinstance(part, F))
            yield from (column.name for column in columns)


def field_of(model: Model, name: str) -> Any:
    """Return the field or reverse relation; None for a lookup, an annotation or a method.

    None also for a relation to a model that does not exist, which Django's checks report.
    """
    meta = model._meta
    try:
        field: Any = meta.pk if name == "pk" else meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return None if isinstance(field.related_model, str) else field
