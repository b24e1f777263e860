"""Faults and figures in plain English, for pages and commands. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .lengths import count, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from .fault import Fault

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
#: The longest reason within a sentence, in characters.
BRIEF = 120


def sentence(fault: Fault) -> str:
    """Return what is wrong, where, since when and why, as one sentence."""
    return f"{_SENTENCES[fault.kind](fault).strip().rstrip('.')}."


def _log(fault: Fault) -> str:
    if not fault.subject:
        return f"No deletion log can be reached: {fault.cause}"
    return f"The deletion log in {fault.subject} cannot be reached"


def _workers(fault: Fault) -> str:
    if not fault.subject:
        last = fault.since_seconds
        seen = "" if last is None else f"; one was last seen {span(last)} ago"
        return f"{fault.cause[:1].upper()}{fault.cause[1:]}{seen}"
    what, age = f"{_deletions(fault)} in {fault.subject}", span(fault.since_seconds or 0)
    have = "has" if fault.number == 1 else "have"
    if fault.next_try_seconds is None:
        return f"{what} {have} had no worker for {age}: {fault.cause}"
    ends = f"its claim ends in {span(fault.next_try_seconds)}"
    return f"{what} {have} been claimed by {fault.cause}, which was last seen {age} ago; {ends}"


def _hindered(fault: Fault) -> str:
    what = f"{fault.subject} cannot be worked on"
    if fault.since_seconds is not None:
        what = f"{fault.subject} has been unusable for {span(fault.since_seconds)}"
    return f"{what}: {brief(fault.cause)}{_waiting(fault)}"


def _paused(fault: Fault) -> str:
    since = "" if fault.since_seconds is None else f" for {span(fault.since_seconds)}"
    return f"{fault.subject} has been paused{since}: {brief(fault.cause)}{_waiting(fault)}"


def _beat(fault: Fault) -> str:
    seen = "never been seen"
    if fault.since_seconds is not None:
        seen = f"not been seen for {span(fault.since_seconds)}"
    return f"Beat has {seen}: {fault.cause}"


def _brake(fault: Fault) -> str:
    seen = ""
    if fault.since_seconds is not None:
        seen = f", found by a scan {span(fault.since_seconds)} ago"
    return f"The brake refuses the repair of {fault.subject}{seen}: {fault.cause}"


def _broker(fault: Fault) -> str:
    what = "The broker does not answer"
    if fault.since_seconds is not None and fault.since_seconds >= 1:
        what = f"The broker has not answered for {span(fault.since_seconds)}"
    return f"{what}: {brief(fault.cause)}"


def _blocked(fault: Fault) -> str:
    are, why = _are(fault), brief(fault.cause) or "no reason was recorded"
    return f"{_deletions(fault)} {are} blocked in {fault.subject}{_oldest(fault)}: {why}"


def _failing(fault: Fault) -> str:
    why = brief(fault.cause) or "no reason was recorded"
    wait = fault.next_try_seconds
    again = "the next try is due" if not wait or wait < 1 else f"next try in {span(wait)}"
    fails = "fails" if fault.number == 1 else "fail"
    return f"{_deletions(fault)} {fails} in {fault.subject}{_oldest(fault)}: {why}; {again}"


def _unproven(fault: Fault) -> str:
    late = f"{_deletions(fault)} {_are(fault)} done in {fault.subject} and not verified"
    return f"{late} for {span(fault.since_seconds or 0)}: {brief(fault.cause)}"


def _late(fault: Fault) -> str:
    late = f"{_deletions(fault)} {_are(fault)} past the deadline in {fault.subject}"
    why = f": {brief(fault.cause)}" if fault.cause else ""
    return f"{late}, the first for {span(fault.since_seconds or 0)}{why}"


def _at_risk(fault: Fault) -> str:
    return f"Deadlines are at risk in {fault.subject}: {fault.cause}"


def _kept(fault: Fault) -> str:
    rows = f"{_deletions(fault)} left rows alone in {fault.subject}"
    return f"{rows}: the value that these refer to belongs to an existing row again"


def _orphans(fault: Fault) -> str:
    number = fault.number or 0
    parents = "1 missing parent was" if number == 1 else f"{count(number)} missing parents were"
    return f"{parents} found by scans; repair removes the rows that refer to them"


def _behind(fault: Fault) -> str:
    why = f": {brief(fault.cause)}" if fault.cause else "; work is in progress"
    return f"{fault.subject} is {span(fault.since_seconds or 0)} behind{why}"


_SENTENCES: dict[str, Callable[[Fault], str]] = {
    "log_unreachable": _log,
    "unknown": lambda fault: f"{fault.subject}: {fault.cause}",
    "brake": _brake,
    "broker": _broker,
    "unreachable": _hindered,
    "workers": _workers,
    "beat": _beat,
    "identity_mismatch": _paused,
    "restored": _paused,
    "paused": _paused,
    "blocked": _blocked,
    "failing": _failing,
    "unproven": _unproven,
    "late": _late,
    "at_risk": _at_risk,
    "kept": _kept,
    "orphans": _orphans,
    "behind": _behind,
}


def _deletions(fault: Fault) -> str:
    return f"{count(fault.number or 0)} deletion{'' if fault.number == 1 else 's'}"


def _are(fault: Fault) -> str:
    return "is" if fault.number == 1 else "are"


def _oldest(fault: Fault) -> str:
    if fault.since_seconds is None:
        return ""
    return f", the oldest recorded {span(fault.since_seconds)} ago"


def _waiting(fault: Fault) -> str:
    if not fault.number:
        return ""
    return f"; {_deletions(fault)} {'waits' if fault.number == 1 else 'wait'}"


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
    for prefix in ("cannot be reached: ", "cannot be worked on: ", "paused: "):
        core = core.removeprefix(prefix)
    core = core.strip().rstrip(".")
    return f"{core[:BRIEF]}\u2026" if len(core) > BRIEF else core
