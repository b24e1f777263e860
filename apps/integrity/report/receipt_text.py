"""What a receipt proves, in sentences. Pure: each says no more than the receipt's own lines."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ..conf.steps import is_step
from ..log.kept import counted
from .lengths import span
from .receipt_lines import NOT_COVERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .receipts import Receipt

#: What no receipt covers, and what another one does.
OUTSIDE = (
    "Not covered by any receipt: tables of the parent's own database, backups, logs, and columns"
    " that no relation declares; nor files, caches, search indexes and other services, except for"
    " what it lists of an erasure step. Rows of further databases that refer to a row deleted here"
    " are not covered by this receipt: that row has a deletion and a receipt of its own."
)
#: Outcomes after which rows may be left that refer to the key.
LEFT = ("open", "given up")
#: Outcomes of rows that are still there, without the key.
CHANGED_ROWS = ("set to null", "replaced")


def statement(receipt: Receipt) -> list[str]:
    """Return what is proven and what is not, in sentences: on the page, in print, text and JSON."""
    return [
        conclusion(receipt),
        *_deadline(receipt),
        *_found(receipt),
        *_changed(receipt),
        *(f"{said}." for said in left_alone(receipt)),
        *(f"{said}." for said in not_covered(receipt)),
        *_inexact(receipt),
        *_undone(receipt),
    ]


def document(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt as it is written in JSON: with its statement, which stands alone."""
    return {"log": receipt["log"], "statement": [*statement(receipt), OUTSIDE], **receipt}


def conclusion(receipt: Receipt) -> str:
    """Return what is proven, and when it was counted; or that nothing is, and why."""
    deletion = receipt["deletion"]
    state, along = deletion["state"], _along(receipt)
    if state == "verified" and (unknown := _unknown(receipt)):
        return (
            f"Verified at {moment(deletion['verified_at'])}, but it is not recorded which relations"
            f" were followed in {_and(unknown)}: there, only the rows listed here are known."
        )
    if state == "verified" and along:
        steps = _and_steps(receipt)
        return (
            f"Counted again by {moment(deletion['verified_at'])}: no row {along} referred to it"
            f"{steps}."
        )
    if state == "verified":
        return "No relation was followed, so no row was looked for."
    if state == "kept":
        return "This is no proof: the value was taken over, so rows that refer to it were left."
    if state == "cancelled":
        reason = f": {deletion['reason']}" if deletion["reason"] else ""
        return f"This is no proof: the deletion was cancelled{reason}."
    uncounted = ", and its rows were not counted again yet" if state == "cascaded" else ""
    return f"This is not proof yet: the deletion is {state}{uncounted}."


def _deadline(receipt: Receipt) -> Iterator[str]:
    """Yield whether the deadline was met, which is when the last database was verified."""
    deletion = receipt["deletion"]
    if deletion["deadline"] is None:
        return
    deadline = dt.datetime.fromisoformat(deletion["deadline"])
    said = f"Its deadline, {moment(deletion['deadline'])},"
    if deletion["state"] == "verified":
        verified = dt.datetime.fromisoformat(deletion["verified_at"])
        margin = (deadline - verified).total_seconds()
        if margin >= 0:
            yield f"{said} was met: it was verified {span(margin)} before it."
        else:
            yield f"{said} was missed: it was verified {span(-margin)} too late."
    elif deletion["ended_at"]:
        yield f"{said} was not met: the deletion ended without being verified."
    else:
        left = deadline - dt.datetime.fromisoformat(receipt["issued"]["at"])
        if left >= dt.timedelta():
            yield f"{said} is in {span(left.total_seconds())}."
        else:
            yield f"{said} is missed by {span(-left.total_seconds())} so far."


def is_proven(receipt: Receipt) -> bool:
    """Return whether it was verified everywhere, and what that covers is known."""
    return receipt["deletion"]["state"] == "verified" and not _unknown(receipt)


def _found(receipt: Receipt) -> Iterator[str]:
    """Yield that a scan found the deletion, and what it followed."""
    deletion = receipt["deletion"]
    if deletion["source"] == "scan":
        yield (
            f"A scan found that its parent was missing at {moment(deletion['recorded_at'])}; rows"
            f" were followed along {deletion['relation']} only."
        )


def _changed(receipt: Receipt) -> Iterator[str]:
    """Yield which rows were changed and not deleted."""
    for line in receipt["scope"]:
        if line["rows"] and line["outcome"] in CHANGED_ROWS:
            was, its = ("was", "its") if line["rows"] == 1 else ("were", "their")
            yield (
                f"{line['rows']:,} row{'s' * (line['rows'] != 1)} of {line['relation']} in"
                f" {line['database']} {was} not deleted: {its} key was {line['outcome']}."
            )


def _inexact(receipt: Receipt) -> Iterator[str]:
    """Yield in which databases more rows may have been changed than are counted."""
    inexact = [each["database"] for each in receipt["cascades"] if not each["rows_exact"]]
    databases = [name for name in inexact if not is_step(name)]
    if databases:
        yield f"The rows of {_and(databases)} are a minimum: more may have been changed there."
    for place in inexact:
        if is_step(place):
            yield f"The number of {place} is a minimum: more may have been erased there."


