"""What an engine must be able to do. Each room of an engine has a class for each protocol here.

More are beside what they return: `BarrierBackend` in barriers.py, `KeyReader` in key_pages.py and
`LoadBackend` in replica.py.

`log_backend(alias)`, `row_backend(alias)`, `barrier_backend(alias)` and `key_reader(...)` in this
package return the implementation for a database.

The contract of all methods: `using` is the alias that the statement runs on, and must name a
primary. A method neither begins nor commits a transaction for its caller, unless it says so; inside
`transaction.atomic` it is a part of the caller's. A method that takes keys refuses an empty list
with `ValueError`, so that no statement ever runs without its condition. Keys of rows are prepared
values (Note [Prepared once] in relations/stored.py). Errors of the driver pass unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from ..models import Cascade, Stated, Tally
    from ..relations import Field, Model
    from .barriers import Barrier
    from .deadlines import Days
    from .deleted import Deleted, Dense, Gone

#: Cascades as they are held, and by deletion its key and targets.
HeldCascades = tuple["list[Cascade]", dict[int, tuple[str | None, dict[str, str | None] | None]]]

#: Deletion → relation → rows changed, as a cascade holds it.
Rows = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who holds cascades, and for how long. Their tally ends, unless they are `counted`."""

    claim: UUID | None
    owner: str
    seconds: float
    counted: bool


class LogBackend(Protocol):
    """Statements on the log's own tables."""

    def id_in(self, column: str, ids: Sequence[int]) -> Any:
        """Return a condition for the ORM: the log's `column` holds one of `ids`.

        No ids match no row. Runs no statement.
        """

    def distinct(
        self,
        columns: Sequence[str],
        *sources: tuple[Model, str],
        using: str,
        most: int | None = None,
    ) -> list[tuple[str, ...]]:
        """Return the distinct values of `columns` in rows of each model that meet its condition.

        With `most`, return no more than so many. Conditions are our own SQL, written as in the
        condition of the index. See Note [From value to value] in distinct.py.
        """

    def insert_deletions(
        self,
        parent: Model,
        keys: Sequence[Any],
        targets: Sequence[Any],
        source: str,
        stated: Stated | None = None,
        *,
        using: str,
    ) -> list[str]:
        """Log those of `keys` that have no row of `parent` any more; return them as text.

        Call it in the transaction that deleted the rows. `targets` holds, for each key, the values
        of other fields that relations point to, or None. What is `stated` is logged with each.
        Nothing is logged where the table of `parent` is not in the log's schema (schemas.py).
        """

    def insert_confirmed(self, suspects: Sequence[int], *, using: str) -> list[int]:
        """Log the deletions that those suspects become; return their ids, in the same order.

        Call it in the transaction that locks the suspects and removes them.
        """

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:
        """Return those of `keys` (as text) that a trigger has logged in this transaction."""

    def dispatch_batch(
        self,
        wanted: Mapping[tuple[str, str], Sequence[str]],
        most: int,
        *,
        using: str,
        days: Days | None = None,
    ) -> dict[tuple[str, str], int] | None:
        """Put recorded deletions of the first of the `wanted` names that has any into one batch.

        `wanted` holds parent and relation, and the databases that get a cascade each. The oldest
        are taken, up to `most`, which nobody has locked. Return parent and relation of all that was
        recorded, and how many of these the batch has. One statement; None where the engine has none
        (log/deletions.py has several). With `days`, what has no deadline gets one, and the batch
        may have several cascades in each database: Note [Groups of a batch] in deadlines.py.
        """

    def claim_new(
        self,
        database: str,
        known: Collection[tuple[str, str]],
        most: int,
        lease: Lease,
        *,
        using: str,
        nearest: bool = False,
    ) -> HeldCascades | None:
        """Claim the due cascades of `database` that wait longest, where nobody worked on them.

        They have one of the `known` pairs of parent and relation, and at most `most` deletions.
        Return them, and key and targets by deletion; nothing where none is due. One statement. None
        where it claims nothing that is due, or the engine has none: log/claims.py has several. The
        `nearest` are those in the order of deadlines: Note [Nearest first] in deadlines.py.
        """

    def finish_cascades(
        self,
        claim: UUID | None,
        rows: Mapping[int, Rows | None],
        sizes: Mapping[int, int],
        *,
        barrier: Barrier | None,
        grace_seconds: float,
        using: str,
    ) -> list[int]:
        """Mark those cascades done that the claim still holds as a whole; return their ids.

        `rows` holds the ids of the cascades and, of each, what it has changed. One that has other
        than `sizes` deletions by now was split, and stays as it is. One transaction. Verification
        is due `grace_seconds` from now by the server's clock.
        """

    def save_progress(
        self, claim: UUID | None, rows: Mapping[int, Rows | None], *, using: str
    ) -> None:
        """Save the rows changed so far for those running cascades that the claim still holds."""

    def write_tallies(self, tallies: Sequence[Tally], *, using: str) -> None:
        """Write those rows of a child database, in place of what their ids counted. One statement.

        `at` is the time of the server.
        """

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        """Log what an operator did: values by column. The time is the server's."""


