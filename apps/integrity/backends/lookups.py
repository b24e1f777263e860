"""Which values the rows of a table hold now, asked on the primaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import backends
from ..relations import stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..relations import Field


def held(field: Field, values: Mapping[Any, Any], databases: Sequence[str]) -> set[Any]:
    """Those whose value a row's `field` holds in any of the databases, by the mapping's keys.

    Raises `FilteredRead` where that cannot be told. See Note [Prepared once] in stored.py.
    """
    found = set[Any]()
    for alias in databases if values else ():
        prepared = stored.prepare_all(field, values.values(), alias)
        wanted = [*dict.fromkeys(prepared)]
        there = backends.on(alias).keys_with_rows(field, wanted, using=alias)
        found |= {name for name, key in zip(values, prepared, strict=True) if key in there}
    return found
