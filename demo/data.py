"""The accounts, their rows, and the rows that must remain after all deletions.

A comment is deleted with its author and with its post, as Django does inside one database.
Therefore, half of the comments belong to another account's post.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

from tests.chaos import rows
from tests.chaos.truth import Row, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

USERS = 10_000
ROWS = 200_000
EMPTY_USERS = 25
BATCH_SIZE = 1_000
#: Kind of row → its database.
HOMES = {"post": "blog_db", "comment": "blog_db", "order": "shop_db"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many rows one account has."""

    posts: int
    comments: int
    orders: int

    @property
    def rows(self) -> int:
        """Return the total number of rows."""
        return self.posts + self.comments + self.orders


GIANT = Share(posts=20_000, comments=40_000, orders=40_000)
LARGE = Share(posts=15_000, comments=30_000, orders=5_000)
SMALL = Share(posts=1, comments=2, orders=2)
EMPTY = Share(posts=0, comments=0, orders=0)


@dataclass(kw_only=True)
class Accounts:
    """All accounts: one with 100,000 rows, one with 50,000, some with none, the rest with few."""

    giant: User
    large: User
    empty: list[User]
    small: list[User]
    truth: Truth = field(default_factory=Truth)

    def take_empty(self) -> User:
        """Return an account without rows that is about to be deleted. Each is returned once."""
        user = self.empty.pop()
        self.truth.gone.add(user.pk)
        return user

    @property
    def left(self) -> int:
        """The number of rows that must remain in blog_db and shop_db."""
        total = sum(len(self.truth.rows[kind]) for kind in HOMES)
        return total - len(self.truth.doomed(self.truth.gone)) + len(self.truth.gone)

    def shares(self) -> Iterator[tuple[int, Share]]:
        """Yield each account's key and its number of rows. The total is ROWS."""
        yield self.giant.pk, GIANT
        yield self.large.pk, LARGE
        missing = ROWS - GIANT.rows - LARGE.rows - SMALL.rows * len(self.small)
        for position, user in enumerate(self.small):
            orders = SMALL.orders + (position < missing)
            yield user.pk, Share(posts=SMALL.posts, comments=SMALL.comments, orders=orders)


def create_accounts() -> Accounts:
    """Create the accounts, with unusable passwords."""
    names = ["giant", "large", *(f"empty-{n}" for n in range(1, EMPTY_USERS + 1))]
    names += [f"small-{n}" for n in range(1, USERS - len(names) + 1)]
    locked = make_password(None)
    users = User.objects.bulk_create(
        [User(username=name, password=locked) for name in names], batch_size=BATCH_SIZE
    )
    giant, large, *rest = users
    accounts = Accounts(
        giant=giant, large=large, empty=rest[:EMPTY_USERS], small=rest[EMPTY_USERS:]
    )
    accounts.truth.rows["user"] = {user.pk: (user.pk, user.username) for user in users}
    return accounts


def load(accounts: Accounts, progress: Callable[[str, int], None]) -> None:
    """Fill blog_db and shop_db; `progress` gets the number of rows loaded per database."""
    shares = list(accounts.shares())
    accounts.truth.rows |= {
        "post": {row[0]: row for row in _posts(shares)},
        "comment": {row[0]: row for row in _comments(shares)},
        "order": {row[0]: row for row in _orders(shares)},
    }
    before = dict.fromkeys(HOMES.values(), 0)
    for kind, database in HOMES.items():
        of_kind = accounts.truth.rows[kind]
        for number in rows.copy(kind, of_kind.values()):
            progress(database, before[database] + number)
        before[database] += len(of_kind)


def totals(accounts: Accounts) -> dict[str, int]:
    """Return the number of rows that `load` inserts into each database."""
    shares = [share for _, share in accounts.shares()]
    return {
        "blog_db": sum(share.posts + share.comments for share in shares),
        "shop_db": sum(share.orders for share in shares),
    }


def _posts(shares: Sequence[tuple[int, Share]]) -> Iterator[Row]:
    keys = count(1)
    for author, share in shares:
        for number in range(1, share.posts + 1):
            yield next(keys), author, f"Post {number}", f"Post {number} of account {author}."


def _comments(shares: Sequence[tuple[int, Share]]) -> Iterator[Row]:
    """Yield the comments, each on a post of its author.

    For small accounts, every second comment is on a post of the next account.
    """
    first_post, keys, last = _first_posts(shares), count(1), len(shares) - 1
    for position, (author, share) in enumerate(shares):
        few = share.posts == SMALL.posts
        for number in range(share.comments):
            at = min(position + 1, last) if few and number % 2 else position
            post = first_post[at] + number % shares[at][1].posts
            yield next(keys), author, post, f"Comment {number + 1}."


def _first_posts(shares: Sequence[tuple[int, Share]]) -> list[int]:
    """Return the key of each account's first post, in the order of `shares`."""
    first, keys = 1, []
    for _, share in shares:
        keys.append(first)
        first += share.posts
    return keys


def _orders(shares: Sequence[tuple[int, Share]]) -> Iterator[Row]:
    keys = count(1)
    for customer, share in shares:
        for number in range(1, share.orders + 1):
            yield next(keys), customer, f"{customer}-{number}", f"{number % 500}.90"
