"""Which deletions the log has of keys that an admin deletes or shows, and links to them.

A role may be allowed to record deletions and not to read them, and a log may be slow. Then nothing
is known, and the admin's own page works all the same: each read is a savepoint with a time limit.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, transaction
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from ...backends import connections
from ...backends.bounded import timed_read
from ...dashboard import id_ranges
from ...dashboard.text import number_of
from ...exceptions import DatabaseHindered
from ...models import Deletion
from ...relations.homes import databases_for
from ...relations.keys import format_key
from ...relations.relation import primary_key
from ...report import receipts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.utils.safestring import SafeString

    from ...relations import Model

#: The longest that one statement may take, in seconds.
SECONDS = 2.0
#: The most deletions by others that are read along with a delete's own.
OTHERS_MAX = 10_000

#: Log → ids of deletions in it.
Ids = dict[str, list[int]]


def newest_ids(parent: Model) -> dict[str, int] | None:
    """Return the last id of each log of that parent: a delete's own follow. None if unknown."""
    newest = dict[str, int]()
    try:
        for using in databases_for(parent):
            with _reading(using):
                last = Deletion.objects.using(using).aggregate(last=Max("pk"))["last"]
            newest[using] = last or 0
    except (DatabaseError, DatabaseHindered):
        return None
    return newest


def recorded_since(
    newest: Mapping[str, int] | None, parent: Model, keys: Sequence[Any]
) -> Ids | None:
    """Return the deletions of those parents after the `newest_ids`. None if they are unknown."""
    if newest is None:
        return None
    texts = {format_key(primary_key(parent), key) for key in keys}
    recorded, most = Ids(), len(texts) + OTHERS_MAX
    try:
        for using, last in newest.items():
            rows = Deletion.objects.using(using).filter(pk__gt=last, parent=parent._meta.label)
            with _reading(using):
                pairs = list(rows.order_by("pk").values_list("pk", "key")[: most + 1])
            if len(pairs) > most:
                return None
            recorded[using] = [pk for pk, key in pairs if key in texts]
    except (DatabaseError, DatabaseHindered):
        return None
    return recorded


def links(recorded: Ids, site: str) -> SafeString:
    """Return a link to the deletion, or to the list of exactly those; one for each log."""
    lists = [(using, ids) for using, ids in recorded.items() if ids]
    if sum(len(ids) for _, ids in lists) == 1:
        using, (pk,) = lists[0]
        return format_html('<a href="{}">Watch it.</a>', _address("deletion", site, using, pk))
    return format_html_join(" ", '<a href="{}">{}</a>', (_listed(*each, site) for each in lists))


def _listed(using: str, ids: Sequence[int], site: str) -> tuple[str, str]:
    """Return the address of a list, and what it shows: an address has not room for all ids."""
    text, number = id_ranges.text_of(ids)
    address = f"{_address('deletions', site)}?log={using}&ids={text}"
    if number < len(ids):
        return address, f"Watch the first {number:,} of {len(ids):,} in the log of {using}."
    return address, f"Watch {number_of(number, 'deletion')} in the log of {using}."


def earlier(parent: Model, key: Any, site: str) -> tuple[bool, SafeString] | None:
    """Return whether the newest deletion of that key is open, and a sentence; None without one."""
    try:
        found = [
            (row, using) for using in databases_for(parent) for row in _newest(parent, key, using)
        ]
    except (DatabaseError, DatabaseHindered):
        return None
    if not found:
        return None
    deletion, using = max(found, key=lambda pair: pair[0].recorded_at)
    sentence = format_html(
        'A deletion of this key was recorded at {}. It is {}. <a href="{}">Show the deletion.</a>',
        f"{timezone.localtime(deletion.recorded_at):%Y-%m-%d %H:%M:%S %Z}",
        f"{deletion.state}, and not over" if deletion.state in Deletion.OPEN else deletion.state,
        _address("deletion", site, using, deletion.pk),
    )
    return deletion.state in Deletion.OPEN, sentence


def _newest(parent: Model, key: Any, using: str) -> list[Deletion]:
    with _reading(using):
        deletions = receipts.newest(parent, [key], using=using)
        for deletion in deletions:
            deletion.databases  # noqa: B018 (its state is read from them)
    return deletions


@contextmanager
def _reading(using: str) -> Iterator[None]:
    """Read one log within a savepoint, so that the request's transaction stays usable."""
    connections.reach(using)
    with transaction.atomic(using=using), timed_read(using, SECONDS):
        yield


def _address(page: str, site: str, *args: object) -> str:
    return reverse(f"admin:integrity_dashboard_{page}", args=args, current_app=site)
