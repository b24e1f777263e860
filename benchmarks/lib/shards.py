"""Functions of B9's client, which connects to the databases without added latency."""

# ruff: noqa: S608 - names come from models

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.apps import apps
from django.core.management import call_command
from django.db import connections, router, transaction
from django.db.models import Max

from apps.integrity.models import Cascade, Deletion
from apps.integrity.relations import homes
from sandbox.processes import ProcessError, eventually

from ..schemas.shards.router import SHARDS
from .rows import empty_log

if TYPE_CHECKING:
    from django.db.models import Model

#: The number of items of each owner in each database.
ITEMS = 10
LIMIT_SECONDS = 300.0


def prepare() -> None:
    """Create the tables."""
    for alias in SHARDS:
        call_command("migrate", "integrity", verbosity=0, database=alias)
    for model in apps.get_app_config("shards").get_models():
        for alias in homes.databases_for(model):
            with connections[alias].schema_editor() as editor:
                editor.create_model(model)


def cascaded(databases: int, number: int) -> float:
    """Delete `number` owners with items in `databases` databases; return the seconds it took."""
    owner, item = _model(f"Owner{databases}"), _model(f"Item{databases}")
    _fill(owner, item, number)
    with transaction.atomic():
        owner.objects.all().delete()
        committed = list[float]()
        transaction.on_commit(lambda: committed.append(time.time()))
    if not eventually(lambda: not _is_open(), timeout=LIMIT_SECONDS):
        raise ProcessError(f"not cascaded in {LIMIT_SECONDS:g} s")
    for alias in homes.databases_for(item):
        if item.objects.using(alias).exists():
            raise AssertionError(f"items are left in {alias}")
    done = Cascade.objects.aggregate(last=Max("done_at"))["last"]
    empty_log()
    return float(done.timestamp() - committed[0])


def _fill(owner: type[Model], item: type[Model], number: int) -> None:
    owners, items = owner._meta.db_table, item._meta.db_table
    with connections[router.db_for_write(owner)].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {owners} (id, name)"
            " SELECT number, 'owner' FROM generate_series(1, %s) AS number",
            [number],
        )
    for alias in homes.databases_for(item):
        with connections[alias].cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {items} (owner_id, title) SELECT owner, 'item'"
                " FROM generate_series(1, %s) AS number, generate_series(1, %s) AS owner",
                [ITEMS, number],
            )
            cursor.execute(f"VACUUM (ANALYZE) {items}")


def _is_open() -> bool:
    recorded = Deletion.objects.filter(Deletion.IS_RECORDED)
    return recorded.exists() or Cascade.objects.filter(Cascade.IN_BACKLOG).exists()


def _model(name: str) -> type[Model]:
    return apps.get_model("shards", name)
