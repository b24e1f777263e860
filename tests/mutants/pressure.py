"""Mutations of the pace: what keeps work on a busy database from hurting its neighbours."""

from __future__ import annotations

from .mutation import Mutation
from .paths import CASCADE, PACING, PRESSURE, SAMPLING, T_ATTACK_FOREIGN_TEXT, T_PACING, T_PRESSURE

MUTATIONS = (
    Mutation(
        "works-without-the-token",
        "pressure: two workers take steps in a busy database at the same time",
        PACING,
        "            if not taken:",
        "            if False:",
        (f"{T_PACING}::TestOneAtATime::test_two_workers_never_overlap_in_a_busy_database",),
    ),
    Mutation(
        "rests-for-itself-alone",
        "pressure: each of several workers changes the rows that all may change together",
        PACING,
        'Greatest(Coalesce(F("rests_until"), begin), begin)',
        "Greatest(begin, begin)",
        (f"{T_PACING}::TestRows::test_by_all_workers_together",),
    ),
    Mutation(
        "an-old-pace-is-todays",
        "pressure: a worker takes the pace of an hour ago for that of today",
        PACING,
        "pace=before.document() if before else None)",
        'pace=F("pace"))',
        (f"{T_PACING}::TestBusy::test_nobody_takes_an_old_pace_for_todays",),
    ),
    Mutation(
        "a-pace-with-foreign-text",
        "security: the reason of a pace is stored as somebody else wrote it",
        PRESSURE,
        "asdict(replace(self, reason=plain(self.reason)))",
        "asdict(self)",
        (f"{T_ATTACK_FOREIGN_TEXT}::test_the_reason_in_a_pace_is_written_as_plain_text",),
    ),
    Mutation(
        "unknown-load-is-none",
        "pressure: a load that cannot be told counts as none",
        PRESSURE,
        "yield CAUTIOUS_SHARE, reason",
        "yield 1.0, reason",
        (f"{T_PACING}::TestUnknown::test_nonsense_is_not_idle_and_stops_nothing",),
    ),
    Mutation(
        "hidden-lag-is-none",
        "pressure: a lag that the role may not see counts as none",
        SAMPLING,
        "        if not replica.visible:\n",
        "        if not replica.visible:\n            return Lag(seconds=0.0)\n        if False:\n",
        (f"{T_PRESSURE}::TestSlowest::test_null_is_unknown",),
    ),
    Mutation(
        "works-in-quiet-hours",
        "pressure: a worker asks the database something in its quiet hours",
        CASCADE,
        "    if run.done.quiet:",
        "    if False:",
        (f"{T_PACING}::TestQuietHours::test_nothing_works_in_them_and_everything_after_them",),
    ),
)
