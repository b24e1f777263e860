"""The project's settings, with models of every relation kind and databases for them.

The databases are as a newcomer has them, without OPTIONS: what is promised must not rest on a
timeout that the sample project sets. tests/sample_options.py has those.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from apps.integrity.declared import Relation
from config.settings import *  # noqa: F403
from config.settings import DATABASE_ROUTERS, DATABASES, INSTALLED_APPS

from .kinds.router import HOMES

KINDS = (*HOMES, "hostile", "coded")
INSTALLED_APPS = [*INSTALLED_APPS, *(f"tests.kinds.{label}" for label in KINDS)]
#: In six databases, migrations of Django's and Celery's apps would take most of the set-up. Their
#: tables are made as their models are.
OTHERS = [path.rpartition(".")[2] for path in INSTALLED_APPS if path.startswith("django")]
MIGRATION_MODULES = dict.fromkeys((*KINDS, *OTHERS))
DATABASE_ROUTERS = [
    "tests.kinds.hostile.router.HostileRouter",
    "tests.kinds.coded.router.CodedRouter",
    "tests.kinds.router.KindsRouter",
    *DATABASE_ROUTERS,
]

# Connections stay open, for speed alone: tasks that are called in place would else connect to six
# databases before each.
PLAIN = (
    *("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT"),
    *("CONN_MAX_AGE", "CONN_HEALTH_CHECKS"),
)
DATABASES = {
    alias: {name: each[name] for name in PLAIN if name in each} for alias, each in DATABASES.items()
}
#: A folder in memory, where there is one: SQLite waits for its disk at each commit.
MEMORY = Path("/dev/shm")  # noqa: S108 (each file has the process's number in its name)
SCRATCH = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())

# Databases of their own, so that those of the sample apps hold what a project's would hold.
DATABASES = {
    **DATABASES,
    "test_left": {**DATABASES["blog_db"], "NAME": "left"},
    "test_right": {**DATABASES["shop_db"], "NAME": "right"},
    "test_lite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        # A file: threads that share a database in memory lock each other's tables.
        "TEST": {"NAME": str(SCRATCH / f"integrity-{os.getpid()}.sqlite3")},
    },
}

# Tests that are about wake-ups switch them on, and those about shared figures share them.
INTEGRITY = {
    "wakeups": False,
    "figures_seconds": 1e-9,
    "relations": [
        Relation("left.Event.station_key", "parents.Station"),
        Relation("left.Event.station_text", "parents.Station"),
        Relation("left.Event.beacon_key", "parents.Beacon"),
        Relation("left.Event.beacon_text", "parents.Beacon"),
        Relation("left.Event.station_code", "parents.StationProxy", to_field="code"),
        Relation("left.Emptied.station_key", "parents.Station", "SET_NULL"),
        Relation("left.Reset.station_key", "parents.Station", "SET_DEFAULT"),
        Relation("left.Replaced.station_key", "parents.Station", "SET", value=901),
        Relation("left.Kept.station_key", "parents.Station", "PROTECT"),
        Relation("left.Reported.station_key", "parents.Station", "DO_NOTHING"),
        Relation("lite.Reading.station_key", "parents.Station"),
        Relation("lite.Reading.beacon_text", "parents.Beacon"),
        Relation("lite.Limit.station_key", "parents.Station", "RESTRICT"),
        Relation("left.Note.content_object", "parents.Plant", content_types="default"),
        Relation("left.Note.content_object", "parents.Weed", content_types="default"),
        Relation("left.Sticker.stuck_to", "parents.PlantProxy", content_types="test_left"),
        Relation("left.Sticker.stuck_to", "parents.Stone", content_types="test_left"),
        Relation(
            "left.Chisel.content_object", "parents.Stone", "SET_NULL", content_types="default"
        ),
        Relation("left.Fence.content_object", "parents.Weed", "PROTECT", content_types="default"),
        Relation("lite.Leaf.content_object", "parents.Plant", content_types="default"),
        Relation("lite.Leaf.content_object", "parents.Stone", content_types="default"),
    ],
}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
