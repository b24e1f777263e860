"""The tables that a PROTECT or RESTRICT check may read: its role needs SELECT on them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .delete_graph import Edge, Graph
    from .relation import Model


def tables_of(graph: Graph, model: Model, home: str) -> Iterator[tuple[Edge, Model, str]]:
    """Yield each edge that a delete of the model's rows in `home` checks, with table and database.

    It follows cascades downwards. From restricted rows it also goes upwards, to the rows whose
    delete would remove them.
    """
    beyond = graph.beyond([model])
    seen: set[tuple[Edge, str]] = set()
    waiting = [(edge, home) for edge in graph.leaving(model)]
    while waiting:
        edge, parents = waiting.pop()
        for database in edge.databases(parents):
            yield edge, edge.child, database
            if edge.generic is not None:
                column: Any = edge.child._meta.get_field(edge.generic.content_type_field_name)
                yield edge, column.remote_field.model, database
            if (edge, database) not in seen and not edge.may_refuse:
                seen.add((edge, database))
                waiting += ((below, database) for below in graph.towards(edge.child))
            if edge.policy is Policy.RESTRICT:
                yield from _above(graph, edge.child, database, beyond)


def _above(
    graph: Graph, model: Model, database: str, beyond: set[Model]
) -> Iterator[tuple[Edge, Model, str]]:
    for edge in graph.above[model]:
        if edge.parent in beyond:
            beyond = beyond - {edge.parent}
            for home in edge.parent_databases(database):
                yield edge, edge.parent, home
                yield from _above(graph, edge.parent, home, beyond)
