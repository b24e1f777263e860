"""Parents and the deletion log have to be in the same schema of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections

from .. import relations
from ..backends import schemas
from ..models import Deletion
from ..relations import homes
from .scope import scoped

if TYPE_CHECKING:
    from collections.abc import Sequence


def apart(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """E017: a parent's table and the log are in different schemas, so deletes go unrecorded."""
    return [
        checks.Error(
            f"{label} in {alias!r} is in the schema {names[0]!r}, and the deletion log in"
            f" {names[1]!r}: deletes there are not recorded.",
            hint=f"As its owner: ALTER TABLE {Deletion._meta.db_table} SET SCHEMA {names[0]}, and"
            " the same for each table integrity_…; or put the schema of the parents first in the"
            f" search_path of DATABASES[{alias!r}] before `migrate` makes the log.",
            obj=parent,
            id="integrity.E017",
        )
        for label, parent in relations.catalogue().parents.items()
        for alias in homes.databases_for(parent)
        if alias in (databases or ())
        if (names := schemas.elsewhere(parent, alias)) is not None
    ]


def switched(**_: Any) -> list[checks.CheckMessage]:
    """E018: a backend switches schemas per tenant, and the log works in only one schema."""
    catalogue = relations.catalogue()
    return [
        checks.Error(
            f"DATABASES[{alias!r}] switches schemas at run time"
            f" ({type(connections[alias]).__module__}): a deletion is cascaded in one schema, and"
            " verified there; rows of other tenants are not found.",
            hint="Keep the apps of both ends of each relation, and this one, in the shared schema:"
            " in SHARED_APPS, and not in TENANT_APPS. If that is the case, silence this:"
            ' SILENCED_SYSTEM_CHECKS = ["integrity.E018"].',
            obj=alias,
            id="integrity.E018",
        )
        for alias in dict.fromkeys((*catalogue.log_databases, *catalogue.child_databases))
        if schemas.switches(alias)
    ]


CHECKS = scoped(switched)
LOOKS = (apart,)
