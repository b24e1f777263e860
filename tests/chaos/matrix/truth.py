"""Every row that should be there, against every row that is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections

from apps.integrity.models import Deletion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Kind → database, table, the user's key, the post's key.
TABLES = {
    "user": ("default", "auth_user", "id", "NULL"),
    "post": ("blog_db", "blog_post", "author_id", "id"),
    "comment": ("blog_db", "blog_comment", "author_id", "post_id"),
    "order": ("shop_db", "shop_order", "customer_id", "NULL"),
}

#: User, post, and all columns as text.
Row = tuple[int, int | None, str]


def stored(kind: str) -> dict[int, Row]:
    """All rows of a kind as they are now."""
    alias, table, user, post = TABLES[kind]
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT id, {user}, {post}, {table}::text FROM {table}")  # noqa: S608
        return {row[0]: tuple(row[1:]) for row in cursor.fetchall()}


@dataclass
class Truth:
    """Rows that were put in, and users that were deleted."""

    rows: dict[str, dict[int, Row]] = field(default_factory=lambda: {kind: {} for kind in TABLES})
    gone: set[int] = field(default_factory=set)
    #: Users deleted and created again.
    back: set[int] = field(default_factory=set)
    #: Rows of those that may be gone: they were there before, and the cascade had begun.
    either: set[tuple[str, int]] = field(default_factory=set)

    def adopt(self) -> None:
        """Rows that are new now belong there; so do users as they are now."""
        for kind in TABLES:
            for key, row in stored(kind).items():
                if kind == "user":
                    self.rows[kind][key] = row
                else:
                    self.rows[kind].setdefault(key, row)

    def reborn(self, user: int, *, spared: bool) -> None:
        """A deleted user is there again; `spared` says that not a single row was removed before."""
        self.gone.discard(user)
        self.back.add(user)
        if not spared:
            posts = {key for key, row in self.rows["post"].items() if row[0] == user}
            self.either |= {
                (kind, key)
                for kind in ("post", "comment", "order")
                for key, row in self.rows[kind].items()
                if row[0] == user or row[1] in posts
            }

    def of(self, users: Iterable[int]) -> set[tuple[str, int]]:
        """Rows that go with those users: kind and key."""
        wanted = set(users)
        posts = {key for key, row in self.rows["post"].items() if row[0] in wanted}
        return {
            (kind, key)
            for kind, rows in self.rows.items()
            for key, row in rows.items()
            if row[0] in wanted or (kind == "comment" and row[1] in posts)
        }

    def left(self, users: Iterable[int]) -> list[str]:
        """Rows of deleted users that are still there."""
        there = {(kind, key) for kind in TABLES for key in stored(kind)}
        return [f"{kind} {key} left" for kind, key in sorted(self.of(users) & there)]

    def differences(self) -> list[str]:
        """What is there and should not be, is not and should be, or is not as it was."""
        doomed = self.of(self.gone)
        return [
            *(each for kind in TABLES for each in self._differences(kind, doomed)),
            *self._in_the_log(),
        ]

    def _differences(self, kind: str, doomed: set[tuple[str, int]]) -> Iterator[str]:
        there, known = stored(kind), self.rows[kind]
        for key in sorted(there.keys() - known.keys()):
            yield f"{kind} {key} from nowhere"
        for key, row in sorted(known.items()):
            if (kind, key) in doomed:
                if key in there:
                    yield f"{kind} {key} left"
            elif key not in there:
                if (kind, key) not in self.either:
                    yield f"living {kind} {key} gone"
            elif there[key] != row:
                yield f"living {kind} {key} changed"

    def _in_the_log(self) -> Iterator[str]:
        deletes = Deletion.objects.exclude(source=Deletion.Source.SCAN)
        logged = Counter(int(key) for key in deletes.values_list("key", flat=True))
        for key in sorted(self.gone | self.back):
            if logged.pop(key, 0) != 1:
                yield f"user {key} is not in the log once"
        for key in sorted(logged):
            yield f"user {key} is in the log and was not deleted"
