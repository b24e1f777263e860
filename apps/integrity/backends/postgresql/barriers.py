"""Barriers from PostgreSQL's transaction ids. See `BarrierBackend`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, transaction

from ..barriers import Barrier, Blocker, Holder, Horizon, Sighting
from .sql import fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...relations import Field

#: Identity of a server. It changes with a restored dump, an upgrade and a promotion; for a copy of
#: the data directory only the port differs. It survives a restart: otherwise nothing would be
#: verified on a server that is started for each job.
CONTROL_FILE = (
    "(SELECT system_identifier FROM pg_control_system()) || '/' ||"
    " (SELECT timeline_id FROM pg_control_checkpoint()) || '/' || current_setting('port')"
)
STARTED_AT = "'started ' || extract(epoch FROM pg_postmaster_start_time())"
#: Insufficient privilege, undefined function, feature not supported.
NO_CONTROL_FILE = {"42501", "42883", "0A000"}
#: Transaction ids: the oldest that is open, and one past the last that has ended. The transaction
#: that asks counts as ended.
HORIZON = (
    "SELECT pg_snapshot_xmin(now)::text::bigint,"
    " greatest(pg_snapshot_xmax(now), pg_current_xact_id_if_assigned())::text::bigint, {server}"
    " FROM pg_current_snapshot() AS now"
)
#: Only transactions with an id hold the horizon back: those that have written, in any database of
#: the server, and prepared ones. Readers, replication slots and standbys do not.
BLOCKER = (
    "SELECT oldest.number::text::bigint, oldest.following::text::bigint, session.pid,"
    " coalesce(nullif(session.application_name, ''), session.backend_type),"
    " coalesce(prepared.database, session.datname), prepared.owner, session.state, prepared.gid,"
    " to_char(coalesce(prepared.prepared, session.xact_start) AT TIME ZONE 'UTC',"
    " 'YYYY-MM-DD HH24:MI:SS \"UTC\"')"
    " FROM (SELECT pg_snapshot_xmin(now) AS number, pg_snapshot_xmax(now) AS following"
    " FROM pg_current_snapshot() AS now) AS oldest"
    " LEFT JOIN pg_stat_activity AS session ON session.backend_xid = oldest.number::xid"
    " LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = oldest.number::xid"
    " LIMIT 1"
)


NEW = "SELECT pg_current_xact_id()::text::bigint, {server}"
#: Beside a barrier or the horizon.
IDENTITIES = (
    "SELECT (SELECT json_object_agg(alias, uuid)::text FROM integrity_identity), sighting.*"
    " FROM ({moment}) AS sighting"
)


class PostgreSQLBarriers:
    """See `BarrierBackend`."""

    def horizon(self, *, using: str) -> Horizon | None:
        oldest, following, server = _with_server(using, HORIZON)
        return Horizon(oldest=oldest, following=following, server=server)

    def new_barrier(self, *, using: str) -> Barrier | None:
        number, server = _with_server(using, NEW)
        return Barrier(number=number, server=server)

    def blocker(self, *, using: str) -> Blocker | None:
        ((number, following, pid, application, database, owner, state, gid, since),) = fetch(
            using, BLOCKER, []
        )
        if gid is None and pid is None and number >= following:
            return None
        kind = Holder.UNSEEN if pid is None else Holder.SESSION
        kind = kind if gid is None else Holder.PREPARED
        return Blocker(
            number=number,
            kind=kind,
            pid=pid,
            application=application or "",
            database=database or "",
            owner=owner or "",
            state=state or "",
            gid=gid or "",
            since=since or "",
        )

    def sighting(self, *, barrier: bool, using: str) -> Sighting:
        sql = IDENTITIES.format(moment=NEW if barrier else HORIZON)
        known, *numbers, server = _with_server(using, sql)
        identities = json.loads(known or "{}")
        if barrier:
            (number,) = numbers
            return Sighting(identities=identities, barrier=Barrier(number=number, server=server))
        oldest, following = numbers
        horizon = Horizon(oldest=oldest, following=following, server=server)
        return Sighting(identities=identities, horizon=horizon)

    def uncommitted_keys(
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        keys: Sequence[Any],  # noqa: ARG002 (the protocol's)
        *,
        using: str,  # noqa: ARG002 (the protocol's)
    ) -> set[Any]:
        return set()

    def describe_holder(self, *, using: str) -> str:  # noqa: ARG002 (the protocol's)
        return ""


def _with_server(using: str, sql: str) -> tuple[Any, ...]:
    """Return the one row of a statement that ends with the server's identity.

    Where the role may not read the control file, or the server has none, the time at which the
    server started is its identity. Barriers are then taken anew after each restart.
    """
    connection = connections[using]
    try:
        with transaction.atomic(using=using) if connection.in_atomic_block else nullcontext():
            (row,) = fetch(using, sql.format(server=CONTROL_FILE), [])
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", "") not in NO_CONTROL_FILE:
            raise
        (row,) = fetch(using, sql.format(server=STARTED_AT), [])
    return row
