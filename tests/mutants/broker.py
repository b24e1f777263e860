"""Mutations of what makes workers go on after any message and any fault of their broker."""

from __future__ import annotations

from .mutation import Mutation
from .paths import T_CHECKS_SETTINGS, T_CONSUMER, T_RECOVERY, T_SWEEP, T_WORKERS

PARTS = "apps/integrity/queues/celery_worker"
COMPRESSION = f"{PARTS}/compression.py"
CONNECTION = f"{PARTS}/connection.py"
CONSUMER = f"{PARTS}/consumer.py"
MESSAGES = f"{PARTS}/messages.py"
REDIS = f"{PARTS}/redis.py"
STEPS = f"{PARTS}/steps.py"
CHECK = "apps/integrity/checks/celery_worker.py"

T_INSTALL = "tests/unit/test_celery_worker.py"
T_ATTACK = "tests/security/test_attack_broker.py"

ASKED = f"{T_SWEEP}::test_a_database_is_asked_about_on_its_own_queue_and_the_logs_on_the_other"
ASKS_FOR_MORE = f"{T_CONSUMER}::test_a_message_of_ours_names_a_database_and_asks_for_nothing_else"

MUTATIONS = (
    # Messages
    Mutation(
        "ends-at-what-is-no-message",
        "G5: an entry of the queue, or of a channel, that is no message ends the worker",
        REDIS,
        "dropped(type(error).__name__)\n            return True",
        "raise",
        (f"{T_ATTACK}::test_what_is_no_message_is_passed",),
    ),
    Mutation(
        "ends-at-a-forged-unacknowledged-entry",
        "G5: a forged entry of the unacknowledged ends each worker that looks after them",
        REDIS,
        "            dropped(type(error).__name__)\n            self._remove",
        "            raise\n            self._remove",
        (f"{T_ATTACK}::test_an_unacknowledged_entry_that_is_no_message_is_removed",),
    ),
    Mutation(
        "ends-when-redis-dies",
        "G5: a worker ends when Redis dies while it holds messages",
        REDIS,
        'if getattr(self.connection, "client", None) is None:',
        "if False:",
        (f"{T_ATTACK}::test_a_connection_that_was_given_up_is_one_that_failed",),
    ),
    Mutation(
        "ends-at-a-broken-message",
        "G5: a message that cannot be decoded ends the worker",
        CONSUMER,
        "self.drop(message, type(error).__name__)",
        "raise",
        (f"{T_CONSUMER}::TestGuard",),
    ),
    Mutation(
        "held-by-a-time-limit",
        "G5: a time limit that is no pair takes a process out of the pool",
        MESSAGES,
        'if not _is_pair(headers.get("timelimit")):',
        "if False:",
        (f"{T_CONSUMER}::test_a_header_of_another_form_is_a_flaw",),
    ),
    Mutation(
        "any-body",
        "G5: what is to follow a task is no mapping, and ends the worker when the task fails",
        MESSAGES,
        'return "" if all(map(isinstance, body, BODY)) else "body"',
        'return ""',
        (f"{T_CONSUMER}::test_a_body_of_another_form_is_a_flaw",),
    ),
    Mutation(
        "messages-for-2099",
        "G5: messages for a later time fill the places of a worker",
        MESSAGES,
        'UNUSED = ("eta", "retries",',
        'UNUSED = ("retries",',
        (ASKS_FOR_MORE,),
    ),
    Mutation(
        "celery-s-own-for-2099",
        "G5: messages of Celery's own tasks for a later time fill the places of a worker",
        CONSUMER,
        'return "a task of Celery\'s own" if alone and _is_celery_s(found.headers["task"]) else ""',
        'return ""',
        (f"{T_CONSUMER}::TestGuard::test_a_worker_of_our_queues_alone_keeps_nothing_of_celery_s",),
    ),
    Mutation(
        "headers-hide-the-first-protocol",
        "G5: an innocent header hides an ETA for 2099 of a payload that Celery reads alone",
        MESSAGES,
        "return Call({**fields, **headers} if both else fields, body)",
        "return Call({**fields, **headers}, body)",
        (f"{T_CONSUMER}::test_headers_hide_nothing_of_the_first_protocol",),
    ),
    Mutation(
        "limits-of-any-size",
        "one message ends each worker that takes it: its time limit overflows",
        MESSAGES,
        "0 <= each <= SECONDS_MAX",
        "each >= 0",
        (f"{T_CONSUMER}::test_a_header_of_another_form_is_a_flaw",),
    ),
    Mutation(
        "other-tasks-follow",
        "a forged wake-up runs other tasks when it has ended",
        MESSAGES,
        "if any(following.values()):",
        "if False:",
        (ASKS_FOR_MORE,),
    ),
    Mutation(
        "limits-of-the-message",
        "G5: a forged wake-up may run for ever, expires, and fills the result backend",
        CONSUMER,
        "fields.update(messages.DISBELIEVED)",
        "pass",
        (
            f"{T_CONSUMER}::TestGuard::test_a_message_of_ours_has_the_limits_of_its_task_and_no_result",
        ),
    ),
    Mutation(
        "pickled-wake-ups",
        "a forged wake-up runs code where the project takes pickle",
        MESSAGES,
        "if content_type not in formats(accepted):",
        "if False:",
        (f"{T_CONSUMER}::test_a_body_of_ours_is_decoded_where_it_is_small_and_of_a_safe_kind",),
    ),
    Mutation(
        "eta-refused-to-a-project",
        "a project's own tasks lose what Celery offers",
        MESSAGES,
        '(_more(found) if is_ours(found.headers["task"]) else "")',
        "_more(found)",
        (
            f"{T_CONSUMER}::test_a_project_s_own_tasks_keep_what_celery_offers_and_ours_ask_for_nothing",
        ),
    ),
    Mutation(
        "zeros-without-end",
        "G8: a megabyte of zlib becomes a gigabyte in the worker",
        COMPRESSION,
        "if not one.eof:",
        "if False:",
        (f"{T_INSTALL}::TestCompression",),
    ),
    # What install(app) does
    Mutation(
        "celerys-consumer",
        "G5: Celery's own consumer reads the messages",
        CONSUMER,
        "worker.consumer_cls = surviving(worker.consumer_cls)",
        "pass",
        (f"{T_INSTALL}::TestConsumer::test_a_worker_gets_it_before_it_makes_its_own",),
    ),
    Mutation(
        "a-project-s-consumer-is-lost",
        "a project's own consumer is replaced",
        CONSUMER,
        "return Consumer if found is consumer.Consumer else",
        "return Consumer if found else",
        (f"{T_INSTALL}::TestConsumer::test_a_project_s_own_is_guarded",),
    ),
    Mutation(
        "kombus-channels",
        "G5: kombu's own channels read the queues",
        CONNECTION,
        'return redis.guarded(cast("Any", found))',
        "return found",
        (f"{T_CONSUMER}::test_redis_gets_the_guarded_channels_and_other_brokers_their_own",),
    ),
    Mutation(
        "nothing-says-that-workers-end",
        "G11: nothing says that a message can end the workers",
        CHECK,
        "if worker is not None and worker.is_installed(app):",
        "if worker is not None:",
        (f"{T_CHECKS_SETTINGS}::TestW024",),
    ),
    # Recovery
    Mutation(
        "no-sweep-of-workers",
        "G1: a dead beat stops everything",
        STEPS,
        "Places, Sweep})",
        "Places})",
        (f"{T_SWEEP}::test_workers_carry_the_step",),
    ),
    Mutation(
        "sweep-asks-for-dispatch-only",
        "G1: a worker does not ask for its own database",
        STEPS,
        "    if database:",
        "    if False:",
        (ASKED,),
    ),
    Mutation(
        "sweep-for-strangers",
        "G6: a worker's own sweep asks about queues of others",
        STEPS,
        "if control != CONTROL:",
        "if False:",
        (ASKED,),
    ),
    Mutation(
        "alive-after-its-end",
        "G11: a worker that stopped looks alive",
        STEPS,
        "health.alive_file(_name(parent)).unlink(missing_ok=True)",
        "pass",
        (f"{T_WORKERS}::test_a_worker_shows_itself_from_its_start_to_its_stop",),
    ),
    Mutation(
        "seldom-asks-for-its-broker",
        "G5: a worker waits for half a minute after its broker is back",
        CONNECTION,
        '"interval_max": RECONNECT_SECONDS_MAX, ',
        "",
        (f"{T_RECOVERY}::test_the_project_asks_for_its_broker_often",),
    ),
    Mutation(
        "children-die-unseen",
        "G1: a killed child is noticed late",
        STEPS,
        "            maintain()",
        "            pass",
        (f"{T_RECOVERY}::test_killed_children_are_looked_for",),
    ),
    Mutation(
        "places-lost-for-good",
        "G1: a worker whose acknowledgements failed fetches nothing any more",
        STEPS,
        "        if lost:",
        "        if False:",
        (f"{T_RECOVERY}::TestPlaces",),
    ),
    Mutation(
        "connects-anew-at-first-sight",
        "G6: a worker drops its connection for a message that has just come",
        STEPS,
        "lost, self.suspects = held & self.suspects, held",
        "lost, self.suspects = held, held",
        (f"{T_RECOVERY}::TestPlaces::test_another_one_each_time_is_an_ordinary_worker",),
    ),
    Mutation(
        "connects-anew-at-work",
        "G6: a worker drops its connection because it works",
        STEPS,
        "held = unacknowledged() - _worked_on(parent.consumer)",
        "held = unacknowledged()",
        (f"{T_RECOVERY}::TestPlaces::test_what_is_worked_on_keeps_its_place",),
    ),
    Mutation(
        "connects-anew-for-a-later-message",
        "G6: a worker drops its connection because a project's task waits for its time",
        STEPS,
        "*scheduled, *limited]",
        "]",
        (f"{T_RECOVERY}::TestPlaces::test_what_waits_for_its_time_or_turn_keeps_its_place",),
    ),
    Mutation(
        "connections-of-the-task-before",
        "G6: a connection that its server closed fails task after task",
        f"{PARTS}/__init__.py",
        "if not each.in_atomic_block:",
        "if False:",
        (f"{T_WORKERS}::test_connections_are_checked_before_each_task",),
    ),
)
