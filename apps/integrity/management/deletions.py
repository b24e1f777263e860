"""Deletions that are given to a verb by their ids: in which log they are, and in what state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from ..models.deletions import Deletion, read_outcomes
from ..relations.discovery import catalogue, log_database, log_databases
from .exit_codes import usage_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ..models.outcome import InDatabase

WHERE = (
    "The dashboard shows the ids of deletions, and so does `manage.py integrity receipt MODEL KEY"
    " --json`"
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The logs to look in; the deletions, or None for all; and what came of each by then."""

    logs: Sequence[str]
    ids: Sequence[int] | None = None
    outcomes: Mapping[int, Sequence[InDatabase]] = field(default_factory=dict)

    def left(self, changed: Collection[int]) -> list[dict[str, Any]]:
        """Return the deletions that were not changed, with their states by child database."""
        return [
            {"id": pk, "states": {each.database: str(each.state) for each in outcomes}}
            for pk, outcomes in self.outcomes.items()
            if pk not in changed
        ]


def choose(ids: Sequence[int], *, everything: bool, log: str | None) -> Chosen:
    """Return the deletions with those ids, or all.

    Raises a usage error for both or for neither, and for an id that several logs have; an error
    for an id that is not in the log.
    """
    if bool(ids) == everything:
        raise usage_error("give the ids of deletions, or --all")
    if not catalogue().log_databases:
        raise CommandError("no relation crosses databases, so there are no deletions")
    logs = [log_database(log)] if log else list(log_databases())
    if everything:
        return Chosen(logs)
    wanted = sorted({*ids})
    found = {using: _outcomes_in(using, wanted) for using in log_databases()}
    _require_one(wanted, found, logs)
    return Chosen(logs, wanted, {pk: found[using][pk] for using in logs for pk in found[using]})


def _outcomes_in(using: str, ids: Sequence[int]) -> dict[int, Sequence[InDatabase]]:
    rows = list(Deletion.objects.using(using).filter(pk__in=ids).order_by("pk"))
    read_outcomes(rows, using=using)
    return {row.pk: row.databases for row in rows}


def _require_one(
    ids: Sequence[int], found: Mapping[str, Mapping[int, object]], logs: Sequence[str]
) -> None:
    """Raise an error for an id that is in none of the logs, or in several of them."""
    missing = [pk for pk in ids if not any(pk in found[using] for using in logs)]
    if missing:
        named = f"log of {logs[0]!r}" if len(logs) == 1 else "log"
        elsewhere = [using for using in found if {*missing} & {*found[using]}]
        hint = f"it is in that of {' and '.join(map(repr, elsewhere))}: " if elsewhere else ""
        raise CommandError(
            f"there is no deletion {' or '.join(map(str, missing))} in the {named}; {hint}nothing"
            f" was changed. {WHERE}"
        )
    for pk in ids:
        if len(holders := [using for using in logs if pk in found[using]]) > 1:
            options = " or ".join(f"--log {using}" for using in holders)
            raise usage_error(
                f"there is a deletion {pk} in each log of {', '.join(holders)}: add {options}."
                " Nothing was changed"
            )


def sentences(left: Sequence[Mapping[str, Any]], why: str) -> Iterator[str]:
    """Yield a line for each deletion that was left, with its states. Pure."""
    for deletion in left:
        states = [f"{state} in {database}" for database, state in deletion["states"].items()]
        is_now = ", ".join(states) or "not dispatched yet"
        yield f"nothing to do: deletion {deletion['id']} {why}: it is {is_now}"
