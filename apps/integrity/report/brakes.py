"""Which relations the brake would not let a repair touch now, for every page, verb and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import Error

from .. import conf, relations
from ..backends import clocks
from ..backends.connections import reach
from ..exceptions import DatabaseUnreachable
from ..exceptions.redaction import reason_of_error
from ..log import suspects
from ..scan import brake
from . import limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ..models import Scan
    from ..relations import Relation
    from .small_tables import SmallTables


def brakes(using: str, waiting: Mapping[str, int], small: SmallTables) -> dict[str, str]:
    """Return relation → why the brake refuses its repair, of those that one log keeps the scans of.

    `waiting` is the number of suspects by relation, and `small` has the small tables of that log.
    One query for each of the parents' databases of a relation with suspects.
    """
    reasons = {
        relation.label: _judged(relation, waiting[relation.label], small)
        for relation in relations.catalogue().relations
        if relation.parent_databases[0] == using and waiting.get(relation.label)
    }
    return {label: reason for label, reason in reasons.items() if reason}


def scan_seconds(scans: Iterable[Scan]) -> dict[str, float]:
    """Return relation → how long ago the last pass that has seen something began. Pure."""
    ages = dict[str, float]()
    for row in scans:
        began = (clocks.age_of(row), clocks.age_of(row, "lasts"))
        for age in (age for age in began if age is not None):
            ages[row.relation] = min(age, ages.get(row.relation, age))
    return ages


def _judged(relation: Relation, waiting: int, small: SmallTables) -> str:
    try:
        for home in relation.parent_databases:
            reach(home)  # so that a database that is away holds up the page for seconds at most
        return brake.judged(relation, waiting, small.scans, small.children)
    except DatabaseUnreachable as error:
        return f"the parents cannot be asked: {error}"
    except Error as error:
        return f"the parents cannot be asked: {reason_of_error(error)}"


def suspected_keys(using: str, scans: Collection[Scan]) -> dict[str, int]:
    """Return relation → number of suspects in one log, counted up to a bound.

    The bound is above `limits.COUNT_MAX` and above what the brake tolerates, so a higher number
    would change neither a page nor the brake. It costs one query. If all suspects together are more
    than `limits.COUNT_MAX`, it costs one more for each relation.
    """
    settings = conf.current()
    bounded = suspects.suspects_by_relation(using=using, most=limits.COUNT_MAX + 1)
    if sum(bounded.values()) <= limits.COUNT_MAX:
        return bounded
    labels = {*bounded, *(relation.label for relation in relations.catalogue().relations)}
    counts: dict[str, int] = {}
    for label in sorted(labels):
        figures = brake.all_figures(0, [row for row in scans if row.relation == label])
        tolerated = max(brake.tolerated(seen.keys, settings) for seen in figures)
        most = int(max(limits.COUNT_MAX, tolerated)) + 1
        if number := suspects.number_of_suspects(label, using=using, most=most):
            counts[label] = number
    return counts
