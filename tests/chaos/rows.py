"""The sample project's rows: put into its databases, and read from them as `truth` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.management.color import no_style
from django.db import connections, router
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.db.models import Model

    from .truth import Row, Rows

MODELS: dict[str, type[Model]] = {"user": User, "post": Post, "comment": Comment, "order": Order}
#: What a row is made of: key, parents, content.
COLUMNS = {
    "user": ("id", "username"),
    "post": ("id", "author_id", "title", "content"),
    "comment": ("id", "author_id", "post_id", "content"),
    "order": ("id", "customer_id", "order_number", "total"),
}
#: The same, and then all others.
ALL_COLUMNS = {
    kind: tuple(dict.fromkeys((*COLUMNS[kind], *(field.attname for field in model._meta.fields))))
    for kind, model in MODELS.items()
}
#: Columns that a new row needs besides; their values are of no interest.
FILLED: dict[str, dict[str, Any]] = {
    "user": {
        "password": "!",
        "is_superuser": False,
        "first_name": "",
        "last_name": "",
        "email": "",
        "is_staff": False,
        "is_active": True,
        "date_joined": timezone.now,
    },
    **{kind: {"created_at": timezone.now} for kind in ("post", "comment", "order")},
}
#: Rows between two numbers that `copy` yields.
TICK = 1_000


def load(rows: Rows) -> None:
    """Fill the three empty databases."""
    for kind, of_kind in rows.items():
        for _ in copy(kind, of_kind.values()):
            pass


def copy(kind: str, rows: Iterable[Row]) -> Iterator[int]:
    """Stream rows of a kind into its table; yield how many are in so far, now and then."""
    model = MODELS[kind]
    connection, table = connections[router.db_for_write(model)], model._meta.db_table
    names = ", ".join((*COLUMNS[kind], *FILLED[kind]))
    rest = [value() if callable(value) else value for value in FILLED[kind].values()]
    number = 0
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as stream:
            for number, row in enumerate(rows, 1):
                stream.write_row((*row, *rest))
                if number % TICK == 0:
                    yield number
        # Keys given by hand leave the sequence behind; statistics are for the counts to come.
        for statement in connection.ops.sequence_reset_sql(no_style(), [model]):
            cursor.execute(statement)
        cursor.execute(f"ANALYZE {table}")
    yield number


def insert(kind: str, row: Row) -> None:
    """Insert one row as its application would, under a key that is given."""
    values = dict(zip(COLUMNS[kind], row, strict=True))
    if kind == "user":
        values["password"] = "!"
    MODELS[kind](**values).save(force_insert=True)


def stored(columns: Mapping[str, Sequence[str]] = COLUMNS) -> Rows:
    """Return all rows as the databases have them now."""
    # Children first: the parents of a row that is read now are in their table already.
    return {kind: _stored(kind, columns[kind]) for kind in ("comment", "post", "order", "user")}


def _stored(kind: str, columns: Sequence[str]) -> dict[int, Row]:
    model = MODELS[kind]
    values = model._default_manager.using(router.db_for_write(model)).values_list(*columns)
    return {row[0]: tuple(map(_plain, row)) for row in values.iterator(chunk_size=5_000)}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)
