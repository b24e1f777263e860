"""A difference, as text: the history that shows it, where its models live, how to see it again."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .differences import Different
    from .history import Operation
    from .sides import Sides


def told(sides: Sides, operation: int, history: Sequence[Operation], found: Different) -> str:
    """All that is to be known of a difference."""
    again = f"--seed {sides.seed} --database {sides.vendor} --replay"
    lines = [
        f"seed {sides.seed}, operation {operation}: the sides differ",
        *_indented(str(found).splitlines()),
        "a small history that shows it, without the rows that SET and SET_DEFAULT put in place:",
        *_indented(line for each in history[1:] for line in described(each)),
        "where its models live when spread:",
        *_indented(_models(sides, history)),
        f"again: ./run differential {again} {shlex.quote(json.dumps(history))}",
    ]
    return "\n".join(lines)


def described(operation: Operation) -> Iterator[str]:
    """An operation in lines."""
    name, arguments = operation
    if name == "delete":
        yield f"delete {arguments['how']} {arguments['model']} {arguments['keys']}"
    for model, values in arguments.get("rows", ()):
        held = ", ".join(f"{key}={value!r}" for key, value in values.items())
        yield f"insert {model}({held})"


def _models(sides: Sides, history: Sequence[Operation]) -> Iterator[str]:
    rows = [row for name, arguments in history[1:] if name == "rows" for row in arguments["rows"]]
    for model in dict.fromkeys(model for model, _ in rows):
        held = {key for name, values in rows if name == model for key in values}
        keys = [
            f"{key.name} {key.policy} to {key.parent}"
            for key in sides.kinds[model].keys
            if key.name in held
        ]
        yield f"{model} in {sides.homes[model]}" + (f": {', '.join(keys)}" if keys else "")


def _indented(lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
