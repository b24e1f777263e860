"""`manage.py grant_roles`: let the sample's roles do their work. Run it as the owner of the tables.

After each `migrate`: a new table, or a new key between databases, needs new grants. The roles are
those of deploy/postgresql/roles.sql.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, router, transaction

from apps.integrity.control.grants import Kind, grants

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB, WORKER, LOG = "integrity_web", "integrity_worker", "integrity_log"
#: What the product needs of each role. Beat is one of the workers' processes.
OF_THE_PRODUCT = {
    WEB: (Kind.WEB, Kind.DASHBOARD),
    WORKER: (Kind.WORKER, Kind.BEAT),
    LOG: (Kind.LOG,),
}
PRODUCT = "integrity"


class Command(BaseCommand):
    """Prints nothing: look at the statements with `integrity grants ROLE`."""

    help = "Grant the roles of web and workers what they need in every database."

    def handle(self, **_: Any) -> None:
        """Grant in each database, in one transaction."""
        for alias in connections:
            if connections[alias].vendor == "postgresql":
                with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                    cursor.execute(
                        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)",
                        [[*OF_THE_PRODUCT]],
                    )
                    if missing := {*OF_THE_PRODUCT} - {name for (name,) in cursor.fetchall()}:
                        raise CommandError(
                            f"{alias}: no role {', '.join(sorted(missing))} on its server; a"
                            " superuser makes them with deploy/postgresql/roles.sql"
                        )
                    for statement in _statements(alias):
                        cursor.execute(statement)


def _statements(alias: str) -> Iterator[str]:
    yield from of_the_site(alias, WEB)
    for role, kinds in OF_THE_PRODUCT.items():
        for each in grants(role, *kinds):
            if each.database == alias:
                yield from each.statements


def of_the_site(alias: str, role: str) -> Iterator[str]:
    """A site reads and writes its own tables: sessions, users, posts; none of the product's."""
    quote = connections[alias].ops.quote_name
    for model in apps.get_models(include_auto_created=True):
        of_the_product = model._meta.app_label == PRODUCT or model._meta.proxy
        if not of_the_product and router.allow_migrate_model(alias, model):
            table = quote(model._meta.db_table)
            yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {quote(role)}"
