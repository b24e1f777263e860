"""A standby that replays slowly, and how far it is behind."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

import psycopg

from sandbox import roles
from tests import standby

from .result import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.servers import PostgreSQL

#: Replay goes on for a share of each of these periods.
PERIOD_SECONDS = 0.25
LOOK_SECONDS = 0.05
#: The age of the last commit that is replayed; 0 where all that was received is replayed.
LAG = (
    "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8"
)


@contextmanager
def slow_standby(primary: PostgreSQL) -> Iterator[SlowStandby]:
    """Run a standby of `primary`, whose replicas the owner of the tables may see."""
    with psycopg.connect(primary.url, autocommit=True) as session:
        session.execute(f"GRANT pg_read_all_stats TO {roles.OWNER}".encode())
    with standby.standby(primary, "slow") as server:
        replica = SlowStandby(server)
        try:
            yield replica
        finally:
            replica.close()


class SlowStandby:
    """Replays for `share` of the time: 1 is always, 0 a moment in each period."""

    def __init__(self, server: PostgreSQL) -> None:
        self.share = 1.0
        self._control, self._looks = (
            psycopg.connect(server.url, autocommit=True) for _ in range(2)
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._replay, name="replay")
        self._thread.start()

    def close(self) -> None:
        """End the threads and the sessions."""
        self._over.set()
        self._thread.join()
        for session in (self._control, self._looks):
            with suppress(psycopg.Error):
                session.close()

    def catch_up(self) -> None:
        """Wait until everything is replayed."""
        while self.lag() > 0:
            time.sleep(LOOK_SECONDS)

    def lag(self) -> float:
        """Return the seconds by which it is behind now."""
        row = self._looks.execute(LAG.encode()).fetchone()
        return float(row[0] or 0) if row else 0.0

    def _replay(self) -> None:
        while not self._over.is_set():
            share = self.share
            if share < 1:
                self._control.execute(b"SELECT pg_wal_replay_resume()")
                self._over.wait(PERIOD_SECONDS * share)
                self._control.execute(b"SELECT pg_wal_replay_pause()")
                self._over.wait(PERIOD_SECONDS * (1 - share))
            else:
                self._control.execute(b"SELECT pg_wal_replay_resume()")
                self._over.wait(PERIOD_SECONDS)


class LagWatch:
    """The lag of a standby, again and again, during a block."""

    def __init__(self, replica: SlowStandby) -> None:
        self.replica, self.seconds = replica, list[float]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lag")

    @property
    def p99(self) -> float:
        """The 99th percentile in seconds."""
        return percentile(self.seconds, 99)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.seconds.append(self.replica.lag())
