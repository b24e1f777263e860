"""Guides to processes that are missing, and to work that is late because of it."""

from __future__ import annotations

from .guide import Guide, Look

WORKERS = Guide(
    kind="workers",
    title="No worker does the work",
    subject="DATABASE",
    means="Deletions are recorded and due, and no worker takes them. Either no worker runs at all,"
    " or none consumes the queue of this child database.",
    look=(
        Look(
            "manage.py integrity doctor",
            "A line for each queue with the number of its workers, and when a worker was last seen."
            " `no worker answers` may also mean that all are frozen.",
        ),
        Look("manage.py integrity status", "How much waits for each database, and for how long."),
    ),
    steps=(
        (
            "Start a worker on the queue that has none: `celery -A PROJECT worker -Q"
            " integrity.DATABASE`. The queue `integrity` carries the ticks and needs one, too."
        ),
        (
            "If a worker runs and does not answer, it is frozen: look at its log, then end the"
            " process and start it again. Its claims expire after `lease_seconds` and others take"
            " them over."
        ),
        (
            "Without Celery, start `manage.py integrity drain --forever` again. With Celery it does"
            " the work, too, until it is stopped; `manage.py integrity drain` does what is due, and"
            " ends."
        ),
    ),
    over="`manage.py integrity doctor` counts a worker for each queue, and the backlog shrinks.",
    safe="Users can still be deleted. Each deletion stays in the log, not in the broker, so it does"
    " not matter which messages were lost.",
)

BEAT = Guide(
    kind="beat",
    title="Beat is silent",
    means="The ticks of beat no longer arrive, so nothing is verified or scanned, and failed work"
    " is retried only when a worker gets another message, or looks for work itself (with"
    " `install(app)`). New deletions that send a signal are still cascaded, because the site"
    " notifies the workers itself.",
    look=(
        Look(
            "manage.py integrity doctor",
            "`beat: last seen … ago`, and whether a worker consumes the queue `integrity`.",
        ),
    ),
    steps=(
        "Start beat, once: `celery -A PROJECT beat`.",
        (
            "If beat runs, its ticks are not consumed: start a worker with `celery -A PROJECT"
            " worker -Q integrity`."
        ),
        (
            "If both run, check that beat has the timetable: `manage.py check` reports an entry"
            " that is missing."
        ),
        "Until then, `manage.py integrity drain --verify` retries and verifies what is due.",
    ),
    over="`manage.py integrity doctor` reports `beat: last seen` a few seconds ago.",
    safe="Deletions stay in the log. What a lost message should have started is found by the next"
    " tick.",
)

BROKER = Guide(
    kind="broker",
    title="The broker does not answer",
    means="The broker cannot be reached, or does not respond in time. Workers get no messages, so"
    " deletions wait although workers and databases may be healthy.",
    look=(
        Look(
            "manage.py integrity doctor",
            "`broker: cannot be reached: …` with the error, or `broker: RabbitMQ blocks publishers:"
            " …` with its alarm. The lines about queues prove nothing while the broker does not"
            " answer.",
        ),
    ),
    steps=(
        (
            "Check the broker's server, the network, and `broker_url` of the web processes, the"
            " workers and beat."
        ),
        "Start the broker again. It may come back empty: no message of this app has to survive.",
        (
            "Workers of Celery reconnect by themselves. If `doctor` still finds no worker on a"
            " queue, restart that worker."
        ),
        (
            "Until then, `manage.py integrity drain` does all due work in this process, without the"
            " broker."
        ),
    ),
    over="`manage.py integrity doctor` reports `broker: answers` and a worker for each queue.",
    safe="Users can still be deleted: a delete does not wait for the broker. Deletions are in the"
    " log, never only in a message.",
)

BEHIND = Guide(
    kind="behind",
    title="Deletions are late",
    subject="DATABASE",
    means="The oldest deletion that waits for this child database is older than it should be. Work"
    " is possible, but it is too slow, or there is a lot of it.",
    look=(
        Look(
            "manage.py integrity status --watch",
            "Whether the backlog shrinks, the throughput, and a reason such as `slowed to … %`.",
        ),
        Look("manage.py integrity doctor", "Whether a worker or a queue is missing."),
    ),
    steps=(
        "If the backlog shrinks, you may just wait: the ETA says how long.",
        (
            "If it is `slowed to … %`, more workers do not help. Relieve the database or the"
            " replica that the reason names, or change the limit in the setting `pressure`."
        ),
        (
            "`its role may not see the lag`: run `GRANT pg_read_all_stats TO ROLE` for the"
            " workers' role."
        ),
        "Otherwise add a worker for this queue: `celery -A PROJECT worker -Q integrity.DATABASE`.",
        (
            "If single steps are slow, check that the foreign keys have an index: `manage.py"
            " integrity relations`."
        ),
    ),
    over="The lag in `manage.py integrity status` is down to seconds.",
    safe="Every deletion stays in the log until it is done. Until then, readers may see rows whose"
    " parent is gone.",
)

GUIDES = (WORKERS, BEAT, BROKER, BEHIND)
