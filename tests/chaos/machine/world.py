"""What the databases hold, seen over connections that no fault of the machine touches."""

from __future__ import annotations

import json
from typing import Any

from django.db import connections

from apps.integrity.models import Audit, Cascade, ChildDatabase, Deletion, Heartbeat, Tally

from .kinds import ALIASES, KINDS, LOGS
from .partition import by_deletion

#: A row's kind and its key as text.
Id = tuple[str, str]
Values = dict[str, Any]
#: The log's alias and the deletion's id.
LogId = tuple[str, int]


class World:
    def __init__(self) -> None:
        self.eyes = {alias: connections[alias].copy() for alias in ALIASES}
        self._look = {alias: _look(alias) for alias in ALIASES}
        self._clean = {alias: _clean(alias) for alias in ALIASES}

    def close(self) -> None:
        for eye in self.eyes.values():
            eye.close()

    def seen(self) -> tuple[dict[Id, Values], dict[LogId, Values]]:
        """All rows, and all deletions with their cascades by database."""
        rows: dict[Id, Values] = {}
        log: dict[LogId, Values] = {}
        for alias, look in self._look.items():
            with self.eyes[alias].cursor() as cursor:
                cursor.execute(look)
                found = [(label, json.loads(text)) for label, text in cursor.fetchall()]
            for label, values in found:
                if label in KINDS:
                    rows[label, str(values["id"])] = values
            deletions, cascades = (
                [values for label, values in found if label == model._meta.label]
                for model in (Deletion, Cascade)
            )
            for deletion in by_deletion(deletions, cascades):
                log[alias, deletion["id"]] = deletion
        return rows, log

    def clean(self) -> None:
        for alias, clean in self._clean.items():
            self.execute(alias, clean)

    def execute(self, alias: str, sql: str, params: list[Any] | None = None) -> None:
        with self.eyes[alias].cursor() as cursor:
            cursor.execute(sql, params)

    def due(self, *states: str) -> None:
        """Let the time pass that cascades in those states wait for."""
        for alias in LOGS:
            self.execute(
                alias,
                "UPDATE integrity_cascade SET due_at = now() - interval '1 second'"
                " WHERE state = ANY(%s)",
                [list(states)],
            )

    def retained(self) -> None:
        """Let the retention pass for all that is over in the log, and for its counts."""
        for log in LOGS:
            with self.eyes[log].cursor() as cursor:
                cursor.execute(
                    "SELECT array_agg(DISTINCT tally) FROM integrity_cascade"
                    " WHERE ended_at IS NOT NULL"
                )
                ((tallies,),) = cursor.fetchall()
            self.execute(
                log,
                "UPDATE integrity_cascade SET ended_at = now() - interval '1 year'"
                " WHERE ended_at IS NOT NULL",
            )
            for alias in ALIASES:
                self.execute(
                    alias,
                    "UPDATE integrity_tally SET at = now() - interval '1 year'"
                    " WHERE tally = ANY(%s)",
                    [tallies],
                )

    def probes(self) -> int:
        """Let the time pass until databases that were away are asked again; gives their number."""
        away = [ChildDatabase.objects.using(log).exclude(probe_at=None) for log in LOGS]
        return sum(each.update(probe_at="2000-01-01T00:00:00Z") for each in away)


def _models(alias: str) -> list[Any]:
    return [kind.model for kind in KINDS.values() if kind.alias == alias]


def _look(alias: str) -> str:
    models = [*_models(alias), *((Deletion, Cascade) if alias in LOGS else ())]
    return " UNION ALL ".join(
        f"SELECT '{model._meta.label}', row_to_json(seen)::text"  # noqa: S608 (our own tables)
        f" FROM {model._meta.db_table} AS seen"
        for model in models
    )


def _clean(alias: str) -> str:
    logs = (Cascade, Deletion, ChildDatabase, Heartbeat, Audit) if alias in LOGS else ()
    tables = [model._meta.db_table for model in (*reversed(_models(alias)), Tally, *logs)]
    return ";".join(f"DELETE FROM {table}" for table in tables)  # noqa: S608 (our own tables)
