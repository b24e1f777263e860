"""The privileges that each database role needs, and no more: the catalogue → GRANT statements.

Takes the catalogue and its plans; gives statements per database. Only `advice` queries. The
*worker* role dispatches, cascades, verifies, scans, purges, and serves the command line; the *web*
role deletes parents and logs it. Tables belong to a third role, the one that migrates.

Note [Row locks]: PostgreSQL lets a role lock rows (`FOR UPDATE`) that may update some column of
them. Where rows are locked to be deleted, that is the primary key: changing it is refused for
rows that others refer to, and leaves every other column out of reach.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import Error, connections, router
from django.db.models.deletion import get_candidate_relations_to_delete

from . import claims, conf, relations
from .backends import visibility
from .columns import columns_of, generic_of
from .models import Alarm, Audit, Cascade, ChildDatabase, Deletion, Heartbeat, Identity, Scan
from .plan import Way, plan
from .policies import Policy, policy_of
from .protection import graph_of, tables_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .plan import Node, Plan
    from .relations import Catalogue, Field, ForeignKey, Model, Relation


class Privilege(enum.StrEnum):
    """What may be granted here. TRUNCATE, REFERENCES and TRIGGER never are."""

    SELECT = "SELECT"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


SELECT, INSERT, UPDATE, DELETE = Privilege

#: What a row of the log is about: no worker may change it, so none can re-aim a deletion.
FIXED = {"parent", "key", "targets", "source", "relation", "deletion", "database"}

#: What the worker does with each table of the log; UPDATE means the columns outside `FIXED`.
LOG: dict[Model, tuple[Privilege, ...]] = {
    Deletion: (SELECT, UPDATE, DELETE),
    Cascade: (SELECT, INSERT, UPDATE, DELETE),
    Scan: (SELECT, INSERT, UPDATE),
    Identity: (SELECT, INSERT, UPDATE),
    ChildDatabase: (SELECT, INSERT, UPDATE),
    Heartbeat: (SELECT, INSERT, UPDATE),
    Alarm: (SELECT, INSERT, DELETE),
    Audit: (INSERT,),
}


@dataclass(frozen=True, slots=True)
class Need:
    """One privilege on a table in one database; on one of its columns, where named."""

    database: str
    table: str
    privilege: Privilege
    column: str = ""


@dataclass(frozen=True, slots=True)
class Grants:
    """The statements for one database, or why there are none."""

    database: str
    statements: tuple[str, ...]
    skipped: str = ""


def grants(role: str, *, web: bool = False) -> tuple[Grants, ...]:
    """What `role` must be granted in each database of the catalogue, as worker or as web role."""
    found = relations.catalogue()
    needs = set(_web(found) if web else _worker(found))
    databases = dict.fromkeys((*found.log_databases, *found.child_databases))
    return tuple(
        _in_database(alias, role, {each for each in needs if each.database == alias})
        for alias in databases
    )


def advice(alias: str, role: str) -> str:
    """Return what a superuser has to do besides, where tables have row security; or "".

    Asks the database, which may be away: then there is no advice.
    """
    found = relations.catalogue().relations
    models = {model for each in found for model, home in claims.tables(each) if home == alias}
    try:
        tables = visibility.secured(models, alias)
    except Error:
        return ""
    if not tables:
        return ""
    return (
        f"-- Row level security is on for {', '.join(tables)}. The worker has to see all rows:\n"
        f"-- as a superuser, ALTER ROLE {_quoted(role)} BYPASSRLS;"
    )


def _quoted(role: str) -> str:
    # Not by `quote_name`, which lets a quoted name pass: a role is no name of a model.
    return '"{}"'.format(role.replace('"', '""'))


def _in_database(alias: str, role: str, needs: set[Need]) -> Grants:
    vendor = connections[alias].vendor
    if vendor != "postgresql":
        return Grants(alias, (), f"{vendor}: grants are made for PostgreSQL only")
    quote = connections[alias].ops.quote_name
    statements = (
        f"GRANT {_privileges(needs, table, quote)} ON {quote(table)} TO {_quoted(role)};"
        for table in sorted({each.table for each in needs})
    )
    return Grants(alias, tuple(statements))


def _privileges(needs: Iterable[Need], table: str, quote: Any) -> str:
    """As in `SELECT, DELETE, UPDATE ("id")`; a column is left out where the table is granted."""
    words = []
    for privilege in Privilege:
        columns = {
            each.column for each in needs if (each.table, each.privilege) == (table, privilege)
        }
        if "" in columns:
            words.append(str(privilege))
        elif columns:
            words.append(f"{privilege} ({', '.join(map(quote, sorted(columns)))})")
    return ", ".join(words)


def _on(database: str, model: Model, *privileges: Privilege) -> Iterator[Need]:
    for privilege in privileges:
        yield Need(database, model._meta.db_table, privilege)


def _column(database: str, field: Field, privilege: Privilege) -> Need:
    return Need(database, field.model._meta.db_table, privilege, str(field.column))


# The worker


def _worker(found: Catalogue) -> Iterator[Need]:
    for using in dict.fromkeys((*found.log_databases, *found.child_databases)):
        yield from _log(using)
    for relation in found.relations:
        yield from _scan(relation)
        if relation.policy.cascades:
            for database in relation.child_databases:
                yield from _cascade(plan(relation), database, found)


def _log(using: str) -> Iterator[Need]:
    """Its tables, as far as they are there: child databases have one of them."""
    there = {each: router.allow_migrate_model(using, each) for each in LOG}
    for model in filter(there.get, LOG):
        for privilege in LOG[model]:
            if privilege is UPDATE:
                for field in model._meta.concrete_fields:
                    if field.name not in FIXED and not field.primary_key:
                        yield _column(using, field, UPDATE)
            else:
                yield from _on(using, model, privilege)
    if there[Audit]:
        for field in Audit._meta.db_returning_fields:
            yield _column(using, field, SELECT)


def _scan(relation: Relation) -> Iterator[Need]:
    """Keys of children and parents are compared, and no more of the parents is ever seen."""
    for home in relation.parent_databases:
        yield _column(home, relations.primary_key(relation.parent), SELECT)
        yield _column(home, relation.target, SELECT)
    for database in relation.child_databases:
        for column in columns_of(relation.field):
            yield _column(database, column, SELECT)
    yield from _content_types(relation)
    if relation.policy.cascades:
        yield from _on(relation.parent_databases[0], Deletion, INSERT)  # suspects


def _content_types(relation: Relation) -> Iterator[Need]:
    """What tells which rows of a generic relation are of its parent."""
    if generic := generic_of(relation.field):
        for field in generic.column.remote_field.model._meta.concrete_fields:
            yield _column(generic.content_types, field, SELECT)


def _cascade(way: Plan, database: str, found: Catalogue) -> Iterator[Need]:
    if way.way is Way.COLLECTOR:
        model = way.root.field.model
        yield from _lock(model, database)
        yield from _collected(model, database, found, set())
    else:
        yield from _set_based(way.root, database)


def _lock(model: Model, database: str) -> Iterator[Need]:
    """See Note [Row locks]."""
    for part in relations.pk_fields(model):
        yield _column(database, part, UPDATE)


def _set_based(node: Node, database: str) -> Iterator[Need]:
    model = node.field.model
    if node.update:
        yield from _update(node.field, database)
        return
    yield from _on(database, model, SELECT, DELETE)
    yield from _lock(model, database)
    for sub in node.below:
        yield from _set_based(sub, database)


def _update(key: ForeignKey, database: str) -> Iterator[Need]:
    yield from _on(database, key.model, SELECT)
    for column in columns_of(key):
        yield _column(database, column, UPDATE)


# The web


def _web(found: Catalogue) -> Iterator[Need]:
    for relation in found.relations:
        for home in relation.parent_databases:
            yield from _collected(relation.parent, home, found, set())


# Both


def _collected(model: Model, database: str, found: Catalogue, seen: set[Model]) -> Iterator[Need]:
    """What Django's Collector does on `database` when rows of `model` go, and what it captures."""
    if model in seen:
        return
    seen.add(model)
    for table in (model, *model._meta.get_parent_list()):
        yield from _on(database, table, SELECT, DELETE)
        yield from _capture(table, database, found)
        yield from _asked_at_once(table, database, found)
    crossing = {each.field for each in found.relations}
    crossing |= {each.field for each in found.unknown_homes}
    referring: Iterable[Any] = get_candidate_relations_to_delete(model._meta)
    for key in (each.field for each in referring):
        policy = policy_of(key)
        if key in crossing:
            continue
        if policy is Policy.CASCADE:
            yield from _collected(key.model, database, found, seen)
        elif policy.checked_at_once:
            yield from _on(database, key.model, SELECT)
        elif policy is not Policy.DO_NOTHING:
            yield from _update(key, database)
    for field in model._meta.private_fields:
        if hasattr(field, "bulk_related_objects") and field.remote_field:
            content_type = field.remote_field.model._meta.get_field(field.content_type_field_name)
            yield from _on(database, content_type.related_model, SELECT)
            yield from _collected(field.remote_field.model, database, found, seen)


def _capture(model: Model, database: str, found: Catalogue) -> Iterator[Need]:
    """One INSERT … RETURNING. The log's key is an identity column: no sequence is granted."""
    if model in found.parents.values() and database in relations.databases_for(model):
        yield from _on(database, Deletion, INSERT)
        seen = {"key"}
        if conf.current().capture_of(model._meta.label) != "signal":
            seen |= {"parent", "source", "recorded_at"}  # what the trigger has recorded already
        for column in seen:
            yield Need(database, Deletion._meta.db_table, SELECT, column)


def _asked_at_once(parent: Model, home: str, found: Catalogue) -> Iterator[Need]:
    """PROTECT and RESTRICT look before the delete, as far down as its cascades lead."""
    for edge, table, database in tables_of(graph_of(found), relations.concrete(parent), home):
        if edge.relation is not None:
            yield from _content_types(edge.relation)
        yield from _on(database, table, SELECT)
