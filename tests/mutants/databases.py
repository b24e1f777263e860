"""A plugin of pytest: test databases are made once in a lane, and used by one run after the other.

Django's own way to keep them (`--reuse-db`) migrates each of them again, which takes longer than
most of the tests here. `MUTANTS_DATABASES` is the folder that remembers which ones there are.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from django.db.backends.base.creation import BaseDatabaseCreation

VARIABLE = "MUTANTS_DATABASES"

_create, _destroy = BaseDatabaseCreation.create_test_db, BaseDatabaseCreation.destroy_test_db


def _made(creation: Any) -> Path:
    return Path(os.environ[VARIABLE]) / creation.connection.alias


def _create_or_use(self: Any, *args: Any, **kwargs: Any) -> str:
    made, name = _made(self), self._get_test_db_name()
    if not made.exists():
        _create(self, *args, **kwargs)
        self.connection.close()
        made.parent.mkdir(exist_ok=True)
        if _is_file(self):
            shutil.copy(self.connection.settings_dict["NAME"], made)
        made.touch()
    elif _is_file(self):
        shutil.copy(made, name)
    self.connection.close()
    self.connection.settings_dict["NAME"] = name
    return str(name)


def _keep(self: Any, *args: Any, **kwargs: Any) -> None:
    if _is_file(self):
        _destroy(self, *args, **kwargs)
    else:
        self.connection.close()


def _is_file(creation: Any) -> bool:
    return bool(creation.connection.vendor == "sqlite")


def pytest_configure() -> None:
    """Only where this is loaded as a plugin: whoever imports the name is left alone."""
    BaseDatabaseCreation.create_test_db = _create_or_use  # type: ignore[method-assign]
    BaseDatabaseCreation.destroy_test_db = _keep  # type: ignore[method-assign]
