"""Mutations of what becomes of foreign text."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CASCADE,
    EXCEPTIONS,
    FOREVER,
    MAINTENANCE,
    SCAN,
    STEPS,
    T_ALARMS,
    TASKS,
    VERIFY,
)

PLAIN = "apps/integrity/plain.py"
FIELDS = "apps/integrity/fields.py"
ISOLATION = "apps/integrity/isolation.py"
METRICS = "apps/integrity/metrics.py"
PARSER = "apps/integrity/management/plain_parser.py"
LOGGING = "apps/integrity/plain_logging.py"
T_ATTACK = "tests/security/test_attack_foreign_text.py"
T_ARGUMENTS = "tests/security/test_attack_arguments.py"
T_FAILED = "tests/security/test_attack_failed_task.py"
T_FAILED_TASK = "tests/unit/test_failed_task.py"
T_METRICS = "tests/security/test_attack_metrics.py"
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
    Mutation(
        "a-failed-task-quotes",
        "personal data: the worker's log, its events and Flower show what a receiver said",
        TASKS,
        '            failure = TaskFailed(f"{self.name}: {reason_of_error(error)}")\n',
        "            failure = error\n",
        (f"{T_FAILED}::test_nobody_is_told_what_a_receiver_said",),
    ),
    Mutation(
        "a-failed-task-quotes-its-cause",
        "the same, of what the error was raised from",
        TASKS,
        "    error.__cause__ = error.__context__ = None\n    error.__suppress_context__ = True\n",
        "",
        (f"{T_FAILED_TASK}::test_what_celery_acts_upon_stays_and_is_alone",),
    ),
    Mutation(
        "a-time-limit-is-a-failure-like-any",
        "Celery acts upon Retry, Ignore, Reject and the time limit by their classes",
        TASKS,
        "except (*MEANT_FOR_CELERY, *self.throws) as error:",
        "except self.throws as error:",
        (f"{T_FAILED_TASK}::test_what_celery_acts_upon_stays_and_is_alone",),
    ),
    Mutation(
        "a-task-called-as-a-function-hides-its-error",
        "who debugs a task in a shell is told a class and no more",
        TASKS,
        "        if self.request.called_directly:\n            super().__call__(*args, **kwargs)\n"
        "            return\n        try:",
        "        try:",
        (f"{T_FAILED_TASK}::test_called_as_a_function_it_raises_what_it_meets",),
    ),
    Mutation(
        "a-receiver-speaks-for-a-database",
        "personal data: a listener to connections is quoted as if the server had said it",
        EXCEPTIONS,
        "(code_of(error) or receiver_of(error))",
        "code_of(error)",
        (f"{T_FAILED}::test_nobody_is_told_what_a_receiver_said",),
    ),
    Mutation(
        "arguments-that-are-no-text",
        "a key with a lone surrogate ends in a traceback of the driver's",
        PARSER,
        'if "\\0" in argument or not _is_utf8(argument):',
        "if False:",
        (f"{T_ARGUMENTS}::test_a_shell_s_bytes_end_in_a_line",),
    ),
    Mutation(
        "arguments-without-bound",
        "1 MB of somebody's text is asked for, and printed",
        PARSER,
        "if len(argument) > ARGUMENT_CHARS:",
        "if False:",
        (f"{T_ARGUMENTS}::test_a_text_key_is_asked_for_as_text_alone",),
    ),
    Mutation(
        "usage-errors-as-they-come",
        "an argument's escape codes steer the terminal that shows the usage error",
        PARSER,
        "super().error(plain(message, LINE_CHARS))",
        "super().error(message)",
        (f"{T_ARGUMENTS}::test_a_usage_error_steers_no_terminal",),
    ),
    Mutation(
        "labels-as-they-come",
        "names that somebody wrote into the log steer a terminal, or break a scrape",
        METRICS,
        "super().add_metric([*map(plain, labels)], value, timestamp)",
        "super().add_metric(labels, value, timestamp)",
        (f"{T_METRICS}::test_a_database_that_the_log_names",),
    ),
)
