"""Asks how busy a child database is, and how far its replicas are behind. Never raises for that.

What cannot be told is named in the sample (Note [Unknown] in pressure.py).
"""

from __future__ import annotations

import math
import reprlib
from typing import TYPE_CHECKING

from django.db import Error, connections

from .. import backends, conf
from ..backends.errors import words_of
from ..conf import pressure as options
from ..exceptions import InvalidSetting
from ..exceptions.redaction import plain, reason_of_error
from .pressure import Lag, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..backends.connections import Interrupts
    from ..backends.replica import Replica
    from ..conf.pressure import Question

#: The right to see the columns of `pg_stat_replication`. It is a part of pg_monitor.
RIGHT = "pg_read_all_stats"


class Unknown(Exception):
    """Something could not be told. Its text says what, and why."""


def sample(database: str, interrupts: Interrupts = ()) -> Sample:
    """Return the load of a child database now. Raises only what of `interrupts` is raised."""
    limits, unknown = conf.current().pressure_on(database), list[str]()
    busy: float | None = None
    lag: Lag | None = None
    try:
        if limits.busy is not None:
            busy = _asked(database, "busy", limits.busy, 1.0, interrupts)
    except Unknown as error:
        unknown.append(plain(error))
    try:
        if limits.replica_lag is not None:
            seconds = _asked(database, "replica_lag", limits.replica_lag, math.inf, interrupts)
            lag = Lag(seconds=seconds)
        elif limits.asks_the_server:
            lag = slowest(_replicas(database))
    except Unknown as error:
        unknown.append(plain(error))
    return Sample(busy=busy, lag=lag, unknown=tuple(unknown))


def slowest(replicas: Sequence[Replica]) -> Lag:
    """Return the lag of the slowest of a server's replicas. Raises `Unknown`. Pure."""
    if not replicas:
        raise Unknown("no replica is connected to it, so the lag is unknown")
    for replica in replicas:
        if not replica.visible:
            raise Unknown(f"its role may not see the lag of {replica.name}: GRANT {RIGHT} to it")
        if replica.replayed is None or replica.written is None:
            raise Unknown(f"the replica {replica.name} does not say what it has replayed")
    last = min(replicas, key=lambda replica: replica.replayed or 0)
    seconds = [replica.seconds for replica in replicas if replica.seconds is not None]
    return Lag(seconds=max(seconds, default=None), written=last.written, replayed=last.replayed)


def _replicas(database: str) -> list[Replica]:
    try:
        replicas = backends.load_backend(database).replicas(using=database)
    except Error as error:
        words = words_of(error, connections[database].vendor)
        raise Unknown(f"the lag of its replicas cannot be read: {words}") from error
    if replicas is None:
        engine = connections[database].display_name
        raise Unknown(f"{engine} does not tell the lag of its replicas: set replica_lag")
    return replicas


def _asked(
    database: str, option: str, question: Question, most: float, interrupts: Interrupts
) -> float:
    """Return what the function of an option answers. Raises `Unknown`."""
    place = options.name_of(database, option, conf.current().pressure)
    try:
        ask: Callable[[str], object] = options.function(place, question)
        answer = ask(database)
    except interrupts:
        raise
    except InvalidSetting as error:
        raise Unknown(str(error)) from error
    except Exception as error:
        raise Unknown(f"{place} failed: {reason_of_error(error)}") from error
    if not isinstance(answer, int | float) or not 0 <= answer <= most or answer == math.inf:
        wanted = "a number from 0 to 1" if most == 1 else "seconds"
        raise Unknown(f"{place} returned {reprlib.repr(answer):.100}, not {wanted}")
    return float(answer)
