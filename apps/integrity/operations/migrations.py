"""Migration operations that rename a model, a relation or a field in the deletion log.

operations = [
    migrations.RenameModel("Customer", "Client"),
    RenameTracked("shop.Customer", "shop.Client"),
]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.migrations.operations.base import Operation

from ..log.renaming import Kind, Renaming, field_of
from . import leaving, renames

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class DropOnlyWhenDone(Operation):
    """Refuses to migrate back while the log is needed: see leaving.py.

    It is the last operation, so it is the first one to be undone.
    """

    reduces_to_sql = False
    reversible = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: the state has no change."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Do nothing: only migrating back is checked."""

    def database_backwards(
        self,
        app_label: str,  # noqa: ARG002 (Django's signature)
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 (Django's signature)
        to_state: ProjectState,  # noqa: ARG002 (Django's signature)
    ) -> None:
        """Raise `LogNeeded` where recorded deletions or open work need the log."""
        leaving.require_done(schema_editor.connection.alias)

    def describe(self) -> str:
        """Return the line that `migrate --plan` shows."""
        return "Drop the deletion log only when nothing is recorded and no work is open"


class RenameTracked(Operation):
    """Gives open work in the log of the migrated database a new name, in the same transaction.

    `old` and `new` are labels of models ("shop.Customer") or of relations ("blog.Post.author"). Put
    the operation next to `RenameModel` or `RenameField`. It does nothing in a database without a
    log. Finished work keeps the old name; `manage.py integrity rename` renames that as well.
    Raises `ValueError` for labels of two kinds.
    """

    reduces_to_sql = False
    reversible = True

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new, self.kind = old, new, Kind.of(old)
        if Kind.ALIAS in {Kind.of(old), Kind.of(new)} or Kind.of(old) is not Kind.of(new):
            raise ValueError(
                f"RenameTracked({old!r}, {new!r}): give two labels of models, as in"
                ' "shop.Customer", or two of relations, as in "blog.Post.author"'
            )

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: Django's own operations rename models and fields."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 (Django's signature)
        to_state: ProjectState,  # noqa: ARG002 (Django's signature)
    ) -> None:
        """Rename in the log of this database, if it has one."""
        self._rename(app_label, schema_editor, self.old, self.new)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 (Django's signature)
        to_state: ProjectState,  # noqa: ARG002 (Django's signature)
    ) -> None:
        """Rename back in the log of this database, if it has one."""
        self._rename(app_label, schema_editor, self.new, self.old)

    def describe(self) -> str:
        """Return the line that `migrate --plan` shows."""
        return f"Rename {self.old} to {self.new} in the deletion log"

    @property
    def migration_name_fragment(self) -> str:
        """Return the part of a migration's name that `makemigrations` uses."""
        return f"rename_tracked_{self.new.replace('.', '_').lower()}"

    def _rename(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, old: str, new: str
    ) -> None:
        using = schema_editor.connection.alias
        if renames.has_log(using):
            change = Renaming(kind=self.kind, old=old, new=new)
            actor = f"migration of {app_label}"
            renames.rename_in(change, using=using, actor=actor, apply=True, history=False)


class RenameTrackedField(RenameTracked):
    """Renames a parent's field that a `to_field` names: values in the log get the new name.

    `old` and `new` are labels of fields ("shop.Customer.handle"). Put the operation next to the
    parent's `RenameField`. Raises `ValueError` for fields of two models.
    """

    def __init__(self, old: str, new: str) -> None:
        super().__init__(old, new)
        self.kind = Kind.FIELD
        if Kind.of(old) is not Kind.RELATION or field_of(old)[0] != field_of(new)[0]:
            raise ValueError(
                f"RenameTrackedField({old!r}, {new!r}): give two fields of one model, as in"
                ' "shop.Customer.handle"'
            )
