"""What differs between the answers of both sides, and which of it is documented. Pure.

The documented differences are those of docs/explanation/differences.md, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Answer = dict[str, Any]

#: The name of the documented difference that may be seen, as the page has it.
CONSTRAINTS = "constraints"


@dataclass(frozen=True)
class Different:
    """What both sides became: outcomes, and rows that only one of them has."""

    one: str
    spread: str
    lines: tuple[str, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """The outcomes without their details: a smaller history must show the same."""
        return self.one.partition(":")[0], self.spread.partition(":")[0]

    def __str__(self) -> str:
        outcomes = (f"in one database: {self.one}", f"spread:          {self.spread}")
        return "\n".join((*outcomes, *self.lines))


def difference(one: Answer, spread: Answer) -> Different | None:
    """What is different; None where nothing is."""
    if one["outcome"] == spread["outcome"] and one["rows"] == spread["rows"]:
        return None
    lines = []
    for model in sorted({*one["rows"], *spread["rows"]}):
        left, right = one["rows"].get(model, []), spread["rows"].get(model, [])
        lines += [f"only in one database: {model} {row}" for row in left if row not in right]
        lines += [f"only when spread:     {model} {row}" for row in right if row not in left]
        if len(left) != len(right):
            lines.append(f"{model}: {len(left)} rows in one database, {len(right)} when spread")
    return Different(one["outcome"], spread["outcome"], tuple(lines))


def documented(one: Answer, spread: Answer) -> str:
    """The documented difference that this is; or "".

    `CONSTRAINTS`: one database refuses the delete, for a constraint of rows that live elsewhere
    when spread; there it would go, and was not carried out.
    """
    refused = one["outcome"] == "IntegrityError" and spread["outcome"] == "goes"
    return CONSTRAINTS if refused and one["rows"] == spread["rows"] else ""
