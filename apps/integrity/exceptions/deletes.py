"""Errors that a project's own calls may raise: a delete, a save, or `record()`."""

from __future__ import annotations

from typing import ClassVar

from django.db import IntegrityError

from .base import CrossDatabaseError


class InvalidKey(CrossDatabaseError, ValueError):
    """A parent's field cannot hold that key. The message names the field and never the key.

    Keys are ids, and may be shown and logged. Text that the field cannot hold may be anything, so
    it is never quoted.
    """


class InvalidBecause(CrossDatabaseError, ValueError):
    """What `capture.because()` was given cannot be recorded. The message never quotes it."""


class KeyTooLong(InvalidKey):
    """A deleted parent has a key, or a value of a `to_field`, that is too long for the log."""

    def __init__(self, parent: str, most: int) -> None:
        self.parent, self.most = parent, most
        super().__init__(
            f"{parent}: a key, or a value that other rows refer to, has more than {most}"
            " characters: the deletion log cannot hold it. Nothing was deleted. Shorten it in this"
            " row and in those that refer to it, or set INTEGRITY['capture'] to 'off' for"
            f" {parent} and delete the rows that refer to it yourself"
        )


class ParentStillExists(CrossDatabaseError):
    """`record` was called for parents that still exist."""


class NotTheParents(CrossDatabaseError):
    """The connection led to a table in another schema than the parents' own."""

    def __init__(self, parent: str, database: str, schema: str, log: str) -> None:
        self.parent, self.database, self.schema = parent, database, schema
        super().__init__(
            f"{parent} in {database!r}: the table is in the schema {schema!r}, and the deletion log"
            f" in {log!r}. Nothing was recorded, and nothing will be cascaded: parents are the rows"
            " of the table beside the log"
        )


class ChildDatabaseUnavailable(CrossDatabaseError):
    """PROTECT or RESTRICT could not be checked in a child database, so the delete is refused."""


class TooManyKeys(ChildDatabaseUnavailable):
    """A PROTECT or RESTRICT check would need more keys than the setting `protect_keys`."""

    def __init__(self, relation: str, database: str, most: int) -> None:
        self.relation, self.database, self.most = relation, database, most
        super().__init__(
            f"{relation}: more than {most:,} keys in {database!r} would have to be checked for"
            " rows that refer to what is being deleted. Nothing was deleted; delete fewer rows at"
            " once, or raise INTEGRITY['protect_keys']."
        )


class MissingParent(CrossDatabaseError, IntegrityError):
    """The row to be saved has the key of a parent that does not exist."""

    #: The key may be an e-mail address: a form may show it, a log may not.
    safe_to_quote: ClassVar[bool] = False

    def __init__(self, relation: str, key: str) -> None:
        self.relation, self.key = relation, key
        super().__init__(
            f"{relation}: there is no parent {key}. Save the parent first, in its own database;"
            " if it was deleted meanwhile, choose another one"
        )
