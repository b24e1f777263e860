"""The sample project's settings, where a listener refuses connections in prose; to be tried."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import Error, OperationalError
from django.db.backends.signals import connection_created

from config.settings import *  # noqa: F403

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SAID = "CRM refused ann@example.org\x1b[31m\x00"
#: What a listener to connections raises, by the name in the file that the environment gives.
RAISED: dict[str, Exception] = {
    "a listener's own": ValueError(SAID),
    "a group": ExceptionGroup(SAID, [ValueError(SAID)]),
    "as a database's": OperationalError(SAID),
    "as a driver's": Error(SAID),
}


CELERY_RESULT_BACKEND = os.environ["BROKER_URL"]
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = True


def refuse(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Refuse a connection, from another error, with a note: all of it in prose.

    It stays closed, so that the next task meets what is to be raised by then.
    """
    connection.close()
    error = RAISED[REFUSAL.read_text()]
    error.add_note(SAID)
    raise error from KeyError(SAID)


if "REFUSAL" in os.environ:
    REFUSAL = Path(os.environ["REFUSAL"])
    connection_created.connect(refuse)
