"""All rows of all tables of a side, read by SQL that asks nothing of the product."""

# ruff: noqa: S608 - names come from the models

from __future__ import annotations

import json
import uuid

from django.contrib.contenttypes.models import ContentType
from django.db import connections, models, transaction

from .describe import zoo
from .spread import SPREAD, current

#: The content types of two databases have different ids: those of the n-th alias begin here.
APART = 10_000
#: The tables of the log.
LOG = ("integrity_cascade", "integrity_suspect", "integrity_deletion")
#: Counts in a child's database. Without its log they would prove that the log was restored.
TALLY = "integrity_tally"
FUNCTIONS = {
    "sqlite": "json_array({})",
    "postgresql": "json_build_array({})::text",
    "mysql": "json_array({})",
}


class Tables:
    """The tables of the zoo, each in its home, and those of the log."""

    def __init__(self):
        self.homes = {model.__name__: current().home(model.__name__) for model in zoo()}
        self._sql = {alias: self._select(alias) for alias in connections}
        self._moved_content_types()
        self._logged = {}
        self._logs = {alias: LOG for alias in connections if _has(LOG[-1], alias)}
        self._counted = {alias for alias in connections if _has(TALLY, alias)}
        self._labels = {
            each.pk: each.model_class().__name__
            for alias in connections
            for each in ContentType.objects.using(alias)
            if each.app_label == "zoo"
        }
        self._readers = {
            model.__name__: [self._reader(each) for each in model._meta.local_concrete_fields]
            for model in zoo()
        }
        self._types = {
            (alias, self._labels[each.pk]): each.pk
            for alias in connections
            for each in ContentType.objects.using(alias)
            if each.app_label == "zoo"
        }

    def rows(self):
        """Name of the model → its rows, sorted. The id of a content type is its model's name."""
        found = {}
        for alias, sql in self._sql.items():
            with connections[alias].cursor() as cursor:
                cursor.execute(sql)
                for name, row in cursor.fetchall():
                    found.setdefault(name, []).append(self._row(name, json.loads(row)))
        return {name: sorted(rows, key=repr) for name, rows in sorted(found.items())}

    def empty(self):
        """Delete every row of the zoo and of the log."""
        held, self._logged = self.rows(), {}
        for alias in connections:
            tables = [
                model._meta.db_table
                for model in zoo()
                if model.__name__ in held and self.homes[model.__name__] == alias
            ]
            with (
                transaction.atomic(using=alias),
                connections[alias].constraint_checks_disabled(),
                connections[alias].cursor() as cursor,
            ):
                counts = [TALLY] if alias in self._counted else []
                for table in (*tables, *self._logs.get(alias, ()), *counts):
                    cursor.execute(f"DELETE FROM {_quoted(alias, table)}")

    def insert(self, model, values):
        """Save a row. Keys that are not given are null; the content type is named, for its id."""
        home = self.homes[model.__name__]
        if named := values.get("content_type_id"):
            values = {**values, "content_type_id": self._type(model.__name__, named, home)}
        null = {each.attname: None for each in model._meta.concrete_fields if each.null}
        model(**null | values).save(using=home, force_insert=True)

    def recorded(self):
        """The aliases whose logs have more deletions than when this was asked last."""
        before, self._logged = self._logged, {}
        for alias in self._logs:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT count(*) FROM integrity_deletion")
                self._logged[alias] = cursor.fetchone()[0]
        return [alias for alias, number in self._logged.items() if number > before.get(alias, 0)]

    def _type(self, child, parent, home):
        """The id that rows of `child` hold for `parent`."""
        if current().side == SPREAD and not current().together(child, parent):
            home = current().content_types(child, parent)
        return self._types[home, parent]

    def _row(self, name, row):
        return [
            read(value) if value is not None and read else value
            for read, value in zip(self._readers[name], row, strict=True)
        ]

    def _reader(self, field):
        """What makes of a column's value what both sides can compare; None: nothing does."""
        if field.name == "content_type":
            return lambda value: self._labels.get(value, value)
        while field.is_relation:
            field = field.target_field
        return _uuid if isinstance(field, models.UUIDField) else None

    def _select(self, alias):
        function = FUNCTIONS[connections[alias].vendor]
        return (
            " UNION ALL ".join(
                f"SELECT '{model.__name__}', {function.format(_names(alias, model))}"
                f" FROM {_quoted(alias, model._meta.db_table)}"
                for model in zoo()
                if self.homes[model.__name__] == alias
            )
            or "SELECT '', '' WHERE 1 = 0"
        )

    def _moved_content_types(self):
        for number, alias in enumerate(connections):
            with connections[alias].cursor() as cursor:
                cursor.execute(f"UPDATE django_content_type SET id = id + {number * APART}")
        ContentType.objects.clear_cache()


def _has(table, alias):
    return table in connections[alias].introspection.table_names()


def _uuid(value):
    return str(uuid.UUID(value))  # SQLite has no hyphens in it


def _names(alias, model):
    return ", ".join(_quoted(alias, each.column) for each in model._meta.local_concrete_fields)


def _quoted(alias, name):
    return connections[alias].ops.quote_name(name)
