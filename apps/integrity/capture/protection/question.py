"""Runs the check at the end of a collection. See Note [When the check runs].

Raises `ProtectedError`, or adds rows to the Collector for Django's `RestrictedError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db.models import ProtectedError

from ... import relations
from ...relations import relation
from ...relations.delete_graph import graph_of
from ...relations.policies import Policy
from .going import Collected, Going
from .walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models.deletion import Collector

    from .walk import Blockers


class Named:
    """A key in the Collector's restricted objects, with the name of a model or a field."""

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = name


class Question:
    """An empty set of restricted rows. It runs the check when Django subtracts from it."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.model = next(iter(collector.data))
        self._restricting: list[Named] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __sub__(self, _collected: object) -> Self:
        collected = Collected(self.collector)
        restricted: dict[Any, dict[Any, set[Any]]] = self.collector.restricted_objects  # type: ignore[assignment]  # the stubs take a model for a row
        for name in self._restricting:  # of an earlier collection
            restricted.pop(name, None)
        graph = graph_of(relations.catalogue())
        blockers = Walk(graph, collected).run()
        self._refuse_protected(blockers)
        if len(restricted) > 1:
            self._release(restricted, Going(graph, collected))
        self._restricting = [Named(edge.names[0]) for edge in blockers]
        for name, (edge, rows) in zip(self._restricting, blockers.items(), strict=True):
            restricted[name] = {Named(edge.names[1]): set(rows)}
        return self

    def _refuse_protected(self, blockers: Blockers) -> None:
        protecting = {
            edge: rows for edge, rows in blockers.items() if edge.policy is Policy.PROTECT
        }
        if protecting:
            keys = ", ".join(f"'{'.'.join(edge.names)}'" for edge in protecting)
            raise ProtectedError(
                f"Cannot delete some instances of model {self.model.__name__!r} because they are"
                f" referenced through protected foreign keys: {keys}.",
                {row for rows in protecting.values() for row in rows},
            )

    def _release(self, restricted: dict[Any, dict[Any, set[Any]]], going: Going) -> None:
        """Remove restricted rows that are deleted by a cascade through another database."""
        for model, fields in restricted.items():
            if model is self.model or relation.concrete(model) not in going.beyond:
                continue
            for rows in fields.values():
                left = rows - set(self.collector.data.get(model, ()))
                keys = {row.pk for row in left}
                gone = going.of(relation.concrete(model), self.collector.using, keys)
                rows -= {row for row in left if row.pk in gone}


def ask(collector: Collector) -> None:
    """Make the Collector check for rows in other databases that refuse the delete.

    The check runs when the collection is complete. Safe to repeat.
    """
    model: Any = next(iter(collector.data))
    fields: dict[Any, Any] = collector.restricted_objects[model]
    if not any(isinstance(rows, Question) for rows in fields.values()):
        fields[Named("elsewhere")] = Question(collector)
