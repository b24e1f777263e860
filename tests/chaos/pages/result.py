"""What was seen of one fault, and whether it is as promised. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .seen import HEALTH, NAMED_SECONDS, PAGE, STATUS, wrongly_blamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .seen import Look, Named

#: How soon after the end of a fault all has to be well: gone from the page, and verified.
WELL_SECONDS = 60.0
COLUMNS = (
    *("fault", "named after", "first line of the page", "`status --json`", "remedy", "healthz"),
    "well after",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The looks that named a fault first, and all others during it.

    `wanted` is what has to be named; the first of it by the first line.

    `well_after` is how many seconds after its end no fault was shown and every deletion that it had
    hit was verified; None where that did not come in time.
    """

    fault: str
    wanted: Sequence[Named]
    effect: float
    page: Look | None
    status: Look | None
    well_after: float | None
    looks: tuple[Look, ...]
    limit: float = NAMED_SECONDS

    def problems(self) -> Iterator[str]:
        """Yield what is not as promised."""
        for where, look in ((PAGE, self.page), (STATUS, self.status)):
            if look is None or look.at - self.effect > self.limit:
                after = "never" if look is None else f"after {look.at - self.effect:.1f} s"
                yield f"{self.fault}: named by {where} {after}"
            elif not look.lines[0].names(self.wanted[0]):
                yield f"{self.fault}: the first line of {where} is {look.lines[0]}"
        documents = [look for look in self.looks if look.where != HEALTH]
        for line in dict.fromkeys(
            str(line) for line in wrongly_blamed(documents, self.wanted, self.effect)
        ):
            yield f"{self.fault}: wrongly blamed is {line}"
        if self.well_after is None:
            yield f"{self.fault}: not all was well {WELL_SECONDS:.0f} s after its end"

    @property
    def first_line(self) -> str:
        """The first line of the page when it named the fault, or all that it said at last."""
        pages = [look for look in self.looks if look.where == PAGE]
        shown = self.page or (pages[-1] if pages else None)
        if shown is None:
            return ""
        return shown.lines[0].text if shown.lines else shown.said

    @property
    def health(self) -> str:
        """What healthz said at last: what fails, and the state of each database."""
        last = next((look for look in reversed(self.looks) if look.where == HEALTH), None)
        if last is None or not last.answered:
            return "no answer"
        failing = ", ".join(line.kind for line in last.lines)
        return f"{f'failing: {failing}' if failing else 'ok'}; {last.said}"

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        named = self.status.named(self.wanted) if self.status else []
        return {
            "fault": self.fault,
            "page_seconds": _after(self.page, self.effect),
            "status_seconds": _after(self.status, self.effect),
            "first_line": self.first_line,
            "status": "; ".join(map(str, named)),
            "remedy": "; ".join(line.remedy for line in named),
            "healthz": self.health,
            "well_seconds": None if self.well_after is None else round(self.well_after, 1),
        }

    def cells(self) -> tuple[str, ...]:
        """Return its row of the table."""
        seen = self.document()
        after = f"{_seconds(seen['page_seconds'])} / {_seconds(seen['status_seconds'])}"
        return (
            *(self.fault, after, self.first_line, seen["status"], seen["remedy"]),
            *(seen["healthz"], _seconds(seen["well_seconds"])),
        )

    def __str__(self) -> str:
        return " | ".join(self.cells())


def table(results: Iterable[Result]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    for cells in (COLUMNS, ["---"] * len(COLUMNS), *(result.cells() for result in results)):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _after(look: Look | None, effect: float) -> float | None:
    return None if look is None else round(max(0.0, look.at - effect), 1)


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds} s"
