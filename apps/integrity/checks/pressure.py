"""The setting `pressure`: names of databases, and functions that tell the load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections

from .. import conf, relations
from ..conf import pressure as options
from ..conf.steps import is_step, without_steps
from ..control import sampling
from ..exceptions import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def limited(**_: Any) -> list[checks.CheckMessage]:
    """E023: `pressure` names no child database, or no function, or nothing that tells the lag."""
    return [
        checks.Error(text, hint=hint, obj="INTEGRITY['pressure']", id="integrity.E023")
        for text, hint in _faults()
    ]


def _faults() -> Iterator[tuple[str, str]]:
    given, known = conf.current().pressure or {}, relations.catalogue().places
    for alias in given:
        if alias not in known and alias != options.DEFAULT:
            hint = f"Known: {', '.join(known) or 'none'}."
            yield (
                f"INTEGRITY['pressure'] names {alias!r}, which is no child database or step.",
                hint,
            )
        elif is_step(alias) and (wrong := {*given[alias]} - {"quiet_hours"}):
            text = f"INTEGRITY['pressure'][{alias!r}] has {', '.join(sorted(wrong))}"
            yield f"{text}; an erasure step has quiet_hours only.", "Remove the other options."
    hint = "Work on these databases is slowed down until this is corrected."
    texts = (text for alias in without_steps(known) for text in _faults_of(alias))
    yield from ((text, hint) for text in dict.fromkeys(texts))


def _faults_of(alias: str) -> Iterator[str]:
    """Yield what is wrong with the limits of a child database. No query."""
    given, limits = conf.current().pressure, conf.current().pressure_on(alias)
    for name, question in (("busy", limits.busy), ("replica_lag", limits.replica_lag)):
        if question is not None:
            try:
                options.function(options.name_of(alias, name, given), question)
            except InvalidSetting as error:
                yield f"{error}."
    if limits.asks_the_server and connections[alias].vendor != "postgresql":
        engine = connections[alias].display_name
        place = options.name_of(alias, "replica_lag", given)
        yield f"{engine} does not tell the lag of the replicas of {alias!r}: set {place}."


def told(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """W027: the load of a child database cannot be told. It may be an outage, so it is no Error."""
    return [
        checks.Warning(
            f"{alias!r}: {text}.",
            hint="Until then, work on it is slowed down. `manage.py integrity grants ROLE` shows"
            " the privileges that a worker needs.",
            obj=alias,
            id="integrity.W027",
        )
        for alias in relations.catalogue().child_databases
        if alias in (databases or ()) and conf.current().pressure_on(alias).is_sampled
        for text in sampling.sample(alias).unknown
    ]
