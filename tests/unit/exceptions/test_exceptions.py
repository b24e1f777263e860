"""Each error survives the way from a worker's process to its parent, and quotes no endless text."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from apps.integrity import exceptions
from apps.integrity.exceptions import (
    CrossDatabaseError,
    DatabaseHindered,
    DatabaseUnreachable,
    FiguresUnavailable,
    FilteredRead,
    IdentityMismatch,
    InvalidRole,
    KeyTooLong,
    LogNeeded,
    MissingContentType,
    MissingParent,
    NotDrained,
    NotTheParents,
    RestoredDatabase,
    RouterFailed,
    RowsKept,
    TablesHeld,
    TooManyKeys,
    UnknownName,
)

SPECIAL: dict[type[CrossDatabaseError], CrossDatabaseError] = {
    UnknownName: UnknownName("child database", "nope", ["blog_db", "shop_db"]),
    DatabaseHindered: DatabaseHindered("blog_db", "it is read-only (25006)"),
    FiguresUnavailable: FiguresUnavailable(2.0),
    FilteredRead: FilteredRead("blog_post", "blog_db"),
    DatabaseUnreachable: DatabaseUnreachable("blog_db", TimeoutError("too\nlate")),
    NotTheParents: NotTheParents("auth.User", "default", "tenant", "public"),
    RouterFailed: RouterFailed(object(), "db_for_read", "blog.Post", KeyError("blog")),
    RowsKept: RowsKept("blog.Post.author", "blog_db"),
    LogNeeded: LogNeeded("default", ["work is open"]),
    TablesHeld: TablesHeld("default", ["auth_user is held by pid 1"]),
    InvalidRole: InvalidRole("public", "it means everybody"),
    MissingParent: MissingParent("blog.Post.author", "42"),
    TooManyKeys: TooManyKeys("a.B.c", "blog_db", 5),
    MissingContentType: MissingContentType("a.B.c@d.E", "d.E", "default"),
    RestoredDatabase: RestoredDatabase("blog_db", "it was restored from a backup"),
    IdentityMismatch: IdentityMismatch("blog_db", ["it belongs to 1", "it belongs to 2"]),
    KeyTooLong: KeyTooLong("auth.User", 255),
    NotDrained: NotDrained({"blog_db": "1 blocked, ValueError: why", "shop_db": "paused"}),
}
KINDS = [
    each
    for _, each in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(each, CrossDatabaseError)
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_the_same_after_the_way_through_a_pipe(
    kind: type[CrossDatabaseError], protocol: int
) -> None:
    error = SPECIAL.get(kind) or kind("why")
    piped = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 (made on the line)
    for found in (piped, copy.copy(error)):
        assert type(found) is kind
        assert (found.args, vars(found), str(found)) == (error.args, vars(error), str(error))


def test_a_reason_is_one_line() -> None:
    assert DatabaseUnreachable("blog_db", TimeoutError("too\nlate")).reason == "too late"
    assert str(DatabaseUnreachable("blog_db", TimeoutError())) == "blog_db: TimeoutError"


def test_an_unknown_name_is_quoted_in_part() -> None:
    error = UnknownName("child database", "x\n" * 10_000, ["blog_db"])
    assert error.name == "x " * 49 + "x…"
    assert str(error) == f"unknown child database {error.name!r}; known: blog_db"
