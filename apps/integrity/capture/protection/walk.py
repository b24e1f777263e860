"""Finds the rows in other databases that refuse a delete.

It follows the cascades down from what the Collector collected. It executes one query for each
checked edge and database, and one more for each edge along which keys are carried to the next
database (Note [Carried] in relations/delete_graph.py).
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import conf
from ...exceptions import TooManyKeys
from ...relations.policies import Policy
from .going import Going
from .reading import KEYS, carried, in_parts, nested, reading, referring, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db import models
    from django.db.models import Q

    from ...relations import Model
    from ...relations.delete_graph import Edge, Graph
    from .going import Collected
    from .reading import Rows

Blockers = dict["Edge", dict["models.Model", None]]


@dataclass(slots=True)
class Arrivals:
    """The edges that lead into one database, and the parents' values for each."""

    database: str
    values: dict[Edge, list[Any]] = field(default_factory=dict)


class Reached:
    """The rows of one database that cascades remove, as conditions: no row is loaded."""

    def __init__(self, graph: Graph, arrivals: Arrivals) -> None:
        self.graph, self.database = graph, arrivals.database
        self._arrived: dict[Model, list[Q]] = defaultdict(list)
        for edge, values in arrivals.values.items():
            if not edge.may_refuse:
                self._arrived[edge.child].append(referring(edge, values, self.database))
        self._known: dict[Model, Q | None] = {}
        self.models = self._spread()

    def rows(self, model: Model) -> Rows:
        """Return the rows of a reached model that cascades remove."""
        return rows(model, self.database).filter(self.condition(model))

    def condition(self, model: Model) -> Q | None:
        """Return the condition for these rows; None if the model is not reached."""
        if model not in self._known:
            conditions = [*self._arrived.get(model, ())]
            conditions += (
                nested(edge, self.rows(edge.parent))
                for edge in self.graph.above[model]
                if edge.parent in self.models and self.graph.nested(edge)
            )
            self._known[model] = functools.reduce(operator.or_, conditions) if conditions else None
        return self._known[model]

    def _spread(self) -> set[Model]:
        seen: set[Model] = set()
        waiting = [*self._arrived]
        while waiting:
            model = waiting.pop()
            if model not in seen:
                seen.add(model)
                waiting += (
                    edge.child
                    for edge in self.graph.below[model]
                    if not edge.may_refuse and edge.child in self.graph.leading
                    if self.graph.nested(edge)
                )
        return seen


class Walk:
    """One check, along every path from what was collected."""

    def __init__(self, graph: Graph, collected: Collected, limit: int | None = None) -> None:
        self.graph, self.collected = graph, collected
        self.limit = limit or conf.current().protect_limit
        self.blockers: Blockers = defaultdict(dict)
        self._seen: dict[tuple[Edge, str], set[Any]] = defaultdict(set)
        self._carried = 0

    def run(self, *, whole: bool = False) -> Blockers:
        """Return rows that refuse the delete, up to `limit` for each edge.

        It stops after the first part in which PROTECT refuses; with `whole`, it checks all parts.
        """
        for start in self._departures():
            waiting = start
            while waiting:
                waiting += self._arrive(waiting.pop())
            if not whole and any(edge.policy is Policy.PROTECT for edge in self.blockers):
                break  # the delete is refused
        return self.blockers

    def _departures(self) -> Iterator[list[Arrivals]]:
        """Yield what leads into other databases, in parts of at most `KEYS` values per edge."""
        leaving = {
            edge: [*self.collected.values(model, edge.source)]
            for model in self.collected.instances
            for edge in self.graph.leaving(model)
        }
        longest = max(map(len, leaving.values()), default=0)
        for start in range(0, longest, KEYS):
            arrivals: dict[str, Arrivals] = {}
            for edge, values in leaving.items():
                if part := values[start : start + KEYS]:
                    for database in edge.databases(self.collected.using):
                        arrivals.setdefault(database, Arrivals(database)).values[edge] = part
            yield [into for into in arrivals.values() if self._matters(into)]

    def _matters(self, arrivals: Arrivals) -> bool:
        """Return whether one of the edges has to be checked, or leads to one that has."""
        return any(edge.may_refuse or edge.child in self.graph.asking for edge in arrivals.values)

    def _arrive(self, arrivals: Arrivals) -> list[Arrivals]:
        """Check the edges in this database; return what leads on into others."""
        reached = Reached(self.graph, arrivals)
        for edge, values in arrivals.values.items():
            if edge.may_refuse:
                self._ask(edge, referring(edge, values, reached.database), reached)
        onward: list[Arrivals] = []
        for model in reached.models:
            for edge in self.graph.follow(model):
                if edge.may_refuse and edge.relation is None and edge.generic is None:
                    self._ask(edge, nested(edge, reached.rows(model)), reached)
                elif not self.graph.nested(edge):
                    onward += self._carry(edge, reached)
        return onward

    def _carry(self, edge: Edge, reached: Reached) -> Iterator[Arrivals]:
        most = conf.current().protect_keys
        values = carried(edge, reached.rows(edge.parent), reached.models, most + 1)
        seen = self._seen[edge, reached.database]
        new = [value for value in values if value not in seen]
        seen.update(new)
        self._carried += len(new)
        if self._carried > most:
            raise TooManyKeys(edge.label, reached.database, most)
        for part in in_parts(new):
            for database in edge.databases(reached.database):
                yield Arrivals(database, {edge: part})

    def _ask(self, edge: Edge, condition: Q, reached: Reached) -> None:
        limit = self.limit
        if len(self.blockers.get(edge, ())) >= limit:
            return
        referring_rows = rows(edge.child, reached.database).filter(condition)
        if edge.policy is Policy.RESTRICT:
            referring_rows = self._staying(edge, referring_rows, reached)
        with reading(edge, reached.database, edge.child, *reached.models):
            if blockers := [*referring_rows[:limit]]:
                self.blockers[edge].update(dict.fromkeys(blockers))

    def _staying(self, edge: Edge, candidates: Rows, reached: Reached) -> Rows:
        """Return the candidates that no cascade removes."""
        if (going := reached.condition(edge.child)) is not None:
            candidates = candidates.exclude(going)
        most = conf.current().protect_keys
        with reading(edge, reached.database, edge.child, *reached.models):
            keys = [*candidates.values_list("pk", flat=True)[: most + 1]]
        if len(keys) > most:
            raise TooManyKeys(edge.label, reached.database, most)
        if keys:
            gone = Going(self.graph, self.collected).of(edge.child, reached.database, keys)
            keys = [key for key in keys if key not in gone][: self.limit]
        return candidates.filter(pk__in=keys) if keys else candidates.none()
