"""Mutations of what is done about databases that cannot be worked on now, and of odd errors."""

from __future__ import annotations

from .mutation import Mutation
from .paths import (
    CASCADE,
    CODES,
    CONNECTIONS,
    CONTROL,
    FOREGROUND,
    FOREVER,
    KEYS,
    SCAN,
    T_HINDERED,
    T_PRIMARIES,
    T_TASKS,
    VERIFY,
)

WAITS_ALONE = f"{T_HINDERED}::test_it_waits_alone_uncounted_with_its_reason_and_heals_by_itself"

MUTATIONS = (
    Mutation(
        "connects-for-minutes",
        "G6: a server that accepts and never answers holds up who asks whether it does",
        CONNECTIONS,
        '"connect_timeout": CONNECT_SECONDS',
        '"connect_timeout": 40',
        (
            f"{T_HINDERED}::test_a_server_that_accepts_and_never_answers_is_not_waited_for_without_end",
        ),
    ),
    Mutation(
        "a-full-disk-is-a-failure",
        "G6: a disk that is full burns the attempts of everything",
        CODES,
        '"53": "it lacks a resource",\n            "53100": "its disk is full",',
        "",
        (f"{WAITS_ALONE}[full-cannot be worked on: its disk is full (53100)-]",),
    ),
    Mutation(
        "healed-before-it-worked",
        "G11: a database whose disk is full looks well at each probe",
        CONTROL,
        "        work(using, healed)\n",
        "        healed()\n        work(using, healed)\n",
        (f"{WAITS_ALONE}[full-cannot be worked on: its disk is full (53100)-]",),
    ),
    Mutation(
        "readers-declare-it-healed",
        "G11: a verification that only reads says that a full disk is well",
        CONTROL,
        "if not writes and database in log.due_databases(using=using):",
        "if False:",
        (f"{T_HINDERED}::test_what_only_reads_does_not_declare_it_healed[full]",),
    ),
    Mutation(
        "no-write-probes",
        "G11: a server that is read-only looks well as soon as nothing is due",
        CONTROL,
        "identity.touch(database)",
        "pass",
        (
            (
                f"{T_HINDERED}::test_one_that_stays_read_only_with_nothing_to_remove"
                "_does_not_look_healed"
            ),
        ),
    ),
    Mutation(
        "first-contact-ends-the-drain",
        "G6: an identity that cannot be written ends a drain before it reaches other databases",
        CONTROL,
        'raise DatabaseHindered(alias, f"its identity cannot be told, {words}") from error',
        "raise",
        (f"{T_HINDERED}::test_an_identity_that_cannot_be_told_is_no_end_of_the_drain",),
    ),
    Mutation(
        "the-child-is-blamed",
        "G11: a log that is read-only is told as an outage of the child's database",
        CONNECTIONS,
        "alias = database_of(error) or database",
        "alias = database",
        (
            (
                f"{T_HINDERED}::TestTheLog"
                "::test_a_log_that_is_read_only_is_named_and_its_child_is_not_blamed"
            ),
        ),
    ),
    Mutation(
        "a-note-that-fails-ends-the-run",
        "G6: a log that is read-only ends the run of a child database that is away",
        CONTROL,
        "        except Error as error:  # a log that is read-only",
        "        except ZeroDivisionError as error:  # a log that is read-only",
        (f"{T_HINDERED}::TestTheLog::test_a_hindrance_that_cannot_be_noted_is_told_all_the_same",),
    ),
    Mutation(
        "slow-is-away",
        "G11: a database that works slowly is told to be away",
        CONTROL,
        "        if is_alive(silent):",
        "        if False:",
        (f"{T_TASKS}::TestVerify::test_the_time_limit_is_told_and_proves_nothing",),
    ),
    Mutation(
        "a-slow-probe-is-a-failure",
        "G6: a probe that takes too long sends what is done back to work",
        VERIFY,
        "halved = trouble is Trouble.TOO_LARGE and len(claim.cascades) > 1",
        "halved = False",
        (f"{T_HINDERED}::test_a_probe_that_takes_too_long_is_made_again_for_fewer",),
    ),
    Mutation(
        "a-lock-is-a-failed-probe",
        "G6: a probe that meets a lock sends what is done back to work",
        VERIFY,
        "halved or trouble is Trouble.CONTENTION",
        "halved",
        (f"{T_HINDERED}::test_a_probe_that_meets_a_lock_is_made_again",),
    ),
    Mutation(
        "a-scan-never-takes-less",
        "G8: a step of a scan that takes too long is taken again as it is",
        SCAN,
        "run.pace.rows = max(1, run.pace.rows // 2)",
        "pass",
        (f"{T_HINDERED}::test_a_step_that_takes_too_long_is_halved_down_to_one_and_remembered",),
    ),
    Mutation(
        "an-odd-error-ends-drain-forever",
        "G6: a mistake in one database's work ends the process of all",
        FOREVER,
        "except FAILURES as error:",
        "except ZeroDivisionError as error:",
        (f"{T_HINDERED}::TestForever::test_nothing_but_a_signal_ends_it",),
    ),
    Mutation(
        "a-broken-database-ends-the-drain",
        "G6: an error of one database's work keeps a drain from the others",
        FOREGROUND,
        "except (Error, CrossDatabaseError, UnicodeError) as error:",
        "except ZeroDivisionError as error:",
        (f"{T_HINDERED}::test_an_odd_error_of_one_database_keeps_a_drain_from_no_other",),
    ),
    Mutation(
        "a-session-stays-read-only",
        "G6: a session that began while the server was read-only is used for good",
        CONNECTIONS,
        "        if not connection.in_atomic_block:\n            connection.close()",
        "        pass",
        (
            (
                f"{T_HINDERED}::TestForever"
                "::test_a_process_goes_on_with_the_others_and_finishes_when_it_is_healed"
            ),
        ),
    ),
    Mutation(
        "a-probe-waits-for-good",
        "G6: verification waits for a locked table as long as the lock lasts",
        VERIFY,
        "        statements.on(database).begin_step(lock_seconds=seconds, using=database)\n",
        "",
        (f"{T_HINDERED}::test_a_probe_that_meets_a_lock_is_made_again",),
    ),
    Mutation(
        "a-scan-waits-for-good",
        "G6: a scan waits for a locked table as long as the lock lasts",
        KEYS,
        " set_config('lock_timeout', %s, true)\",",
        ' %s",',
        (f"{T_HINDERED}::test_a_scan_waits_for_a_locked_table_no_longer_than_it_may",),
    ),
    Mutation(
        "a-shard-that-is-away-stops-its-neighbours",
        "G6: a parents' database that is away keeps claims that do not need it",
        CASCADE,
        " and not self._waits(claim, interruption)",
        "",
        (f"{T_PRIMARIES}::test_only_what_needs_a_parents_database_waits_for_it",),
    ),
)
