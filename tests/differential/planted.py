"""The spread side with a planted fault, for the test of the test. `plant` names the fault."""

# ruff: noqa: S608 - names come from the models

from __future__ import annotations

from django.db import IntegrityError, connections, transaction

from .describe import zoo
from .side import Side

#: The first deletes go as they should.
SOUND = 3


class Faulty(Side):
    """Spoils what deletes leave, after some that are sound."""

    fault = ""
    deletes = 0

    def plant(self, fault):
        """Spoil with this fault from now on, after deletes that are sound."""
        self.fault, self.deletes = fault, 0
        return {"outcome": "done"}

    def delete(self, **arguments):
        answer = super().delete(**arguments)
        self.deletes += 1
        spoil = getattr(self, self.fault)
        return spoil(answer) if self.deletes > SOUND else answer

    def lost_row(self, answer):
        """A row is gone that nobody deleted."""
        for model in zoo():
            if model.__name__ in answer["rows"] and self._execute(
                model, 'DELETE FROM "{0}" WHERE rowid = (SELECT max(rowid) FROM "{0}")'
            ):
                break
        return {**answer, "rows": self.tables.rows()}

    def changed_key(self, answer):
        """A row has lost its key."""
        for model in zoo():
            for field in model._meta.local_concrete_fields:
                if (
                    field.is_relation
                    and field.null
                    and self._execute(
                        model,
                        f'UPDATE "{{0}}" SET "{field.column}" = NULL'
                        f' WHERE rowid = (SELECT max(rowid) FROM "{{0}}"'
                        f' WHERE "{field.column}" IS NOT NULL)',
                    )
                ):
                    return {**answer, "rows": self.tables.rows()}
        return answer

    def kept_row(self, answer):
        """A row that should be gone came back: a new one stands for it."""
        model = self.models["Top"]
        self._execute(model, 'INSERT INTO "{0}" VALUES (999)')
        return {**answer, "rows": self.tables.rows()}

    def swallowed_error(self, answer):
        """A refusal is not told."""
        return {**answer, "outcome": "done"}

    def _execute(self, model, sql):
        """Run it on the model's table; whether that changed a row."""
        alias = self.tables.homes[model.__name__]
        try:
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                cursor.execute(sql.format(model._meta.db_table))
                return cursor.rowcount > 0
        except IntegrityError:
            return False
