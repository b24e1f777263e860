"""All mutations."""

from __future__ import annotations

from . import columns, guards, listed, log, order, processes, request, scan, work

MUTATIONS = (
    *listed.MUTATIONS,
    *request.MUTATIONS,
    *log.MUTATIONS,
    *work.MUTATIONS,
    *scan.MUTATIONS,
    *guards.MUTATIONS,
    *columns.MUTATIONS,
    *order.MUTATIONS,
    *processes.MUTATIONS,
)
