"""Finds the restricted rows that the delete removes too: they do not refuse it.

It follows the keys from these rows up to the rows that the Collector collected, through all
databases. The work grows with the number of these rows, not with the number of deleted ones.
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
    """The rows that Django collected in the database of the delete, by concrete model."""

    def __init__(self, collector: Collector) -> None:
        self.using: str = collector.using
        self._fast = collector.fast_deletes
        self.instances: dict[Model, list[models.Model]] = defaultdict(list)
        for model, instances in collector.data.items():
            if instances:
                self.instances[relation.concrete(model)] += instances
        self._values: dict[tuple[Model, str], dict[Any, None]] = {}

    def values(self, model: Model, attname: str) -> dict[Any, None]:
        """Return the values of that field in the model's collected rows, as keys in their order."""
        if (model, attname) not in self._values:
            held = (getattr(row, attname) for row in self.instances.get(model, ()))
            self._values[model, attname] = dict.fromkeys(
                value for value in held if value is not None
            )
        return self._values[model, attname]

    def here(self, model: Model, database: str) -> bool:
        """Return whether the model's rows in `database` are the ones that Django collects."""
        return database == self.using or self.using not in homes.databases_for(model)

    def among(self, model: Model, keys: Iterable[Any]) -> set[Any]:
        """Return those of the primary keys that are collected, or deleted without being loaded."""
        own = self.values(model, relation.primary_key(model).attname)
        collected = {key for key in keys if key in own}
        for rows in self._fast:
            if relation.concrete(rows.model) is model:
                collected |= {*rows.filter(pk__in=keys).values_list("pk", flat=True)}
        return collected


class Row(NamedTuple):
    """A row of any database."""

    model: Model
    database: str
    key: Any


class Going:
    """One search, from some rows upwards."""

    def __init__(self, graph: Graph, collected: Collected) -> None:
        self.graph, self.collected = graph, collected
        self.beyond = graph.beyond(collected.instances)
        self._followers: dict[Row, list[Row]] = defaultdict(list)
        self._roots: list[Row] = []

    def of(self, model: Model, database: str, keys: Iterable[Any]) -> set[Any]:
        """Return those of the primary keys whose rows are deleted."""
        seen = new = {Row(model, database, key) for key in keys}
        while new:
            above = self._above(new)
            new = above - seen
            seen = seen | new
        return {row.key for row in self._deleted() if row[:2] == (model, database)}

    def _deleted(self) -> set[Row]:
        """Return the rows that are deleted, because a row above them is."""
        deleted: set[Row] = set()
        while self._roots:
            row = self._roots.pop()
            if row not in deleted:
                deleted.add(row)
                self._roots += self._followers[row]
        return deleted

    def _above(self, rows: set[Row]) -> set[Row]:
        """Return the rows directly above those that may be deleted as well."""
        above: set[Row] = set()
        places: dict[tuple[Model, str], list[Any]] = defaultdict(list)
        for row in rows:
            places[row.model, row.database].append(row.key)
        for (model, database), keys in places.items():
            for part in in_parts(keys):
                if self.collected.here(model, database):
                    collected = self.collected.among(model, part)
                    self._roots += (Row(model, database, key) for key in collected)
                for edge in self.graph.above[model]:
                    if self._may_be_deleted(edge.parent):
                        above |= self._along(edge, database, part)
        return above

    def _may_be_deleted(self, model: Model) -> bool:
        return model in self.beyond or model in self.collected.instances

    def _along(self, edge: Edge, database: str, keys: list[Any]) -> set[Row]:
        held = parents_of(edge, keys, database)
        above: set[Row] = set()
        if edge.relation is not None or self.collected.here(edge.parent, database):
            own = self.collected.values(edge.parent, edge.source)
            self._roots += (
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
