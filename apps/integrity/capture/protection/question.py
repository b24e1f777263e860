"""What a Collector asks once it knows what it deletes. See Note [When Django asks].

Takes a Collector; raises `ProtectedError`, or leaves rows for Django's `RestrictedError`.
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
    """A key of the Collector's restricted objects that it takes for a model or a field."""

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = name


class Question:
    """Looks like a set of restricted rows that is empty. Answers when Django subtracts from it."""

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
        for name in self._restricting:  # of a collection before this one
            restricted.pop(name, None)
        graph = graph_of(relations.catalogue())
        found = Walk(graph, collected).run()
        self._refuse_protected(found)
        if len(restricted) > 1:
            self._release(restricted, Going(graph, collected))
        self._restricting = [Named(edge.names[0]) for edge in found]
        for name, (edge, rows) in zip(self._restricting, found.items(), strict=True):
            restricted[name] = {Named(edge.names[1]): set(rows)}
        return self

    def _refuse_protected(self, found: Blockers) -> None:
        protecting = {edge: r for edge, r in found.items() if edge.policy is Policy.PROTECT}
        if protecting:
            keys = ", ".join(f"'{'.'.join(edge.names)}'" for edge in protecting)
            raise ProtectedError(
                f"Cannot delete some instances of model {self.model.__name__!r} because they are"
                f" referenced through protected foreign keys: {keys}.",
                {row for rows in protecting.values() for row in rows},
            )

    def _release(self, restricted: dict[Any, dict[Any, set[Any]]], going: Going) -> None:
        """Let go those of Django's restricted rows that only a path through elsewhere takes."""
        for model, fields in restricted.items():
            if model is self.model or relation.concrete(model) not in going.beyond:
                continue
            for rows in fields.values():
                left = rows - set(self.collector.data.get(model, ()))
                keys = {row.pk for row in left}
                gone = going.of(relation.concrete(model), self.collector.using, keys)
                rows -= {row for row in left if row.pk in gone}


def ask(collector: Collector) -> None:
    """Ask, when the collection is complete, what refuses it elsewhere. Safe to repeat."""
    model: Any = next(iter(collector.data))
    fields: dict[Any, Any] = collector.restricted_objects[model]
    if not any(isinstance(each, Question) for each in fields.values()):
        fields[Named("elsewhere")] = Question(collector)
