"""All mutations."""

from __future__ import annotations

from . import listed, log, processes, request, scan, work

MUTATIONS = (
    *listed.MUTATIONS,
    *request.MUTATIONS,
    *log.MUTATIONS,
    *work.MUTATIONS,
    *scan.MUTATIONS,
    *processes.MUTATIONS,
)
