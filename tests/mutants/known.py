"""All mutations."""

from __future__ import annotations

from . import (
    catalogue,
    clocks,
    columns,
    differential,
    foreign_text,
    generic,
    guards,
    hindered,
    listed,
    log,
    names,
    order,
    processes,
    reads,
    request,
    scan,
    secrets,
    strangers,
    stuck,
    work,
)

MUTATIONS = (
    *listed.MUTATIONS,
    *request.MUTATIONS,
    *log.MUTATIONS,
    *work.MUTATIONS,
    *hindered.MUTATIONS,
    *scan.MUTATIONS,
    *guards.MUTATIONS,
    *columns.MUTATIONS,
    *generic.MUTATIONS,
    *catalogue.MUTATIONS,
    *clocks.MUTATIONS,
    *differential.MUTATIONS,
    *foreign_text.MUTATIONS,
    *names.MUTATIONS,
    *order.MUTATIONS,
    *processes.MUTATIONS,
    *reads.MUTATIONS,
    *secrets.MUTATIONS,
    *strangers.MUTATIONS,
    *stuck.MUTATIONS,
)
