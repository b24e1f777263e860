"""The rows elsewhere that refuse a delete: a look downwards, along what would be cascaded.

Takes the graph and what the Collector collected; gives rows by the edge that they refer through.
One query for each edge that asks and each database; one more for each that keys are carried along.
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
    """What arrives in one database: edges from elsewhere, and the values of the parents."""

    database: str
    values: dict[Edge, list[Any]] = field(default_factory=dict)


class Reached:
    """The rows of one database that go with what arrived, as conditions: nothing is loaded."""

    def __init__(self, graph: Graph, arrivals: Arrivals) -> None:
        self.graph, self.database = graph, arrivals.database
        self._arrived: dict[Model, list[Q]] = defaultdict(list)
        for edge, values in arrivals.values.items():
            if not edge.may_refuse:
                self._arrived[edge.child].append(referring(edge, values, self.database))
        self._known: dict[Model, Q | None] = {}
        self.models = self._spread()

    def rows(self, model: Model) -> Rows:
        """Those of a model that is reached."""
        return rows(model, self.database).filter(self.condition(model))

    def condition(self, model: Model) -> Q | None:
        """What is true of those rows alone; None where there are none."""
        if model not in self._known:
            found = [*self._arrived.get(model, ())]
            found += (
                nested(edge, self.rows(edge.parent))
                for edge in self.graph.above[model]
                if edge.parent in self.models and self.graph.nested(edge)
            )
            self._known[model] = functools.reduce(operator.or_, found) if found else None
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
    """One look: every path from what was collected."""

    def __init__(self, graph: Graph, collected: Collected, limit: int | None = None) -> None:
        self.graph, self.collected = graph, collected
        self.limit = limit or conf.current().protect_limit
        self.blockers: Blockers = defaultdict(dict)
        self._seen: dict[tuple[Edge, str], set[Any]] = defaultdict(set)
        self._carried = 0

    def run(self, *, whole: bool = False) -> Blockers:
        """Rows that refuse the delete, `limit` along each edge at most.

        Those of one part are enough to refuse it, unless the `whole` is wanted.
        """
        for start in self._departures():
            waiting = start
            while waiting:
                waiting += self._arrive(waiting.pop())
            if not whole and any(edge.policy is Policy.PROTECT for edge in self.blockers):
                break  # nothing can allow it any more
        return self.blockers

    def _departures(self) -> Iterator[list[Arrivals]]:
        """What leaves the database of the delete, in parts of a bounded size."""
        leaving = {
            edge: [*self.collected.values(model, edge.source)]
            for model in self.collected.instances
            for edge in self.graph.leaving(model)
        }
        longest = max(map(len, leaving.values()), default=0)
        for start in range(0, longest, KEYS):
            found: dict[str, Arrivals] = {}
            for edge, values in leaving.items():
                if some := values[start : start + KEYS]:
                    for database in edge.databases(self.collected.using):
                        into = found.setdefault(database, Arrivals(database))
                        into.values[edge] = some
            yield [each for each in found.values() if self._matters(each)]

    def _matters(self, arrivals: Arrivals) -> bool:
        """Whether there is anything to ask, and not just rows that go with it."""
        return any(edge.may_refuse or edge.child in self.graph.asking for edge in arrivals.values)

    def _arrive(self, arrivals: Arrivals) -> list[Arrivals]:
        """Ask what is to be asked in this database. What leaves it."""
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
        for some in in_parts(new):
            for database in edge.databases(reached.database):
                yield Arrivals(database, {edge: some})

    def _ask(self, edge: Edge, condition: Q, reached: Reached) -> None:
        limit = self.limit
        if len(self.blockers.get(edge, ())) >= limit:
            return
        found = rows(edge.child, reached.database).filter(condition)
        if edge.policy is Policy.RESTRICT:
            found = self._staying(edge, found, reached)
        with reading(edge, reached.database, edge.child, *reached.models):
            if blockers := [*found[:limit]]:
                self.blockers[edge].update(dict.fromkeys(blockers))

    def _staying(self, edge: Edge, found: Rows, reached: Reached) -> Rows:
        """Those of the rows that no path of CASCADE reaches."""
        if (going := reached.condition(edge.child)) is not None:
            found = found.exclude(going)
        most = conf.current().protect_keys
        with reading(edge, reached.database, edge.child, *reached.models):
            keys = [*found.values_list("pk", flat=True)[: most + 1]]
        if len(keys) > most:
            raise TooManyKeys(edge.label, reached.database, most)
        if keys:
            gone = Going(self.graph, self.collected).of(edge.child, reached.database, keys)
            keys = [key for key in keys if key not in gone][: self.limit]
        return found.filter(pk__in=keys) if keys else found.none()
