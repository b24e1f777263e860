"""What was seen at one moment, and what follows from many of them. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

SINCE = re.compile(r"\bfor \d+ \w|\d+ \w+ ago\b")
PAGE, STATUS, HEALTH = "page", "status --json", "healthz"
#: Kinds that say of a server or a process that it is ill; others are about what waits for it.
ILL = frozenset({"log_unreachable", "unreachable", "workers", "beat", "broker"})
#: How long somebody who was called waits for the name of the fault.
NAMED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Named:
    """What a line has to name: a fault of one of these kinds, and its subject."""

    subject: str
    kinds: frozenset[str]

    @classmethod
    def of(cls, subject: str, *kinds: str) -> Named:
        """Return what names that subject by one of those kinds."""
        return cls(subject, frozenset(kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One fault as it is shown: on the page, or in a document (then `text` is its cause)."""

    kind: str
    subject: str
    text: str
    remedy: str = ""
    since: bool = True

    def __str__(self) -> str:
        since = "" if self.since else " (since when?)"
        return f"{self.kind} {self.subject or '-'}: {self.text}{since}"

    def fits(self, wanted: Named) -> bool:
        """Whether this is about that fault."""
        return self.kind in wanted.kinds and self.subject == wanted.subject

    def names(self, wanted: Named) -> bool:
        """Whether this is about that fault, with since, cause and remedy."""
        return bool(self.fits(wanted) and self.text and self.remedy and self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one of the three said at a moment; `said` is everything else that it said, in short."""

    where: str
    at: float
    lines: tuple[Line, ...]
    said: str = ""
    #: Whether it could say anything: a page that did not come has said nothing.
    answered: bool = True

    def named(self, wanted: Iterable[Named]) -> list[Line]:
        """Return the lines that name those faults, each by one; none unless all are named."""
        found = [next((line for line in self.lines if line.names(each)), None) for each in wanted]
        lines = [line for line in found if line is not None]
        return lines if len(lines) == len(found) else []

    def told(self, zero: float) -> str:
        """Return it as one line of a log."""
        shown = " | ".join(map(str, self.lines)) or "no fault"
        return f"{self.at - zero:6.1f} s  {self.where:<13}  {shown}  [{self.said}]"


def named_at(
    looks: Iterable[Look], where: str, wanted: Collection[Named], since: float
) -> Look | None:
    """Return the first look there that names all of those faults, of those after that moment."""
    there = (look for look in looks if look.where == where and look.at >= since)
    return next((look for look in there if look.named(wanted)), None)


def wrongly_blamed(looks: Iterable[Look], wanted: Collection[Named], since: float) -> list[Line]:
    """Return the lines that say of something healthy that it is ill, since that moment."""
    lines = (line for look in looks if look.at >= since for line in look.lines)
    return [
        line for line in lines if line.kind in ILL and not any(line.fits(each) for each in wanted)
    ]


def quiet(looks: Sequence[Look], where: str, since: float, number: int = 2) -> bool:
    """Whether the last looks there are later than that moment, and show no fault at all."""
    last = [look for look in looks if look.where == where and look.at >= since][-number:]
    return len(last) == number and all(look.answered and not look.lines for look in last)


def false_alarms(looks: Iterable[Look], begin: float, end: float) -> list[Look]:
    """Return the looks between two moments that show a fault, or that did not come about."""
    within = (look for look in looks if begin <= look.at <= end)
    return [look for look in within if look.lines or not look.answered]


def tells_since(text: str) -> bool:
    """Whether a sentence tells how long something has been so."""
    return bool(SINCE.search(text))


def of_documents(documents: Iterable[dict[str, Any]]) -> Iterator[Line]:
    """Yield the faults of a JSON document, which has a list of them."""
    for document in documents:
        yield Line(
            kind=document["kind"],
            subject=document["subject"],
            text=document["cause"],
            remedy=document["remedy"],
            since=document["since_seconds"] is not None,
        )


def of_status(document: dict[str, Any]) -> tuple[tuple[Line, ...], str]:
    """Return the faults of `status --json`, and the rest of it in short."""
    rest = {
        row["database"]: f"{row['state']} {row['backlog']}: {row['reason']}"
        for row in document.get("databases", ())
    }
    rest |= {name: document[name] for name in ("code", "error") if name in document}
    return tuple(of_documents(document.get("faults", ()))), json.dumps(rest)
