"""Mutations of deadlines: recorded, first in order, and told before they are missed."""

from __future__ import annotations

from .mutation import Mutation

ROOM = "apps/integrity"
T_NEAREST = "tests/integration/log/test_nearest_first.py"
T_MARGINS = "tests/integration/report/test_margins.py"
T_VERDICTS = "tests/unit/report/test_deadline_verdicts.py"

MUTATIONS = (
    Mutation(
        "deadlines-do-not-order",
        "deadlines: what is nearest its deadline waits for what is older",
        f"{ROOM}/backends/postgresql/log_sql.py",
        '_claim("order_at", " AND order_at IS NOT NULL")',
        '_claim("due_at", " AND order_at IS NOT NULL")',
        (f"{T_NEAREST}::test_what_is_nearest_its_deadline_is_claimed_first",),
    ),
    Mutation(
        "one-cascade-for-all-deadlines",
        "deadlines: a near deadline waits with later ones of its batch",
        f"{ROOM}/backends/deadlines.py",
        "return bisect.bisect_right(THRESHOLDS, remaining.total_seconds())",
        "return 0 if remaining else 1",
        (f"{T_NEAREST}::test_what_is_nearest_its_deadline_is_claimed_first",),
    ),
    Mutation(
        "many-rows-keep-their-place",
        "G7: a deletion with many rows and a near deadline holds up all others",
        f"{ROOM}/log/outcomes.py",
        "if last is not None and cascades:",
        "if last is None and cascades:",
        (f"{T_NEAREST}::test_many_rows_go_behind_all_that_is_due",),
    ),
    Mutation(
        "only-the-order",
        "G1: what was dispatched before deadlines were used is never claimed",
        f"{ROOM}/log/claims.py",
        "return (True, False)",
        "return (True,)",
        (f"{T_NEAREST}::test_a_claim_that_finds_nothing_in_the_order_takes_what_is_due",),
    ),
    Mutation(
        "a-later-setting-moves-deadlines",
        "deadlines: a stored deadline changes with the setting",
        f"{ROOM}/backends/postgresql/log_sql.py",
        'DEADLINE = """coalesce(deadline, recorded_at',
        'DEADLINE = """coalesce(NULL, recorded_at',
        (f"{T_NEAREST}::test_what_is_stored_wins_over_a_later_setting",),
    ),
    Mutation(
        "parts-keep-the-first-deadline",
        "G12: a deletion that was split off counts as late by the deadline of another one",
        f"{ROOM}/log/parts.py",
        "if cascade.deadline is None:\n        return {}",
        "if cascade.deadline is not None:\n        return {}",
        (f"{T_NEAREST}::test_a_part_that_is_split_off_has_its_own_deadline",),
    ),
    Mutation(
        "work-behind-a-deadline-is-not-told",
        "G11: a deadline is missed without an alarm before",
        f"{ROOM}/report/deadlines.py",
        "takes = before / rate",
        "takes = 1 / rate",
        (f"{T_MARGINS}::test_the_alarm_comes_before_it_is_late_and_ends",),
    ),
    Mutation(
        "silence-without-a-rate",
        "G11: a deadline is missed in a paused database without an alarm before",
        f"{ROOM}/report/deadlines.py",
        "return share * (left + due.age) / left",
        "return 0 * share * (left + due.age) / left",
        (f"{T_MARGINS}::test_a_paused_database_near_a_deadline_is_no_silence",),
    ),
    Mutation(
        "the-alarm-flutters",
        "G11: the alarm begins and ends with each change of the rate",
        f"{ROOM}/report/alarms.py",
        "CLEARED_BELOW = 0.8",
        "CLEARED_BELOW = 1.0",
        (f"{T_VERDICTS}::test_an_alarm_ends_well_below_where_it_began",),
    ),
    Mutation(
        "all-of-a-late-cascade-is-late",
        "G12: deletions count as late whose deadline has not passed",
        f"{ROOM}/report/deadlines.py",
        "named.filter(deadline__lte=ServerNow()).count()",
        "named.count()",
        (f"{T_MARGINS}::test_what_is_late_is_counted_wherever_it_is",),
    ),
)
