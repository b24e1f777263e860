"""What a process knows: its intention before, the outcome after. Survives the kill of its writer.

One line is one `write`, which a SIGKILL cannot tear; the kernel keeps it when the writer is gone.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMITTED = "committed"
UNKNOWN = ""


@dataclass(slots=True)
class Entry:
    """One intention, and how it ended: `committed`, an error's name, or unknown."""

    id: str
    kind: str
    data: dict[str, Any]
    outcome: str = UNKNOWN

    @property
    def committed(self) -> bool:
        """Whether it is known to be committed."""
        return self.outcome == COMMITTED


class Journal:
    """The writer of one file; a restarted process goes on where the last one ended."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._next = 0

    def intend(self, kind: str, **data: Any) -> str:
        """Note what is about to be done; gives the name under which it ends."""
        self._next += 1
        name = f"{os.getpid()}-{time.monotonic_ns()}-{self._next}"
        self._write({"id": name, "kind": kind, "data": data})
        return name

    def end(self, name: str, outcome: str = COMMITTED) -> None:
        """Note how it ended."""
        self._write({"id": name, "outcome": outcome})

    def _write(self, document: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(document).encode() + b"\n")


class Reader:
    """Reads a journal as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self._offset = 0

    def news(self) -> Iterator[Entry]:
        """Entries that were begun or ended since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield self._take(json.loads(line))

    def _take(self, document: dict[str, Any]) -> Entry:
        name = document["id"]
        if "outcome" in document:
            self.entries[name].outcome = document["outcome"]
        else:
            self.entries[name] = Entry(name, document["kind"], document["data"])
        return self.entries[name]


def read(path: Path) -> list[Entry]:
    """All entries of a journal, in the order of their beginning."""
    reader = Reader(path)
    for _ in reader.news():
        pass
    return list(reader.entries.values())
