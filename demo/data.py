"""The accounts and their rows, and what must be left of them: the truth, kept while loading.

A comment goes with its author and with its post, as Django does inside one database; so half of
the comments stand under the post of somebody else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management.color import no_style
from django.db import connections, router
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django.db.models import Model

USERS = 10_000
ROWS = 200_000
EMPTY_USERS = 25
TICK = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many rows one account has."""

    posts: int
    comments: int
    orders: int

    @property
    def rows(self) -> int:
        """All of them."""
        return self.posts + self.comments + self.orders


GIANT = Share(posts=20_000, comments=40_000, orders=40_000)
LARGE = Share(posts=15_000, comments=30_000, orders=5_000)
SMALL = Share(posts=1, comments=2, orders=2)
EMPTY = Share(posts=0, comments=0, orders=0)


@dataclass
class Truth:
    """Rows of each account that is not deleted, as they must be in the databases."""

    living: set[int] = field(default_factory=set)
    posts: Counter[int] = field(default_factory=Counter)
    #: By author, and author of the post above.
    comments: Counter[tuple[int, int]] = field(default_factory=Counter)
    orders: Counter[int] = field(default_factory=Counter)

    def delete(self, keys: Iterable[int]) -> None:
        """Forget deleted accounts and all that goes with them."""
        gone = set(keys)
        self.living -= gone
        self.posts = Counter({key: n for key, n in self.posts.items() if key not in gone})
        self.orders = Counter({key: n for key, n in self.orders.items() if key not in gone})
        self.comments = Counter(
            {pair: n for pair, n in self.comments.items() if gone.isdisjoint(pair)}
        )

    @property
    def rows(self) -> int:
        """How many rows must be left."""
        return self.posts.total() + self.comments.total() + self.orders.total()


@dataclass(kw_only=True)
class Accounts:
    """Who is there: one with 100,000 rows, one with 50,000, some with none, the rest with few."""

    giant: User
    large: User
    empty: list[User]
    small: list[User]
    truth: Truth = field(default_factory=Truth)

    def take_empty(self) -> User:
        """Give an account without rows, to be deleted; each is given once."""
        user = self.empty.pop()
        self.truth.delete([user.pk])
        return user

    def shares(self) -> Iterator[tuple[int, Share]]:
        """Each account's key and how many rows it has; ROWS in all."""
        yield self.giant.pk, GIANT
        yield self.large.pk, LARGE
        missing = ROWS - GIANT.rows - LARGE.rows - SMALL.rows * len(self.small)
        for position, user in enumerate(self.small):
            orders = SMALL.orders + (position < missing)
            yield user.pk, Share(posts=SMALL.posts, comments=SMALL.comments, orders=orders)


def create_accounts() -> Accounts:
    """Create the accounts; nobody can log in to them yet."""
    names = ["giant", "large", *(f"empty-{n}" for n in range(1, EMPTY_USERS + 1))]
    names += [f"small-{n}" for n in range(1, USERS - len(names) + 1)]
    locked = make_password(None)
    users = User.objects.bulk_create(
        [User(username=name, password=locked) for name in names], batch_size=TICK
    )
    giant, large, *rest = users
    accounts = Accounts(
        giant=giant, large=large, empty=rest[:EMPTY_USERS], small=rest[EMPTY_USERS:]
    )
    accounts.truth.living = {user.pk for user in users}
    return accounts


def load(accounts: Accounts, told: Callable[[str, int], None]) -> None:
    """Fill blog_db and shop_db; `told` hears how many rows of each database are in."""
    shares = list(accounts.shares())
    first_post = _first_posts(shares)
    posts = _copy(Post, ("id", "title", "content", "author_id", "created_at"), _posts(shares))
    _tell("blog_db", posts, told)
    truth = accounts.truth
    truth.posts = Counter({key: share.posts for key, share in shares})
    comments = _comments(shares, first_post, truth.comments)
    columns = ("post_id", "author_id", "content", "created_at")
    _tell("blog_db", _copy(Comment, columns, comments), told, before=truth.posts.total())
    truth.orders = Counter({key: share.orders for key, share in shares})
    columns = ("order_number", "customer_id", "total", "created_at")
    _tell("shop_db", _copy(Order, columns, _orders(shares)), told)


def totals(accounts: Accounts) -> dict[str, int]:
    """How many rows `load` puts into each database."""
    shares = [share for _, share in accounts.shares()]
    return {
        "blog_db": sum(share.posts + share.comments for share in shares),
        "shop_db": sum(share.orders for share in shares),
    }


def _tell(
    database: str, rows: Iterator[int], told: Callable[[str, int], None], *, before: int = 0
) -> None:
    for number in rows:
        told(database, before + number)


def _first_posts(shares: Sequence[tuple[int, Share]]) -> list[int]:
    """Key of the first post of each account, in the order of `shares`."""
    first, found = 1, []
    for _, share in shares:
        found.append(first)
        first += share.posts
    return found


def _posts(shares: Sequence[tuple[int, Share]]) -> Iterator[tuple[Any, ...]]:
    now, key = timezone.now(), 0
    for author, share in shares:
        for number in range(1, share.posts + 1):
            key += 1
            yield key, f"Post {number}", f"Post {number} of account {author}.", author, now


def _comments(
    shares: Sequence[tuple[int, Share]], first_post: Sequence[int], truth: Counter[tuple[int, int]]
) -> Iterator[tuple[Any, ...]]:
    """Comments under own posts; of those with few rows, every other under the next one's post."""
    now, last = timezone.now(), len(shares) - 1
    for position, (author, share) in enumerate(shares):
        few = share.posts == SMALL.posts
        for number in range(share.comments):
            at = min(position + 1, last) if few and number % 2 else position
            post = first_post[at] + number % shares[at][1].posts
            truth[author, shares[at][0]] += 1
            yield post, author, f"Comment {number + 1}.", now


def _orders(shares: Sequence[tuple[int, Share]]) -> Iterator[tuple[Any, ...]]:
    now = timezone.now()
    for customer, share in shares:
        for number in range(1, share.orders + 1):
            yield f"{customer}-{number}", customer, f"{number % 500}.90", now


def _copy(
    model: type[Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> Iterator[int]:
    """Stream rows into the model's table; gives the number so far, now and then."""
    connection = connections[router.db_for_write(model)]
    number = 0
    with connection.cursor() as cursor:
        table, names = model._meta.db_table, ", ".join(columns)
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as stream:
            for number, row in enumerate(rows, 1):
                stream.write_row(row)
                if number % TICK == 0:
                    yield number
        # Keys given by hand leave the sequence behind; statistics are for the counts to come.
        for statement in connection.ops.sequence_reset_sql(no_style(), [model]):
            cursor.execute(statement)
        cursor.execute(f"ANALYZE {table}")
    yield number
