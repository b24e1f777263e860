"""One scene, on one database or on two, in a process of its own: its last line is what is left.

The scenes that move an app's tables do what docs/how-to/third-party-apps.md shows.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

import django
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.management import call_command
from django.db import connections
from django.db.models import QuerySet

from .scenes import SCENES

if TYPE_CHECKING:
    from collections.abc import Iterator

TWO = ("default", "child_db")


class Router:
    """The scene's apps in the child's database; content types in both, as Django makes them."""

    def db_for_read(self, model: Any, **_: Any) -> str:
        return _home(model._meta.app_label)

    db_for_write = db_for_read

    def allow_relation(self, *_: Any, **__: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool:
        return app_label == "contenttypes" or db == _home(app_label)


def _home(app_label: str) -> str:
    scene = SCENES[sys.argv[1]]
    return "child_db" if len(settings.DATABASES) > 1 and app_label in scene.children else "default"


def configure(folder: str, aliases: tuple[str, ...]) -> None:
    """Settings of a small project, on SQLite."""
    scene, spread = SCENES[sys.argv[1]], len(aliases) > 1
    ours = ["apps.integrity"] if spread else []
    log = ["apps.integrity.routers.LogRouter"] if spread else []
    settings.configure(
        SECRET_KEY="x",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            alias: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"{folder}/{alias}.sqlite3",
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
            }
            for alias in aliases
        },
        DATABASE_ROUTERS=[*log, f"{__name__}.Router"],
        INTEGRITY={"wakeups": False, **scene.integrity},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            *scene.installed,
            f"tests.apps.scene_{scene.name}",
            *ours,
        ],
        **scene.settings,
    )
    django.setup()


def rows() -> dict[str, list[list[str]]]:
    """What is compared: the columns that the scene names, of all rows, whatever hides them."""
    found = {}
    for label, columns in SCENES[sys.argv[1]].compared.items():
        model = apps.get_model(label)
        query: QuerySet[Any] = QuerySet(model=model, using=_home(model._meta.app_label))
        listed = [[str(each) for each in row] for row in query.values_list(*columns)]
        found[label] = sorted(listed)
    return found


def _scanned() -> Iterator[str]:
    """Say what a script that looks at the exit code of a scan would hear."""
    try:
        call_command("integrity", "scan", "--full", stdout=sys.stderr)
    except SystemExit as ended:
        if ended.code:
            yield f"`integrity scan` ends with {ended.code}"


def _unwritten_migrations() -> Iterator[str]:
    """Say for which of the app's models `makemigrations` would write a migration."""
    labels = [each for each in SCENES[sys.argv[1]].children if not each.startswith("scene_")]
    try:
        if labels:
            call_command("makemigrations", *labels, check=True, dry_run=True, stdout=sys.stderr)
    except SystemExit as ended:
        yield f"`makemigrations --check {' '.join(labels)}` ends with {ended.code}"


def main() -> None:
    """Fill, delete, drain, tell."""
    spread = sys.argv[2] == "two"
    with tempfile.TemporaryDirectory() as folder:
        configure(folder, TWO if spread else TWO[:1])
        for alias in settings.DATABASES:
            call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
        from django.contrib.auth.models import User

        scene = import_module(f"tests.apps.scene_{sys.argv[1]}.scene")
        users = [User.objects.create(pk=pk, username=f"user{pk}") for pk in (101, 102, 103)]
        for user in users:
            scene.fill(user)
        before = rows()
        users[0].delete()
        User.objects.filter(pk=102).delete()
        if spread:
            call_command("integrity", "drain", stdout=sys.stderr)
        after, errors = rows(), list[str]()
        if spread:
            found = checks.run_checks(databases=list(settings.DATABASES))
            errors = [str(each) for each in found if each.level >= checks.ERROR]
            errors += [*_scanned(), *_unwritten_migrations()]
        gone = {label: len(before[label]) - len(after[label]) for label in after}
        connections.close_all()
    told = {"rows": after, "gone": gone, "errors": errors}
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
