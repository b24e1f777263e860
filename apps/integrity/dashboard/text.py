"""Figures → text: amounts, durations, and one sentence on the overall state. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..report import limits
from ..report.overview import BEHIND_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..report.overview import Card, Overview


#: Why rows were left, and what is to do.
KEPT = "the value of a deleted parent belongs to another row now; look at the receipts"
#: What drivers say about a server's address and the user. No page shows it.
SERVERS = (
    (re.compile(r"connection to server (?:at|on socket) .*? failed: "), ""),
    (
        re.compile(r"\b(user|role|database|host|host name|hostname|server on) ([\"'`]).*?\2"),
        "\\1 \u2026",
    ),
    (re.compile(r"'[^' ]*'@'[^' ]*'"), "\u2026"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?"), "\u2026"),
    (re.compile(r"\[?\b(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{1,4}\b\]?", re.IGNORECASE), "\u2026"),
    (re.compile(r",? ?\bport \d+"), ""),
)
#: The longest reason within a sentence, in characters. The card shows all of it.
BRIEF = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence on the overall state; `level` is "ok", "busy", "attention" or "trouble"."""

    level: str
    sentence: str


def verdict(seen: Overview) -> Verdict:
    """Return what someone on call should know first. Pure."""
    for level, sentence in _complaints(seen):
        return Verdict(level=level, sentence=sentence)
    if any(card.backlog for card in seen.cards):
        names = " and ".join(card.database for card in seen.cards if card.backlog)
        return Verdict(level="busy", sentence=f"Deletions are being applied in {names}.")
    if any(card.unverified for card in seen.cards):
        sentence = "All deletions are applied; the last ones are still to be verified"
    else:
        sentence = "All deletions are applied and verified"
    if seen.unscanned:
        return Verdict(level="busy", sentence=f"{sentence}; not every relation was scanned yet.")
    if seen.orphan_age_seconds is not None:
        age = span(seen.orphan_age_seconds)
        sentence += f"; no orphan that a cascade would take is older than {age}"
    return Verdict(level="ok", sentence=f"{sentence}.")


def _complaints(seen: Overview) -> Iterator[tuple[str, str]]:
    """Yield level and sentence of each problem, the worst first."""
    for using in seen.unreachable_logs:
        yield "trouble", f"The deletion log in {using} cannot be reached."
    for unknown in seen.unknown:
        yield "trouble", f"{unknown['name']}: {unknown['reason']}."
    cards = sorted(seen.cards, key=lambda card: card.lag_seconds or 0, reverse=True)
    for level in ("trouble", "attention"):
        yield from ((level, sentence) for card in cards for sentence in _stands_still(card, level))
        if level == "trouble":
            yield from ((level, sentence) for sentence in _silences(seen))
    for card in cards:
        if card.kept:
            yield "attention", f"{count(card.kept)} kept in {card.database}: {KEPT}."
    for card in cards:
        if (card.lag_seconds or 0) >= BEHIND_SECONDS:
            reason = card.waiting_reason or card.pace_reason
            why = f": {brief(reason)}" if reason else " and at work"
            yield "attention", f"{_behind(card)}{why}."
    if number := seen.missing_parents:
        parents = "1 missing parent was" if number == 1 else f"{count(number)} missing parents were"
        yield "attention", f"{parents} found by scans; repair removes the rows that refer to them."


def _stands_still(card: Card, level: str) -> Iterator[str]:
    """Yield why a database makes no progress."""
    if level == "trouble" and card.unreachable:
        yield f"{_behind(card)}: {brief(card.reason)}."
    elif level == "trouble" and card.blocked:
        why = brief(card.blocked_reason) or "no reason was kept"
        yield f"{count(card.blocked)} blocked in {card.database}: {why}."
    elif level == "attention" and card.overdue and not card.paused:
        late = f"{count(card.unverified)} done in {card.database} and not verified"
        yield f"{late} for {span(card.unverified_seconds or 0)}: {brief(card.unverified_reason)}."
    elif level == "attention" and card.paused:
        yield f"{_behind(card)}: {brief(card.reason)}."


def _silences(seen: Overview) -> Iterator[str]:
    """Yield which processes are silent, and what the brake refuses to repair."""
    if seen.beat_is_silent:
        since = (
            f"not been seen for {span(seen.beat['seconds_ago'])}"
            if seen.beat
            else "never been seen"
        )
        yield f"Beat has {since}: nothing is retried, verified or scanned."
    if seen.workers_are_silent:
        yield "There is work, and no worker has been seen for a minute."
    for label, reason in seen.brakes.items():
        yield f"The brake holds the repair of {label}: {reason}."


def _behind(card: Card) -> str:
    if card.lag_seconds is None:
        return f"{card.database} is not behind, but stands still"
    return f"{card.database} is {span(card.lag_seconds)} behind"


def public(reason: str) -> str:
    """Return a reason without addresses, ports and users of servers."""
    for pattern, instead in SERVERS:
        reason = pattern.sub(instead, reason)
    return reason


def brief(reason: str) -> str:
    """Return the core of a reason, such as "Connection refused" of a driver's three lines."""
    core = (
        public(reason)
        .rpartition(" failed: ")[2]
        .removeprefix("FATAL: ")
        .partition(" Is the server")[0]
    )
    core = core.removeprefix("cannot be reached: ").removeprefix("cannot be worked on: ")
    core = core.strip().rstrip(".")
    return f"{core[:BRIEF]}\u2026" if len(core) > BRIEF else core


def count(number: int) -> str:
    """Return a number with commas; "10,000+" if counting stopped."""
    return f"{limits.COUNT_MAX:,}+" if number > limits.COUNT_MAX else f"{number:,}"


def number_of(number: int, noun: str) -> str:
    """Return the number with its noun. Pure."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = int(seconds)
    for size, unit, below, part in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            small = rest and (unit != "min" or whole < 10 * size)
            return f"{whole // size} {unit} {rest} {part}" if small else f"{whole // size} {unit}"
    return f"{whole} s"
