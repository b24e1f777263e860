"""One way to break the code: what to replace, what that breaks, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass


class Misplaced(Exception):
    """A mutation does not fit the source (any more)."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """Replace `old`, which `file` holds exactly once, by `new`: one of `tests` must fail.

    `breaks` names the guarantee first. `tests` are pytest's node ids; those that stop servers need
    servers of their own (`own_servers`), which cost seconds.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    own_servers: bool = False

    def applied_to(self, source: str) -> str:
        """The broken source. Raises `Misplaced`."""
        if (found := source.count(self.old)) != 1:
            raise Misplaced(f"{self.name}: {self.file} holds {self.old!r} {found} times, not once")
        return source.replace(self.old, self.new)
