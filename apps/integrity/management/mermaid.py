"""A flowchart of the relations in Mermaid, which code hosts render. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..report.catalogue import RelationRow

#: The characters that a label may contain, besides letters and digits. All others are written as
#: codes, so that no text can end its label.
PLAIN = frozenset("_.,- ")


def flowchart(rows: Sequence[RelationRow]) -> str:
    """Return the chart: parents on the left, children on the right, an edge for each relation."""
    parents, children = catalogue.columns(rows)
    parent_ids, child_ids = _ids("parent", parents), _ids("child", children)
    edges = [
        f"  {parent_ids[row['parent_database'], row['parent']]} -->|{_quoted(row['policy'])}|"
        f" {child_ids[row['child_database'], row['relation']]}"
        for row in rows
    ]
    boxes = [*_boxes(parents, "parents", parent_ids), *_boxes(children, "children", child_ids)]
    return "\n".join(["flowchart LR", *boxes, *edges])


def _ids(kind: str, column: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], str]:
    """Return a node id for each label of each database."""
    pairs = [(database, label) for database, labels in column.items() for label in labels]
    return {pair: f"{kind}{number}" for number, pair in enumerate(pairs)}


def _boxes(
    column: Mapping[str, Sequence[str]], kind: str, ids: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    """Yield a subgraph for each database, with a node for each label."""
    for number, (database, labels) in enumerate(column.items()):
        yield f"  subgraph {kind}{number}[{_quoted(database)}]"
        for label in labels:
            yield f"    {ids[database, label]}[{_quoted(label)}]"
        yield "  end"


def _quoted(text: str) -> str:
    plain = (char if char.isalnum() or char in PLAIN else f"#{ord(char)};" for char in text)
    return f'"{"".join(plain)}"'
