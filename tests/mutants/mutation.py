"""One way to break the code: what to replace, what that breaks, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass


class Misplaced(Exception):
    """A mutation does not fit the source (any more)."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """Replace `old`, which stands exactly once in `file`, by `new`: one of `tests` must fail.

    `breaks` names the guarantee first. `tests` are pytest's node ids.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied_to(self, source: str) -> str:
        """Return the broken source. Raises `Misplaced`."""
        if (times := source.count(self.old)) != 1:
            raise Misplaced(
                f"{self.name}: {self.old!r} stands {times} times in {self.file}, not once"
            )
        return source.replace(self.old, self.new)
