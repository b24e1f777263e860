"""What each kind of database role needs, and the statements that grant it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import Error, connections

from ... import conf, relations
from ...backends import missing_tables, visibility
from ...relations import homes
from ...relations.plan import plan_for
from .. import sampling
from . import log, rows
from .collector import collected
from .privileges import INSERT, SELECT, UPDATE, on, quoted, require_role, statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...relations import Catalogue
    from .privileges import Need

#: The app whose tables hold beat's timetable, where it is not in the settings.
TIMETABLE = "django_celery_beat"


class Kind(enum.StrEnum):
    """What a role is for. One role may have several kinds: their privileges add up."""

    WORKER = "worker"
    WEB = "web"
    DASHBOARD = "dashboard"
    BEAT = "beat"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Grants:
    """The statements for one database, or the reason why there are none."""

    database: str
    statements: tuple[str, ...]
    skipped: str = ""


def grants(role: str, *kinds: Kind) -> tuple[Grants, ...]:
    """Return what `role` must be granted in each database, for a worker unless `kinds` are given.

    Raises:
        InvalidRole: the name stands for all roles, or PostgreSQL would truncate it.
    """
    require_role(role)
    catalogue = relations.catalogue()
    needs = {need for kind in kinds or (Kind.WORKER,) for need in NEEDS[kind](catalogue)}
    databases = dict.fromkeys((*catalogue.log_databases, *catalogue.child_databases))
    databases |= dict.fromkeys(sorted({need.database for need in needs} - {*databases}))
    return tuple(
        _in_database(alias, role, {need for need in needs if need.database == alias})
        for alias in databases
    )


def advice(alias: str, role: str) -> str:
    """Return what a superuser also has to do for a worker's role, as SQL; or "".

    Queries the database for tables with row level security. Leave that out if it cannot be reached.
    """
    return "\n".join(filter(None, (_secured(alias, role), _replicas(alias, role))))


def _replicas(alias: str, role: str) -> str:
    limits = conf.current().pressure_on(alias)
    if not limits.asks_the_server or connections[alias].vendor != "postgresql":
        return ""
    return (
        "-- INTEGRITY['pressure'] limits the lag of its replicas, which the worker has to see:\n"
        f"-- as a superuser, GRANT {sampling.RIGHT} TO {quoted(role)};"
    )


def _secured(alias: str, role: str) -> str:
    try:
        tables = visibility.secured(missing_tables.needed().get(alias, []), alias)
    except Error:
        return ""
    if not tables:
        return ""
    listed = " ".join(", ".join(tables).split())  # a comment ends with its line
    return (
        f"-- Row level security is on for {listed}. The worker has to see all rows:\n"
        f"-- as a superuser, ALTER ROLE {quoted(role)} BYPASSRLS;"
    )


def _in_database(alias: str, role: str, needs: set[Need]) -> Grants:
    vendor = connections[alias].vendor
    if vendor != "postgresql":
        guide = "; docs/how-to/mysql.md lists what a worker needs" if vendor == "mysql" else ""
        return Grants(alias, (), f"{vendor}: grants are made for PostgreSQL only{guide}")
    return Grants(alias, tuple(statements(role, needs, alias)))


def _worker(catalogue: Catalogue) -> Iterator[Need]:
    """Dispatches, cascades, verifies, scans, purges, and serves the command line."""
    for using in dict.fromkeys((*catalogue.log_databases, *catalogue.child_databases)):
        yield from log.of_worker(using)
    for relation in catalogue.relations:
        yield from rows.scanned(relation)
        if relation.policy.cascades:
            for database in relation.child_databases:
                yield from rows.cascaded(plan_for(relation), database, catalogue)
                yield from rows.asked_about(relation, database, catalogue)


def _web(catalogue: Catalogue) -> Iterator[Need]:
    """Deletes parents, and records it."""
    for relation in catalogue.relations:
        for home in relation.parent_databases:
            yield from collected(relation.parent, home, catalogue, set())


def _dashboard(catalogue: Catalogue) -> Iterator[Need]:
    """Shows the pages and `healthz`, and does what their buttons say."""
    for using in dict.fromkeys((*catalogue.log_databases, *catalogue.child_databases)):
        yield from log.of_pages(using)
    for relation in catalogue.relations:
        yield from rows.scanned(relation)
        yield from rows.counted(relation)


def _beat(_: Catalogue) -> Iterator[Need]:
    """Keeps the timetable of django-celery-beat, where that is installed."""
    if apps.is_installed(TIMETABLE):
        for model in apps.get_app_config(TIMETABLE).get_models():
            yield from on(homes.write_database(model), model, SELECT, INSERT, UPDATE)


def _log(catalogue: Catalogue) -> Iterator[Need]:
    """Runs the functions of capture triggers: INSERT, and nothing else."""
    for using in catalogue.log_databases:
        yield from log.captured(using)


NEEDS: dict[Kind, Callable[[Catalogue], Iterator[Need]]] = {
    Kind.WORKER: _worker,
    Kind.WEB: _web,
    Kind.DASHBOARD: _dashboard,
    Kind.BEAT: _beat,
    Kind.LOG: _log,
}
