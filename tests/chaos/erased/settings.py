"""The tests' settings for workers that erase files and tell a service, in the tests' databases."""

# ruff: noqa: F403 - the usual form of Django settings that change others

import json
import os

from tests.settings import *
from tests.settings import DATABASES

GIVEN = json.loads(os.environ["ERASED"])
for alias, name in GIVEN["databases"].items():
    DATABASES[alias]["NAME"] = name
MEDIA_ROOT = GIVEN["media"]
CRM_SECRET = GIVEN["secret"]
GRACE_SECONDS = 3.0
SHIPPED = "apps.integrity.contrib.erasure"
INTEGRITY = {
    "wakeups": False,
    "grace_seconds": GRACE_SECONDS,
    "lease_seconds": 2.0,
    "probe_seconds": 1.0,
    "backoff_seconds": 0.5,
    "backoff_seconds_max": 5.0,
    "turn_seconds": 0.5,
    "steps": {
        "files": f"{SHIPPED}.FieldFiles",
        "crm": (
            f"{SHIPPED}.Webhook",
            {
                "url": GIVEN["url"],
                "probe_url": f"{GIVEN['url']}left",
                "secret_setting": "CRM_SECRET",
                "models": {"filed.Attachment": "pk"},
                "items_max": GIVEN["items_max"],
            },
        ),
    },
}
