"""What to do about each kind of fault: the command or the button."""

from __future__ import annotations

from ..routing import CONTROL, queue_for

NO_LOG = (
    "Check the server, or DATABASES. Until it answers, deletes fail, and recorded deletions wait"
)
BROKER = (
    "Start the broker, or check its address in the settings. Deletions wait in the log;"
    " `manage.py integrity drain` does them without the broker"
)
BEAT = f"Start `celery -A PROJECT beat`, and a worker on the queue {CONTROL}"
ORPHANS = (
    "Look at Scans and suspects, then press Repair, or run `manage.py integrity repair --apply`"
)
FAILING = (
    "Remove the cause. Failed deletions are tried again by themselves; the page of a deletion and"
    " `manage.py integrity receipt` show its errors"
)
UNPROVEN = "End the transaction that is named, or start a worker. Verification is then tried again"
BLOCKED = "Remove the cause, then press Retry blocked, or run `manage.py integrity retry --all`"
KEPT = "Look at the receipts, then press Acknowledge, or run `manage.py integrity acknowledge`"
LATE = (
    "Remove what holds up the work there, or start more workers. Receipts say by how much each"
    " deadline was missed"
)
AT_RISK = (
    "Remove what holds up the work there, raise the limits of `pressure`, or start more workers"
    " on its queue"
)
BEHIND = "Work continues by itself. Start more workers if it takes too long"


def server(alias: str) -> str:
    """Return what to do about a database that cannot be worked on."""
    return f"Check the server, or DATABASES[{alias!r}]. Work resumes by itself once it answers"


def resume(alias: str) -> str:
    """Return what to do about a pause."""
    return f"Press Resume, or run `manage.py integrity resume --database {alias}`"


def brake(label: str) -> str:
    """Return what to do about a brake that refuses a repair."""
    return (
        "Check that both databases are the right ones and complete; then see"
        f" `manage.py integrity repair --relation {label}`"
    )


def worker(queue: str) -> str:
    """Return how to get a consumer for a queue."""
    return (
        f"Start one with `celery -A PROJECT worker -Q {queue}`,"
        " or run `manage.py integrity drain --forever`"
    )


def frozen(database: str) -> str:
    """Return what to do about a worker that is silent and has claimed work."""
    return (
        "End that worker. Another one takes over when its claim ends, if one consumes"
        f" {queue_for(database)}"
    )
