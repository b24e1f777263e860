"""What was done to the rows of a scene, and what must be left of them by now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from apps.integrity.models import Deletion
from tests.chaos import rows, truth

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Truth(truth.Truth):
    """The truth about a scene, told by its acts."""

    #: Users deleted and created again.
    back: set[int] = field(default_factory=set)

    def adopt(self) -> None:
        """Rows that are new now belong there; so do users as they are now."""
        for kind, present in rows.stored(rows.ALL_COLUMNS).items():
            known = self.rows[kind]
            self.rows[kind] = known | present if kind == "user" else present | known

    def reborn(self, user: int, *, spared: bool) -> None:
        """A deleted user is there again; `spared` says that not a single row was removed before."""
        self.gone.discard(user)
        self.back.add(user)
        if not spared:
            self.optional |= self.doomed([user])

    def left(self, users: Iterable[int]) -> list[str]:
        """Return the rows of deleted users that are still there."""
        present = {(kind, key) for kind, of_kind in rows.stored().items() for key in of_kind}
        return [f"{kind} {key} left" for kind, key in sorted(self.doomed(users) & present)]

    def receipts(self, user: int) -> dict[str, dict[str, int]]:
        """Return database → relation → the rows that went with that user, each counted once.

        Whoever wrote a comment comes first: the post takes along what others wrote.
        """
        posts = {key for key, row in self.rows["post"].items() if row[1] == user}
        comments = [row[1:3] for row in self.rows["comment"].values()]
        return {
            "blog_db": {
                "blog.Comment.author": sum(author == user for author, _ in comments),
                "blog.Comment.post": sum(
                    author != user and post in posts for author, post in comments
                ),
                "blog.Post.author": len(posts),
            },
            "shop_db": {
                "shop.Order.customer": sum(row[1] == user for row in self.rows["order"].values())
            },
        }

    def problems(self) -> list[str]:
        """Return rows that are not as they must be, and users that are not in the log once."""
        actual = rows.stored(rows.ALL_COLUMNS)
        deletes = Deletion.objects.exclude(source=Deletion.Source.SCAN)
        logged = Counter(int(key) for key in deletes.values_list("key", flat=True))
        of_log = truth.of_log(logged, self.gone | self.back)
        twice = {key for key, number in logged.items() if number > 1}
        return [
            *(f"{wrong.what}: {wrong.key}" for wrong in self.differences(actual)),
            *(f"user {key} {what}" for what, keys in of_log.items() for key in sorted(keys)),
            *(f"user {key} logged more than once" for key in sorted(twice)),
        ]
