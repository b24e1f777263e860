"""How many rows refer now to what a deletion does not cover. Asked when a receipt is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import Error

from .. import relations
from ..backends import connections, missing_tables
from ..backends.bounded import timed_read
from ..exceptions import DatabaseUnreachable, FilteredRead, MissingContentType
from ..exceptions.redaction import plain, reason_of_error
from ..log.kept import COUNTED_MAX
from ..relations.keys import parse_key
from ..relations.relation import primary_key
from .preview import effects_along
from .receipt_lines import NOT_COVERED

if TYPE_CHECKING:
    from ..relations import Relation
    from .receipts import Receipt

#: The longest time for one count, in seconds.
COUNT_SECONDS = 2.0


def count(receipt: Receipt) -> Receipt:
    """Return the receipt with the rows that refer to the value now, along what it does not cover.

    Each such line of its scope gets `rows_now`, which is None where that is not known; then
    `not_counted` says why. Counting stops above `log.kept.COUNTED_MAX`. One statement for each
    line.
    """
    lines = [
        _counted(line, receipt["deletion"]) if line["outcome"] == NOT_COVERED else line
        for line in receipt["scope"]
    ]
    return {**receipt, "scope": lines}


def _counted(line: dict[str, Any], deletion: dict[str, Any]) -> dict[str, Any]:
    if line["relation"] in relations.catalogue().reasons:
        return {**line, "not_counted": "not counted: the settings ignore the relation"}
    relation = relations.catalogue().by_label.get(line["relation"])
    if relation is None or line["database"] not in relation.child_databases:
        why = f"not counted: no relation of that name leads into {line['database']} now"
        return {**line, "not_counted": why}
    number, why = _number(relation, line, deletion)
    return {**line, "rows_now": number, "not_counted": why}


def _number(
    relation: Relation, line: dict[str, Any], deletion: dict[str, Any]
) -> tuple[int | None, str]:
    """Return how many rows refer to it now, or None and why that is not known."""
    database, target = line["database"], relation.target
    by_key = target == primary_key(relation.parent)
    text = deletion["key"] if by_key else deletion["targets"].get(target.name)
    if text is None:
        return None, f"not counted: the log does not hold its {target.name}"
    try:
        connections.reach(database)
        with timed_read(database, COUNT_SECONDS):
            values = [parse_key(target, text)]
            along = next(effects_along(relation, database, values, {}, COUNTED_MAX + 1))
    except (DatabaseUnreachable, FilteredRead, MissingContentType) as error:
        return None, f"not counted: {plain(error)}"
    except Error as error:
        missing = missing_tables.unusable_table(relation)
        return None, f"not counted: {missing or reason_of_error(error)}"
    return along["rows"], ""