class RowBackend(Protocol):
    """Statements on the project's rows: of children, and of parents for what only reads.

    A method that changes rows touches at most `limit` of them. It finds them by `field`, checks the
    key once more in the statement that changes them, and leaves a row alone whose key has changed.
    With `skip_locked` it passes over rows that another transaction has locked; without, it waits
    for them, at most as long as `begin_step` allows.

    Reads raise `FilteredRead` where the server may hide rows (Note [Filtered reads] in
    visibility.py): "no row" is never concluded from a filtered read.
    """

    #: Whether rows may be locked in blocks. `lock_in_blocks` is not called where it is false.
    locks_in_blocks: bool

    def own_session(self, *, using: str) -> AbstractContextManager[None]:
        """Return what one or more steps stand in: when it ends, the session is as before."""

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        """Prepare the transaction of a step. Call it first in that transaction, in `own_session`.

        From here on the transaction waits at most `lock_seconds` for a lock, finds rows through
        indexes, and fails where row level security would hide rows from it.
        """

    def require_current(self, model: Model, *, using: str) -> None:
        """Raise `FilteredRead` where a plain read may show a locked row as it was before the lock.

        Call it in the transaction of a step.
        """

    def restore_row_security(self, *, using: str) -> None:
        """Let row level security work as configured for the rest of the transaction.

        The project's signal receivers run after this.
        """

    def lock_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> dict[Any, Any]:
        """Lock rows whose `field` holds one of `keys`; return primary key → key.

        Call it inside a transaction, which then holds the locks. Skips locked rows.
        """

    def delete_returning_keys(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> Deleted:
        """Delete rows whose `field` holds one of `keys`; return which, and how many of each key.

        Waits for locked rows. Raises `NotSupportedError` on engines where `can_delete_before` is
        never true.
        """

    def dense_blocks(self, field: Field, key: Any, *, using: str) -> Dense | None:
        """Return where the table has many rows of `key`, or None where they go by an index.

        See Note [By blocks] in postgresql/blocks.py, and mysql/blocks.py.
        """

    def delete_in_blocks(
        self, field: Field, key: Any, blocks: range, limit: int, *, pks: bool, using: str
    ) -> Deleted | None:
        """Delete the rows of `key` in those blocks of the table; return how many, and their `pks`.

        Return None, with nothing deleted, where there are more than `limit`; or delete that many
        and leave the others to an index. Waits for locked rows.
        """

    def lock_in_blocks(
        self, field: Field, key: Any, blocks: range, limit: int, *, using: str
    ) -> dict[Any, Any]:
        """Lock at most `limit` rows of `key` in those blocks, as `lock_rows` does."""

    def delete_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> Gone:
        """Delete rows whose `field` holds one of `keys`; return the number for each key."""

    def delete_total(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> int:
        """Delete rows as `delete_rows` does; return only the total, which takes less time."""

    def update_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        value: Any,
        limit: int,
        *,
        using: str,
        skip_locked: bool,
    ) -> Counter[Any]:
        """Set `field` to `value` in rows that hold one of `keys`; return the number for each key.

        A row whose key a trigger has kept does not count as changed.
        """

    def can_delete_before(self, leaf: Field, *, using: str) -> bool:
        """Return whether rows may be deleted before the rows that refer to them through `leaf`."""

    def is_constrained(self, leaf: Field, *, using: str) -> bool:
        """Return whether the database refuses to commit a reference without its row."""

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        """Return those of `keys` that the `field` of at least one row holds."""

    def count_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> int:
        """Return how many rows hold one of `keys`, by the field's index."""

    def count_by_key(
        self, field: Field, keys: Sequence[Any], most: int, *, using: str
    ) -> dict[Any, int]:
        """Return how many rows hold each of `keys`, counted up to `most`; keys without any not."""

    def estimate_rows(self, model: Model, *, using: str) -> int:
        """Return how many rows the table has by the server's statistics; 0 where it has none."""

    def number_of_rows(self, model: Model, exact: int, *, using: str) -> int:
        """Return how many rows the table has: an estimate if that is more than `exact`."""


#: The error where a statement would run without its condition.
NO_KEYS = "refused: a statement without keys"


def require_keys(keys: Sequence[Any]) -> Sequence[Any]:
    """Return the keys. Raises `ValueError` for none: no statement runs without its condition."""
    if not keys:
        raise ValueError(NO_KEYS)
    return keys
