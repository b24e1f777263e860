"""All mutations."""

from __future__ import annotations

from . import (
    catalogue,
    columns,
    generic,
    guards,
    listed,
    log,
    order,
    processes,
    reads,
    request,
    scan,
    work,
)

MUTATIONS = (
    *listed.MUTATIONS,
    *request.MUTATIONS,
    *log.MUTATIONS,
    *work.MUTATIONS,
    *scan.MUTATIONS,
    *guards.MUTATIONS,
    *columns.MUTATIONS,
    *generic.MUTATIONS,
    *catalogue.MUTATIONS,
    *order.MUTATIONS,
    *processes.MUTATIONS,
    *reads.MUTATIONS,
)
