"""Mutations of what becomes of foreign text."""

from __future__ import annotations

from .mutation import Mutation
from .paths import CASCADE, FOREVER, MAINTENANCE, SCAN, STEPS, T_ALARMS, VERIFY

PLAIN = "apps/integrity/plain.py"
FIELDS = "apps/integrity/fields.py"
ISOLATION = "apps/integrity/isolation.py"
LOGGING = "apps/integrity/plain_logging.py"
T_ATTACK = "tests/security/test_attack_foreign_text.py"
T_ISOLATION = "tests/unit/test_isolation.py"
T_LOGGING = "tests/unit/test_plain_logging.py"
T_PLAIN = "tests/unit/test_plain.py"

MUTATIONS = (
    Mutation(
        "control-characters-pass",
        "escape codes of others reach a terminal, and a NUL the database",
        PLAIN,
        "if character.isprintable() and character not in INVISIBLE:",
        "if True:",
        (f"{T_PLAIN}::test_hostile_characters_are_shown_as_escapes",),
    ),
    Mutation(
        "a-reason-without-bound",
        "a message of 50 MB is stored and shown",
        PLAIN,
        "    sample = whole[: limit * SAMPLE]",
        "    sample, limit = whole, max(1, len(whole))",
        (f"{T_PLAIN}::test_the_whole_text_is_never_looked_at",),
    ),
    Mutation(
        "a-reason-in-prose",
        "personal data: what a server or a receiver says of an error quotes rows",
        PLAIN,
        "    words = [_class_name(error), code_of(error)]",
        "    words = [_class_name(error), code_of(error), str(error)]",
        (f"{T_PLAIN}::TestErrors::test_no_word_of_a_foreign_text",),
    ),
    Mutation(
        "columns-take-any-text",
        "a NUL in a reason is refused by PostgreSQL, and what should be noted is not",
        FIELDS,
        "return None if value is None else plain(value, self.max_length or LIMIT)",
        "return value",
        (f"{T_ATTACK}::test_each_writer_of_the_log_writes_plain_text",),
    ),
    Mutation(
        "reasons-of-relations-take-any-text",
        "the same, of the reasons by relation",
        FIELDS,
        "return {plain(name): plain(reason) for name, reason in value.items()}",
        "return dict(value)",
        (f"{T_ATTACK}::test_each_writer_of_the_log_writes_plain_text",),
    ),
    Mutation(
        "values-logged-as-they-come",
        "foreign text forges lines of the log",
        LOGGING,
        "return reason_of_error(value) if isinstance(value, BaseException) else plain(value)",
        "return value",
        (f"{T_LOGGING}::test_a_value_is_one_plain_line",),
    ),
    Mutation(
        "tracebacks-in-the-log",
        "personal data: a traceback ends with the error's text",
        LOGGING,
        '        if level > logging.DEBUG:\n            options.pop("exc_info", None)\n',
        "",
        (f"{T_LOGGING}::test_an_error_is_its_class_and_the_code_that_it_came_through",),
    ),
    Mutation(
        "an-unnoted-failure-ends-the-run",
        "G7: one failure that cannot be noted holds up all other cascades",
        CASCADE,
        "with isolated(what, passing=self.away), control.watched(claim.using):",
        "with control.watched(claim.using):",
        (f"{T_ATTACK}::test_a_failure_that_cannot_be_noted_stops_no_other_cascade",),
    ),
    Mutation(
        "an-unnoted-probe-ends-the-run",
        "G7: one probe whose failure cannot be noted holds up all others",
        VERIFY,
        'with isolated(f"noting a failure in {done.database}", passing=away):',
        "if True:",
        (f"{T_ATTACK}::test_a_probe_whose_failure_cannot_be_noted_stops_no_other",),
    ),
    Mutation(
        "an-unnoted-scan-ends-the-run",
        "G9: one relation whose scan cannot be given back keeps all others from theirs",
        SCAN,
        "                found.append(_failed(relation, database, error))\n",
        "                raise\n",
        (f"{T_ATTACK}::test_a_scan_that_cannot_be_given_back_stops_no_other",),
    ),
    Mutation(
        "a-receivers-exit-ends-the-worker",
        "G7: sys.exit() in a receiver ends the process that deletes rows, again and again",
        STEPS,
        "with contained():",
        "if True:",
        (f"{T_ATTACK}::test_a_task_called_in_place_ends_well",),
    ),
    Mutation(
        "a-signals-exit-is-swallowed",
        "a worker that is told to end goes on",
        ISOLATION,
        "        if _is_handler(step.tb_frame):",
        "        if False:",
        (f"{T_ISOLATION}::test_a_signals_exit_ends_the_process",),
    ),
    Mutation(
        "an-exit-ends-drain-forever",
        "a receiver's SystemExit ends the only process that does the work",
        FOREVER,
        "            if ends_the_process(error):\n                raise\n",
        "            if not isinstance(error, Exception):\n                raise\n",
        (f"{T_ATTACK}::test_an_exit_of_one_database_ends_no_other",),
    ),
    Mutation(
        "maintenance-stops-at-a-failure",
        "G11: where repair fails, no alarm is told and nothing is purged",
        MAINTENANCE,
        'with isolated(f"{name} of the log in {using}", passing=(DatabaseHindered,)):',
        "if True:",
        (
            f"{T_ATTACK}::test_a_step_of_maintenance_that_fails_stops_no_other",
            f"{T_ALARMS}::test_figures_that_cannot_be_read_keep_nobody_from_other_work",
        ),
    ),
)
