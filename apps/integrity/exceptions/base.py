"""The base of all errors of this app."""

from __future__ import annotations

from typing import Any, ClassVar


class CrossDatabaseError(Exception):
    """Base of the app's errors; do not raise it directly."""

    #: Whether logs and reasons may quote its text: it has names and ids, and no data of rows.
    safe_to_quote: ClassVar[bool] = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without `__init__`, whose arguments may differ from the message."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[CrossDatabaseError], args: tuple[Any, ...]) -> CrossDatabaseError:
    return kind.__new__(kind, *args)
