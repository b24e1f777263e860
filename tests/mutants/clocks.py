"""Mutations of what is told and decided by clocks."""

from __future__ import annotations

from .mutation import Mutation

CLOCKS = "apps/integrity/backends/clocks.py"
T_BEAT = "tests/integration/test_beat.py"
T_CLOCKS = "tests/integration/test_clocks.py"
AGES = f"{T_CLOCKS}::test_ages_are_right_whatever_the_clock_of_the_reader_says"

MUTATIONS = (
    Mutation(
        "ages-by-the-clock-of-the-reader",
        "G11: a reader whose clock is behind sees no lag, and beat and workers alive",
        CLOCKS,
        "return ExpressionWrapper(Now() - since, output_field=DurationField())",
        "from django.db.models import Value\n\n    return ExpressionWrapper("
        "Value(timezone.now()) - since, output_field=DurationField())",
        (AGES,),
    ),
    Mutation(
        "throughput-by-the-clock-of-the-reader",
        "G11: a reader whose clock is ahead sees nothing that was finished lately",
        "apps/integrity/report/throughput.py",
        "    seconds = float(DAY_SECONDS)\n",
        "    from django.db.models import Value\n    from django.utils import timezone\n\n"
        "    now = Value(timezone.now())\n    seconds = float(DAY_SECONDS)\n",
        (f"{T_CLOCKS}::test_what_ended_lately_did_so_by_the_clock_of_the_log",),
    ),
    Mutation(
        "the-clock-of-a-worker-is-not-noted",
        "G11: nobody hears that a worker's clock is off",
        "apps/integrity/control.py",
        "    skew = clocks.skew(using, clock)\n",
        "    skew = None if clock else 0.0\n",
        (f"{T_CLOCKS}::TestDoctor::test_a_worker_whose_heartbeat_says_so",),
    ),
    Mutation(
        "beat-waits-for-the-clock-of-another",
        "G1: after beat's clock was set back, nothing that no message told is found for as long",
        "workers/beat.py",
        "        if self.last_run_at is not None and self.last_run_at > now:\n",
        "        if self.last_run_at is None:\n",
        (f"{T_BEAT}::test_what_a_clock_that_was_ahead_has_run_is_due_a_period_from_now",),
    ),
    Mutation(
        "alive-by-a-clock-that-is-set",
        "G11: a worker that hangs looks alive after its clock was set",
        "apps/integrity/queues/health.py",
        "age = time.monotonic() - float(alive_file(name).read_text())",
        "age = time.time() - alive_file(name).stat().st_mtime",
        ("tests/unit/test_workers.py::test_a_clock_that_was_set_makes_nobody_dead_or_alive",),
    ),
)
