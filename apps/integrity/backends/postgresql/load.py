"""What a PostgreSQL server says of its replicas, and the token for work in a busy database."""

from __future__ import annotations

from ..replica import Replica
from .sql import fetch

#: Any number that nothing else uses: advisory locks are of one database, and of all its sessions.
TOKEN = 0x696E_7465_6772_6974
#: A base backup streams as well, and replays nothing. Without the rights of pg_read_all_stats, all
#: columns of other roles' sessions are null.
REPLICAS = (
    "SELECT coalesce(nullif(application_name, ''), 'pid ' || pid),"
    " pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,"
    " pg_wal_lsn_diff(replay_lsn, '0/0')::bigint, extract(epoch FROM replay_lag)::float8,"
    " state IS NOT NULL"
    " FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'"
)


class PostgreSQLLoad:
    """See `LoadBackend`."""

    def replicas(self, *, using: str) -> list[Replica] | None:
        return [
            Replica(name=name, written=written, replayed=replayed, seconds=lag, visible=visible)
            for name, written, replayed, lag, visible in fetch(using, REPLICAS, [])
        ]

    def take_token(self, *, using: str) -> bool:
        ((taken,),) = fetch(using, "SELECT pg_try_advisory_xact_lock(%s)", [TOKEN])
        return bool(taken)
