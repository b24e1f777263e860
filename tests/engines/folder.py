"""The project's settings, with a broker in a folder, or in an SQLite file there."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

import os
from typing import Any

from config.settings import *

FOLDER = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 (each test gives its own)


def options(folder: str) -> dict[str, Any]:
    """Return the transport options of a broker in a folder."""
    shared = f"{folder}/queue"
    return {
        "data_folder_in": shared,
        "data_folder_out": shared,
        "control_folder": f"{folder}/control",
    }


if CELERY_BROKER_URL.startswith("filesystem"):  # noqa: F405
    CELERY_BROKER_TRANSPORT_OPTIONS = options(FOLDER)
