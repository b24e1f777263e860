"""Names of tables and columns as SQL has them, and a generic relation's condition on its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from ..relations.generic import content_type_condition

if TYPE_CHECKING:
    from ..relations import Field


class QuotedNames(dict[str, str]):
    """Names of tables and columns, quoted by the backend and safe beside parameters."""

    def __init__(self, using: str, **names: str | None) -> None:
        quote = connections[using].ops.quote_name
        super().__init__(
            {label: quote(str(name)).replace("%", "%%") for label, name in names.items()}
        )


def names_of(field: Field, using: str) -> QuotedNames:
    """Return the quoted names of a field's `table` and column (`key`)."""
    return QuotedNames(using, table=field.model._meta.db_table, key=field.column)


def extra_conditions(field: Field, row: str, using: str) -> str:
    """Return what follows the condition on the key of `row`; "" where the key is all.

    Rows of a generic relation also need the content type of their parents.
    """
    return "".join(
        f" AND {row}.{names_of(column, using)['key']} = {int(value)}"
        for column, value in content_type_condition(field).items()
    )
