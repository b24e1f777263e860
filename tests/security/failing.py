"""The sample project's settings, where a listener refuses connections in prose; to be tried."""

from __future__ import annotations

import os
from typing import Any

from django.db import Error, OperationalError
from django.db.backends.signals import connection_created

from config.settings import *  # noqa: F403

SAID = "CRM refused ann@example.org\x1b[31m\x00"
#: What a listener to connections raises, by the name that the environment gives.
RAISED: dict[str, Exception] = {
    "a listener's own": ValueError(SAID),
    "a group": ExceptionGroup(SAID, [ValueError(SAID)]),
    "as a database's": OperationalError(SAID),
    "as a driver's": Error(SAID),
}


CELERY_RESULT_BACKEND = os.environ["BROKER_URL"]
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = True


def refuse(**_: Any) -> None:
    """Refuse a connection, from another error, with a note: all of it in prose."""
    error = RAISED[REFUSAL]
    error.add_note(SAID)
    raise error from KeyError(SAID)


if REFUSAL := os.environ.get("REFUSAL", ""):
    connection_created.connect(refuse)
