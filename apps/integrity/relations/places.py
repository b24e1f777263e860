"""Where cascades are: child databases and erasure steps; a part of the catalogue. No queries."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from .. import conf
from ..conf import steps
from ..exceptions import UnknownName
from . import removed

if TYPE_CHECKING:
    from ..erasure import Step
    from .relation import Relation
    from .removed import Covering


class Places:
    """What the catalogue knows of the project's erasure steps."""

    relations: tuple[Relation, ...]
    child_databases: Any
    derived: Any

    @functools.cached_property
    def places(self) -> tuple[str, ...]:
        """Where cascades are: the child databases, and a place for each erasure step."""
        return (*self.child_databases, *self.along_steps)

    @functools.cached_property
    def along_steps(self) -> dict[str, frozenset[str]]:
        """Place of each erasure step → the relations along which rows go that it covers.

        One that covers nothing has no relations. The first access creates the steps, and asks them
        what they cover. Raises `InvalidSetting`.
        """
        return {
            steps.place_of(name): frozenset(
                relation.label
                for relation in self.relations
                if any(name in names for names in self.covered.get(relation.label, {}).values())
            )
            for name in conf.current().steps or ()
        }

    @functools.cached_property
    def covered(self) -> dict[str, Covering]:
        """Label → the models that steps cover among those whose rows go along that relation."""
        names = [*(conf.current().steps or ())]
        found = {
            one.label: removed.covering(one, names, self.derived)
            for one in (self.relations if names else ())
        }
        return {label: models for label, models in found.items() if models}

    def step(self, place: str) -> Step:
        """Return the erasure step whose cascades are in that place."""
        return removed.step_named(steps.name_of(self.place(place)), self.derived)

    @functools.cached_property
    def places_along(self) -> dict[str, tuple[str, ...]]:
        """Label → the relation's child databases, and the places of steps that cover its rows."""
        over = self.along_steps
        return {
            one.label: (*one.child_databases, *(p for p in over if one.label in over[p]))
            for one in self.relations
        }

    def place(self, name: str) -> str:
        """Return the name if cascades may be there: a child database, or an erasure step.

        Raises `UnknownName`.
        """
        if name not in self.places:
            raise UnknownName("child database or step", name, self.places)
        return name
