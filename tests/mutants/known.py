"""All mutations."""

from __future__ import annotations

from . import (
    capture,
    claims,
    deadlines,
    identity_and_brake,
    live_check,
    policies,
    pressure,
    reads,
    replays,
    rights,
    rows,
    steps,
    tallies,
    verified,
)

MUTATIONS = (
    *rows.MUTATIONS,
    *policies.MUTATIONS,
    *live_check.MUTATIONS,
    *reads.MUTATIONS,
    *claims.MUTATIONS,
    *capture.MUTATIONS,
    *deadlines.MUTATIONS,
    *verified.MUTATIONS,
    *identity_and_brake.MUTATIONS,
    *rights.MUTATIONS,
    *pressure.MUTATIONS,
    *tallies.MUTATIONS,
    *replays.MUTATIONS,
    *steps.MUTATIONS,
)
