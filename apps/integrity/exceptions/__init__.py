"""The errors of this app. All have the base `CrossDatabaseError`."""

from __future__ import annotations

from .base import CrossDatabaseError
from .configuration import (
    InvalidName,
    InvalidRole,
    InvalidSetting,
    LogNeeded,
    RouterFailed,
    TablesHeld,
    TriggersRefused,
    UnknownName,
    UnusablePolicy,
)
from .databases import (
    DatabaseHindered,
    DatabaseUnreachable,
    FiguresUnavailable,
    FilteredRead,
    IdentityMismatch,
    MissingContentType,
    RestoredDatabase,
)
from .deletes import (
    ChildDatabaseUnavailable,
    InvalidBecause,
    InvalidKey,
    KeyTooLong,
    MissingParent,
    NotTheParents,
    ParentStillExists,
    TooManyKeys,
)
from .work import NotDrained, NotErased, NotYet, ReceiverExits, RowsKept, TaskFailed

__all__ = [
    "ChildDatabaseUnavailable",
    "CrossDatabaseError",
    "DatabaseHindered",
    "DatabaseUnreachable",
    "FiguresUnavailable",
    "FilteredRead",
    "IdentityMismatch",
    "InvalidBecause",
    "InvalidKey",
    "InvalidName",
    "InvalidRole",
    "InvalidSetting",
    "KeyTooLong",
    "LogNeeded",
    "MissingContentType",
    "MissingParent",
    "NotDrained",
    "NotErased",
    "NotTheParents",
    "NotYet",
    "ParentStillExists",
    "ReceiverExits",
    "RestoredDatabase",
    "RouterFailed",
    "RowsKept",
    "TablesHeld",
    "TaskFailed",
    "TooManyKeys",
    "TriggersRefused",
    "UnknownName",
    "UnusablePolicy",
]