def _undone(receipt: Receipt) -> Iterator[str]:
    """Yield which restores have undone the work in a database, and when it was done again."""
    for each in receipt["cascades"]:
        ends = [*(one["done_at"] for one in each["undone"][1:]), each["done_at"]]
        for one, again in zip(each["undone"], ends, strict=False):  # none, of nothing undone
            was = f"Done at {moment(one['done_at'])}" if one["done_at"] else "Begun"
            certain = "undone" if one["lost"] else "perhaps undone"
            then = f"erased again at {moment(again)}" if again else "not erased again yet"
            yield (
                f"{was}, {certain} by a restore of {each['database']} that was noticed at"
                f" {moment(one['noticed_at'])}, {then}."
            )


def _unknown(receipt: Receipt) -> list[str]:
    """Return the databases of which it is not known what was covered."""
    return [each["database"] for each in receipt["cascades"] if not each["scope_known"]]


def left_alone(receipt: Receipt) -> list[str]:
    """Return a sentence for each relation whose rows a cascade has kept."""
    return [
        f"{counted(line['kept'])} of {_named(line)}"
        f" {'was' if line['kept'] == 1 else 'were'} kept: the value has belonged to an existing row"
        f" since {moment(line['kept_at'])} or earlier"
        for line in receipt["scope"]
        if line["kept"] is not None
    ]


def not_covered(receipt: Receipt) -> list[str]:
    """Return a sentence for each relation that the deletion does not cover: why, and what is left.

    The rows are those that refer to the value now, not at the time of the deletion.
    """
    return [
        f"{_named(line)} is not covered: {line['reason']}{_now(line)}"
        for line in receipt["scope"]
        if line["outcome"] == NOT_COVERED
    ]


def _now(line: Mapping[str, Any]) -> str:
    if (rows := line["rows_now"]) is None:
        return f"; {line['not_counted']}" if line["not_counted"] else ""
    refer = "refers" if rows in {0, 1} else "refer"
    return f"; {counted(rows) if rows else 'no row'} {refer} to the value now"


def along(line: Mapping[str, Any]) -> str:
    """Return what became of the rows along one relation that was followed."""
    policy = f" ({line['policy']})" if line["policy"] else ""
    return f"{_named(line)}: {became(line)}{policy}"


def became(line: Mapping[str, Any]) -> str:
    """Return the outcome along a relation with its number of rows, or why it is not covered.

    Where rows were left, `rows` counts those that were deleted or changed before.
    """
    outcome, rows = line["outcome"], line["rows"]
    if outcome == NOT_COVERED:
        return f"{outcome}: {line['reason']}{_now(line)}"
    if line["kept"] is not None:
        outcome = f"{outcome} {counted(line['kept'])}"
    elif outcome not in LEFT:
        return outcome if rows is None else f"{outcome} {rows:,}"
    was = "erased" if is_step(line["database"]) else "deleted or changed"
    return outcome if rows is None else f"{outcome}, after {rows:,} had been {was}"


def stated(receipt: Receipt) -> str:
    """Return what the project stated of the deletion: by whom, on whose request, and why; or ""."""
    deletion = receipt["deletion"]
    named = (("by", "actor"), ("reference", "reference"), ("because", "because"))
    words = [f"{word} {deletion[name]}" for word, name in named if deletion[name]]
    return f"stated at the delete: {', '.join(words)}" if words else ""


def issuer(receipt: Receipt) -> str:
    """Return who made the receipt, and when."""
    made = receipt["issued"]
    return f"Issued by {made['by']} {made['version']} at {moment(made['at'])}."


def moment(iso: str | None) -> str:
    """Return a moment of a receipt with its zone, or "not yet"."""
    if iso is None:
        return "not yet"
    return f"{dt.datetime.fromisoformat(iso).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _named(line: Mapping[str, Any]) -> str:
    """Return what a line is about: a relation in a database, or an erasure step."""
    if is_step(line["database"]):
        return str(line["relation"])
    return f"{line['relation']} in {line['database']}"


def _and_steps(receipt: Receipt) -> str:
    """Return that erasure steps have looked again, to follow what was counted; or ""."""
    places = [each["database"] for each in receipt["cascades"] if is_step(each["database"])]
    return f", and nothing was left of what {_and(places)} had found" if places else ""


def _along(receipt: Receipt) -> str:
    """Return the relations that were followed and their databases, in words, or ""."""
    rows = [line for line in receipt["scope"] if not is_step(line["database"])]
    lines = [line for line in rows if line["outcome"] != NOT_COVERED]
    labels = [*dict.fromkeys(line["relation"] for line in lines)]
    databases = [*dict.fromkeys(line["database"] for line in lines)]
    if not lines:
        return ""
    relations = f"along {labels[0]}" if len(labels) == 1 else f"along {len(labels)} relations"
    return f"{relations} in {_and(databases)}"


def _and(names: Sequence[str]) -> str:
    """Return the names in words, or how many there are: a sentence holds two."""
    places = "erasure steps" if all(map(is_step, names)) else "databases"
    return f"{len(names)} {places}" if names[2:] else " and ".join(names)
