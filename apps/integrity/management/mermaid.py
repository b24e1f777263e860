"""A flowchart of the relations in Mermaid, which code hosts draw. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..report import RelationRow

#: Written into a label as they are. Any other character is written as a code, so that no label
#: can be ended early.
PLAIN = frozenset("_.,- ")


def flowchart(rows: Sequence[RelationRow]) -> str:
    """Return the chart: parents on the left, children on the right, an edge for each relation."""
    parents, children = report.columns(rows)
    ends, begins = _ids("parent", parents), _ids("child", children)
    edges = [
        f"  {ends[row['parent_database'], row['parent']]} -->|{_quoted(row['policy'])}|"
        f" {begins[row['child_database'], row['relation']]}"
        for row in rows
    ]
    boxes = [*_boxes(parents, "parents", ends), *_boxes(children, "children", begins)]
    return "\n".join(["flowchart LR", *boxes, *edges])


def _ids(kind: str, column: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], str]:
    """Return a node id for each label of each database."""
    pairs = [(database, label) for database, labels in column.items() for label in labels]
    return {pair: f"{kind}{at}" for at, pair in enumerate(pairs)}


def _boxes(
    column: Mapping[str, Sequence[str]], kind: str, ids: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    for at, (database, labels) in enumerate(column.items()):
        yield f"  subgraph {kind}{at}[{_quoted(database)}]"
        for label in labels:
            yield f"    {ids[database, label]}[{_quoted(label)}]"
        yield "  end"


def _quoted(text: str) -> str:
    plain = (char if char.isalnum() or char in PLAIN else f"#{ord(char)};" for char in text)
    return f'"{"".join(plain)}"'
