"""What to do about each kind of fault: the command or the button."""

from __future__ import annotations

from ..routing import CONTROL, queue_for

NO_LOG = "Check the server, or DATABASES. Deletions wait in the log, or fail, until it answers"
BROKER = (
    "Start the broker, or check its address in the settings. Deletions are kept and wait for it;"
    " `manage.py integrity drain` does them without it"
)
BEAT = f"Start `celery beat`, and a worker on the queue {CONTROL}"
ORPHANS = (
    "Look at Scans and suspects, then press Repair, or run `manage.py integrity repair --apply`"
)
FAILING = (
    "Remove the cause. It is tried again by itself; the page of a deletion and"
    " `manage.py integrity receipt` have its errors"
)
UNPROVEN = "End the transaction that is named, or start a worker; it is checked again by itself"
BLOCKED = "Remove the cause, then press Retry blocked, or run `manage.py integrity retry --all`"
KEPT = "Look at the receipts, then press Acknowledge, or run `manage.py integrity acknowledge`"
BEHIND = "It goes on by itself. Start more workers if it takes too long"


def server(alias: str) -> str:
    """Return what to do about a database that cannot be worked on."""
    return f"Check the server, or DATABASES[{alias!r}]. Work goes on by itself once it answers"


def resume(alias: str) -> str:
    """Return what to do about a pause."""
    return f"Press Resume, or run `manage.py integrity resume --database {alias}`"


def brake(label: str) -> str:
    """Return what to do about a brake that holds a repair."""
    return (
        "Check that both databases are the right ones and complete; then see"
        f" `manage.py integrity repair --relation {label}`"
    )


def worker(queue: str) -> str:
    """Return how to get a consumer for a queue."""
    return (
        f"Start one with `celery worker -Q {queue}`, or run `manage.py integrity drain --forever`"
    )


def frozen(database: str) -> str:
    """Return what to do about a worker that is silent and has claimed work."""
    return (
        "End that worker. Another one goes on when its claim ends, if one consumes"
        f" {queue_for(database)}"
    )
