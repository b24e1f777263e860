"""Explain "permission denied": which role lacks which privilege, and who can grant it.

The server's text is in the server's language and names no privilege. So this module looks for the
project's tables in that text, and for the statement in the error's traceback. It shows no value of
a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.utils import CursorWrapper

from ..backends.errors import code_of, database_of, is_row_security
from ..exceptions.redaction import plain

if TYPE_CHECKING:
    from types import TracebackType

INSUFFICIENT_PRIVILEGE = "42501"
LOCKS = " FOR UPDATE"


def explain(error: Exception) -> str:
    """Return which privilege is missing, and the remedy; "" for any other error."""
    if code_of(error) != INSUFFICIENT_PRIVILEGE or is_row_security(error):
        return ""
    alias = database_of(error) or DEFAULT_DB_ALIAS
    role = plain(connections[alias].settings_dict["USER"])
    return (
        f"the role {role!r} of {alias!r} may not {_action(error)}{_table(error)} (42501)."
        " `manage.py integrity grants` prints the GRANT statements for workers, and with --web or"
        " --dashboard those for the site; `rename --apply` and `install-triggers` need the owner of"
        " the tables"
    )


def _action(error: Exception) -> str:
    """Return the kind of the refused statement, as in "UPDATE"."""
    sql, traceback = "", error.__traceback__
    while traceback is not None:
        sql = _sql(traceback) or sql
        traceback = traceback.tb_next
    words = sql.split(maxsplit=1)
    if not words:
        return "run this"
    return plain(words[0].upper()) + (LOCKS if LOCKS in sql else "")


def _sql(traceback: TracebackType) -> str:
    variables = traceback.tb_frame.f_locals
    sql = variables.get("sql")
    return sql if isinstance(variables.get("self"), CursorWrapper) and isinstance(sql, str) else ""


def _table(error: Exception) -> str:
    """Return the project's table that the server's text names, after a space; or ""."""
    words = str(error).replace('"', " ").split()
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    return next((f" {plain(word)}" for word in words if word in tables), "")
