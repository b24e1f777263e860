"""The ORM's `KeyReader`, for other engines, and for children and parents on two kinds of them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Count, F, QuerySet

from ...relations.generic import rows_of
from ...relations.keys import format_key, from_stored, parse_key, writes_text
from ...relations.stored import StoredAfter, StoredIn, converts_as_django, prepare, prepare_all
from .. import visibility
from ..key_pages import KeyPage
from .chunks import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ...relations import Field
    from ...relations.relation import ForeignKey

#: The most keys of one page: each becomes a Python object.
PORTABLE_STEP = 10_000


class PortableKeys:
    """See `KeyReader`. The keys of a page are a list of the ORM's values."""

    def reading(self, child: str) -> AbstractContextManager[object]:  # noqa: ARG002 (the protocol's)
        return nullcontext()

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], KeyPage | None]:
        rows, name = rows_of(field, child), field.attname
        rows = (
            rows.exclude(**{name: None})
            if after is None
            else rows.filter(StoredAfter(F(name), prepare(field, parse_key(field, after), child)))
        )
        # Count rows. To count keys would read the table, too, and not only its index.
        grouped = rows.order_by(name).values_list(name).annotate(integrity_rows=Count("*"))

        def answer() -> KeyPage | None:
            most = min(limit, PORTABLE_STEP)
            with visibility.whole(child, field.model):
                counted = list(grouped[:most])
            if not counted:
                return None
            keys, numbers = zip(*counted, strict=True)
            return KeyPage(
                keys=keys,
                first=format_key(field, keys[0]),
                last=format_key(field, keys[-1]),
                count=len(keys),
                rows=sum(numbers),
                end=len(keys) < most,
            )

        return answer

    def missing(self, field: ForeignKey, page: KeyPage, *, parent: str) -> list[str]:
        target = field.target_field
        keys = _keys(field, page.keys, parent)
        parents: QuerySet[Any] = QuerySet(model=target.model, using=parent)
        parents = parents.order_by().values_list(target.attname, flat=True)
        absent = dict(keys)
        with visibility.whole(parent, target.model):
            for present in _present(parents, target, [*keys]) if keys else ():
                for key in prepare_all(target, present, parent):
                    absent.pop(key, None)
        return [format_key(target, key) for key in absent.values()]


def _keys(field: ForeignKey, values: Sequence[Any], parent: str) -> dict[Any, Any]:
    """Return the parents' keys that rows hold, in their order, by what a parent's row would hold.

    See Note [Canonical text] in relations/columns.py, and Note [Prepared once] in
    relations/stored.py.
    """
    keys = values
    if writes_text(field):
        keys = sorted(key for value in values if (key := from_stored(field, value)) is not None)
    return dict(zip(prepare_all(field.target_field, keys, parent), keys, strict=True))


def _present(parents: QuerySet[Any], target: Field, keys: Sequence[Any]) -> Iterator[Iterable[Any]]:
    """Yield keys that have a parent. A range is one query, where it holds few other parents."""
    name = target.attname
    whole_numbers = isinstance(target, models.IntegerField) and converts_as_django(target)
    if whole_numbers and keys[-1] - keys[0] <= 10 * len(keys):
        within = parents.filter(**{f"{name}__range": (keys[0], keys[-1])})
        yield within.iterator(chunk_size=PORTABLE_STEP)
        return
    for start in range(0, len(keys), PARAMETERS):
        yield parents.filter(StoredIn(F(name), keys[start : start + PARAMETERS]))
