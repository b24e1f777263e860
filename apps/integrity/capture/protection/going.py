"""Which restricted rows go themselves, so that Django's RESTRICT lets them: a look upwards.

Takes rows, and what the Collector collected; gives those that some path of CASCADE reaches, through
whatever databases. It grows with the rows asked about, not with what is deleted.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from ...relations import homes, relation
from .reading import in_parts, keys_of, parents_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db import models
    from django.db.models.deletion import Collector

    from ...relations import Model
    from ...relations.delete_graph import Edge, Graph


class Collected:
    """What Django collected in the database of the delete, by concrete model."""

    def __init__(self, collector: Collector) -> None:
        self.using: str = collector.using
        self._fast = collector.fast_deletes
        self.instances: dict[Model, list[models.Model]] = defaultdict(list)
        for model, instances in collector.data.items():
            if instances:
                self.instances[relation.concrete(model)] += instances
        self._values: dict[tuple[Model, str], dict[Any, None]] = {}

    def values(self, model: Model, attname: str) -> dict[Any, None]:
        """What the collected rows of a model have in that field; keys of a dictionary, in order."""
        if (model, attname) not in self._values:
            held = (getattr(each, attname) for each in self.instances.get(model, ()))
            self._values[model, attname] = dict.fromkeys(v for v in held if v is not None)
        return self._values[model, attname]

    def here(self, model: Model, database: str) -> bool:
        """Whether rows of the model in `database` are those that Django collects."""
        return database == self.using or self.using not in homes.databases_for(model)

    def among(self, model: Model, keys: Iterable[Any]) -> set[Any]:
        """Those primary keys that were collected, or are about to go unloaded."""
        own = self.values(model, relation.primary_key(model).attname)
        found = {key for key in keys if key in own}
        for rows in self._fast:
            if relation.concrete(rows.model) is model:
                found |= {*rows.filter(pk__in=keys).values_list("pk", flat=True)}
        return found


class Row(NamedTuple):
    """A row of any database."""

    model: Model
    database: str
    key: Any


class Going:
    """One look, from some rows upwards."""

    def __init__(self, graph: Graph, collected: Collected) -> None:
        self.graph, self.collected = graph, collected
        self.beyond = graph.beyond(collected.instances)
        self._followers: dict[Row, list[Row]] = defaultdict(list)
        self._going: list[Row] = []

    def of(self, model: Model, database: str, keys: Iterable[Any]) -> set[Any]:
        """Those of the primary keys whose rows go."""
        seen = asked = {Row(model, database, key) for key in keys}
        while asked:
            above = self._look(asked)
            asked = above - seen
            seen = seen | asked
        return {row.key for row in self._led() if row[:2] == (model, database)}

    def _led(self) -> set[Row]:
        """What goes because something above it does."""
        going: set[Row] = set()
        while self._going:
            row = self._going.pop()
            if row not in going:
                going.add(row)
                self._going += self._followers[row]
        return going

    def _look(self, asked: set[Row]) -> set[Row]:
        """The rows right above, as far as they may go."""
        above: set[Row] = set()
        places: dict[tuple[Model, str], list[Any]] = defaultdict(list)
        for row in asked:
            places[row.model, row.database].append(row.key)
        for (model, database), keys in places.items():
            for some in in_parts(keys):
                if self.collected.here(model, database):
                    found = self.collected.among(model, some)
                    self._going += (Row(model, database, key) for key in found)
                for edge in self.graph.above[model]:
                    if self._may_go(edge.parent):
                        above |= self._along(edge, database, some)
        return above

    def _may_go(self, model: Model) -> bool:
        return model in self.beyond or model in self.collected.instances

    def _along(self, edge: Edge, database: str, keys: list[Any]) -> set[Row]:
        held = parents_of(edge, keys, database)
        above: set[Row] = set()
        if edge.relation is not None or self.collected.here(edge.parent, database):
            own = self.collected.values(edge.parent, edge.source)
            self._going += (
                Row(edge.child, database, key) for key, value in held.items() if value in own
            )
        for home in edge.parent_databases(database) if edge.parent in self.beyond else ():
            parents = keys_of(edge, [*{*held.values()}], home)
            for key, value in held.items():
                if value in parents:
                    row = Row(edge.parent, home, parents[value])
                    self._followers[row].append(Row(edge.child, database, key))
                    above.add(row)
        return above
