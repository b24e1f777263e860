"""The privileges on this app's tables: for workers, the dashboard, and processes that delete.

Note [Server's clock]: a column without INSERT takes its default. So `Audit.at` is the server's
time, and no process can set it.

Note [What remains]: a role that may change the log's states can end a deletion that is not done,
and a role that purges can delete it. A role that splits cascades, as an operator does who retries
one deletion of a batch, can insert a cascade and change what it says was removed. No privilege of
PostgreSQL can prevent that. The parents are checked again before each commit, so no row of a living
parent is lost by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...backends import missing_tables
from ...models import (
    Alarm,
    Audit,
    Cascade,
    ChildDatabase,
    Deletion,
    FailedAttempt,
    Finding,
    Heartbeat,
    Identity,
    Scan,
    Scope,
    Suspect,
    Tally,
)
from .privileges import DELETE, INSERT, SELECT, UPDATE, Need, Privilege, column, on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...relations import Field, Model

#: Columns that no role may update, so that none can point a deletion at another parent.
FIXED: dict[Model, frozenset[str]] = {
    Deletion: frozenset(
        {"parent", "key", "targets", "source", "relation", "actor", "reference", "because"}
    ),
    Cascade: frozenset({"batch", "parent", "relation", "database", "recorded_at", "dispatched_at"}),
    Suspect: frozenset({"parent", "relation", "field", "value"}),
    Scan: frozenset({"relation", "database"}),
}

#: The columns of INSERT statements that name only some; the others take their defaults. For all
#: other tables Django names every column.
CAPTURED = frozenset({"parent", "key", "targets", "source"})
#: What a process that deletes may state besides; what confirms a suspect states nothing.
STATED = frozenset({"actor", "reference", "because", "deadline"})
INSERTED: dict[Model, frozenset[str]] = {
    Deletion: CAPTURED | {"relation"},
    Audit: frozenset({"actor", "verb", "target", "reason"}),
}

#: What the worker does with each table. It adds to the audit but does not delete from it, and so
#: cannot hide its own actions. The owner of the table deletes old rows (control/retention.py).
WORKER: dict[Model, tuple[Privilege, ...]] = {
    Deletion: (SELECT, INSERT, UPDATE, DELETE),
    Suspect: (SELECT, INSERT, UPDATE, DELETE),
    Cascade: (SELECT, INSERT, UPDATE, DELETE),
    Scan: (SELECT, INSERT, UPDATE),
    Identity: (SELECT, INSERT, UPDATE),
    Tally: (SELECT, INSERT, UPDATE, DELETE),
    Finding: (SELECT, INSERT, UPDATE, DELETE),
    ChildDatabase: (SELECT, INSERT, UPDATE),
    Heartbeat: (SELECT, INSERT, UPDATE, DELETE),
    Alarm: (SELECT, INSERT, DELETE),
    Audit: (INSERT,),
    Scope: (SELECT, INSERT),
    FailedAttempt: (SELECT, INSERT, UPDATE, DELETE),
}
#: For what the pages show and their buttons do: pause, resume, retry, acknowledge, scan, repair.
PAGES: dict[Model, tuple[Privilege, ...]] = {
    Deletion: (SELECT, INSERT),
    Suspect: (SELECT, UPDATE, DELETE),
    Cascade: (SELECT, INSERT, UPDATE),
    Scan: (SELECT, INSERT, UPDATE),
    Identity: (SELECT, INSERT, UPDATE),
    Tally: (SELECT, INSERT),
    Finding: (),
    ChildDatabase: (SELECT, INSERT, UPDATE),
    Heartbeat: (SELECT,),
    Alarm: (SELECT,),
    Audit: (SELECT, INSERT),
    Scope: (SELECT,),
    FailedAttempt: (SELECT,),
}
#: The columns that a worker changes, for tables in which it does not change all others.
WORKED: dict[Model, frozenset[str]] = {
    Deletion: frozenset({"batch", "cancelled_at", "reason", "deadline"}),
    Suspect: frozenset({"fence"}),
    Tally: frozenset({"counts", "keys", "targets", "at"}),
    Finding: frozenset({"erased_at"}),
    FailedAttempt: frozenset({"deletions", "at"}),
}
#: The columns that buttons change, for tables in which a worker changes more.
PRESSED: dict[Model, frozenset[str]] = {
    Suspect: WORKED[Suspect],
    Cascade: frozenset(
        {
            *("state", "attempts", "due_at", "claim", "acknowledged_at"),
            # A split: log/parts.py.
            *("deletions", "size", "rows", "kept", "tally", "deadline", "order_at"),
        }
    ),
}


def of_worker(using: str) -> Iterator[Need]:
    """Yield the needs of workers on the tables of this app in that database."""
    yield from _of(WORKER, using, WORKED)


def of_pages(using: str) -> Iterator[Need]:
    """Yield the needs of the dashboard, `healthz` and `metrics` on these tables."""
    yield from _of(PAGES, using, PRESSED)


def captured(using: str) -> Iterator[Need]:
    """Yield the needs for recording a deletion: one INSERT, no sequence (the id is an identity)."""
    for field in _fields(Deletion, CAPTURED | STATED):
        yield column(using, field, INSERT)


def suspected(using: str) -> Iterator[Need]:
    """Yield the needs for entering suspects, as a scan does."""
    yield from _of({Suspect: (SELECT, INSERT, UPDATE)}, using, WORKED)


def _of(
    rights: Mapping[Model, tuple[Privilege, ...]],
    using: str,
    changed: Mapping[Model, frozenset[str]],
) -> Iterator[Need]:
    tables = missing_tables.own(using)
    for model, privileges in rights.items():
        if model in tables:
            for privilege in privileges:
                yield from _on(model, privilege, using, changed.get(model))


def _on(
    model: Model, privilege: Privilege, using: str, changed: frozenset[str] | None
) -> Iterator[Need]:
    if privilege is UPDATE:
        fixed = FIXED.get(model, frozenset())
        for field in _fields(model, changed):
            if field.name not in fixed and not field.primary_key:
                yield column(using, field, UPDATE)
    elif privilege is INSERT and model in INSERTED:
        for field in _fields(model, INSERTED[model]):
            yield column(using, field, INSERT)
    else:
        yield from on(using, model, privilege)


def _fields(model: Model, names: frozenset[str] | None) -> list[Field]:
    """Return the fields with those names; all fields for None."""
    return [field for field in model._meta.concrete_fields if names is None or field.name in names]
