"""Rights on the tables of this app: for workers, for the pages, for whoever records deletions.

Note [Server's clock]: a column that is not granted takes its default. So `Audit.at` is the
server's time, whatever a process would like it to be.

Note [What remains]: who moves the log's states on can end a deletion that is not done, and who
purges can delete it. No privilege of PostgreSQL tells a right move from a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...backends import missing_tables
from ...models import Alarm, Audit, Cascade, ChildDatabase, Deletion, Heartbeat, Identity, Scan
from .privileges import DELETE, INSERT, SELECT, UPDATE, Need, Privilege, column, on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...relations import Field, Model

#: What a row is about: nobody changes it, so that nobody re-aims a deletion.
FIXED: dict[Model, frozenset[str]] = {
    Deletion: frozenset({"parent", "key", "targets", "source", "relation"}),
    Cascade: frozenset({"deletion", "database", "recorded_at"}),
    Scan: frozenset({"relation", "database"}),
}

#: The columns of an INSERT that names them; the others of these tables take their defaults.
#: Everywhere else Django names all of them.
CAPTURED = frozenset({"parent", "key", "targets", "source", "state"})
INSERTED: dict[Model, frozenset[str]] = {
    Deletion: CAPTURED | {"relation", "fence"},
    Cascade: frozenset({"deletion", "database", "recorded_at"}),
    Audit: frozenset({"actor", "verb", "target", "reason"}),
}

#: What the worker does with each table. It adds to the audit and may not remove from it: nobody
#: removes traces of his own. The owner does that (control/retention.py).
WORKER: dict[Model, tuple[Privilege, ...]] = {
    Deletion: (SELECT, UPDATE, DELETE),
    Cascade: (SELECT, INSERT, UPDATE, DELETE),
    Scan: (SELECT, INSERT, UPDATE),
    Identity: (SELECT, INSERT, UPDATE),
    ChildDatabase: (SELECT, INSERT, UPDATE),
    Heartbeat: (SELECT, INSERT, UPDATE, DELETE),
    Alarm: (SELECT, INSERT, DELETE),
    Audit: (INSERT,),
}
#: What the pages show, and what their buttons do: pause, resume, retry, acknowledge, scan, repair.
PAGES: dict[Model, tuple[Privilege, ...]] = {
    Deletion: (SELECT, UPDATE),
    Cascade: (SELECT, UPDATE),
    Scan: (SELECT, INSERT, UPDATE),
    Identity: (SELECT, INSERT, UPDATE),
    ChildDatabase: (SELECT, INSERT, UPDATE),
    Heartbeat: (SELECT,),
    Alarm: (SELECT,),
    Audit: (SELECT, INSERT),
}
#: The columns that buttons change, where they are fewer than a worker's.
PRESSED: dict[Model, frozenset[str]] = {
    Deletion: frozenset({"state", "reason", "recorded_at", "ended_at", "fence"}),
    Cascade: frozenset({"state", "attempts", "due_at", "claim", "reason", "acknowledged_at"}),
}


def of_worker(using: str) -> Iterator[Need]:
    """What workers do with the tables of this app that are in a database."""
    yield from _of(WORKER, using, {})


def of_pages(using: str) -> Iterator[Need]:
    """What the dashboard, `healthz`, `metrics` and their buttons do with them."""
    yield from _of(PAGES, using, PRESSED)


def captured(using: str) -> Iterator[Need]:
    """What records a deletion: one INSERT. The key is an identity column, without a sequence."""
    for field in _fields(Deletion, CAPTURED):
        yield column(using, field, INSERT)


def suspected(using: str) -> Iterator[Need]:
    """What enters what a scan has found."""
    for field in _fields(Deletion, INSERTED[Deletion]):
        yield column(using, field, INSERT)


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
    """Those fields; all of them for None."""
    return [f for f in model._meta.concrete_fields if names is None or f.name in names]
