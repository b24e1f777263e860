"""The few statements that each kind of database says in its own best way.

`on(alias)` picks the form: PostgreSQL's own, or the ORM's for every other backend. Each function
is one short transaction (or joins the caller's), touches at most `limit` rows and refuses to run
without keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from django.db import connections

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ..relations import Field, Model, Relation
    from .barriers import Barrier, Blocker, Horizon


#: The error where a statement would run without its condition.
NO_KEYS = "refused: a statement without keys"


class Statements(Protocol):
    """What a form provides. `using` is the alias that the statement runs on."""

    def insert_deletions(
        self, parent: Model, keys: Sequence[Any], targets: Sequence[Any], source: str, *, using: str
    ) -> list[str]:
        """Log those keys of `parent` that have no row any more; gives them back as text.

        None, where the table that a delete goes to is another one than the parents' own: another
        schema's, behind the same alias (backends/schemas.py).
        """

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:
        """Those of `keys` (as text) that a trigger has logged in this transaction."""

    def insert_suspects(
        self,
        relation: Relation,
        keys: Sequence[str],
        *,
        target: str | None,
        fence: Mapping[str, Barrier],
        using: str,
    ) -> None:
        """Log suspects: of keys, or of values of the parent's field `target`."""

    def insert_cascades(
        self, deletions: Sequence[int], databases: Sequence[str], *, using: str
    ) -> None:
        """One pending cascade for each deletion and database that has none yet."""

    def finish_cascades(
        self,
        claim: UUID,
        rows: Mapping[int, Mapping[str, int]],
        *,
        barrier: Barrier | None,
        grace_seconds: float,
        using: str,
    ) -> list[int]:
        """Mark those cascades done that the claim still holds; gives their deletions' ids."""

    def keep_rows(self, claim: UUID, rows: Mapping[int, Mapping[str, int]], *, using: str) -> None:
        """Note the rows removed so far for those cascades that the claim still holds at work."""

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        """Note what an operator did, by column. When it was is the server's to say."""

    def lock_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> dict[Any, Any]:
        """Lock rows whose `field` holds one of `keys`; gives primary key → key.

        Call it inside a transaction. Rows that somebody else holds are passed over.
        """

    def take_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> dict[Any, Any]:
        """Delete at most `limit` rows whose `field` holds one of `keys`; return primary key → key.

        It waits for rows that somebody else holds. Only where `goes_first` says so.
        """

    def goes_first(self, leaf: Field, *, using: str) -> bool:
        """Return whether rows may be deleted before the rows that refer to them through `leaf`."""

    def is_constrained(self, leaf: Field, *, using: str) -> bool:
        """Return whether the database refuses a commit that leaves a reference without its row."""

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        """Set up the transaction of a step. Call it first.

        From here on it waits no longer than `lock_seconds` for a row that somebody holds, it finds
        rows through indexes, and the server refuses to hide rows from it.
        """

    def end_step_reads(self, *, using: str) -> None:
        """Let row security work as the project set it up: its receivers run from here on."""

    def delete_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, patient: bool
    ) -> Counter[Any]:
        """Delete rows whose `field` holds one of `keys`; gives the number for each key.

        Unless `patient`, rows that somebody else has locked are passed over.
        """

    def delete_number(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, patient: bool
    ) -> int:
        """As `delete_rows`; gives only how many in all, which takes less time."""

    def update_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        value: Any,
        limit: int,
        *,
        using: str,
        patient: bool,
    ) -> Counter[Any]:
        """Set `field` to `value` where it holds one of `keys`; else as `delete_rows`.

        A row that a trigger lets keep its key does not count as changed.
        """

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        """Those of `keys` that some row's `field` still holds, whatever number of rows do."""

    def count_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> int:
        """Rows whose `field` holds one of `keys`, through the field's index."""

    def count_by_key(
        self, field: Field, keys: Sequence[Any], most: int, *, using: str
    ) -> dict[Any, int]:
        """Rows whose `field` holds each of `keys`, up to `most`; a key without any is left out."""

    def estimate_rows(self, model: Model, *, using: str) -> int:
        """How many rows the table has, as far as the backend can tell at once; 0: it cannot."""

    def oldest_transaction(self, *, using: str) -> Horizon | None:
        """Return which transactions have ended, and on which server; None: it has no barriers."""

    def next_transaction(self, *, using: str) -> Barrier | None:
        """Return the barrier behind every transaction that has begun to write; None as above.

        It takes a number of its own, so call it outside of transactions. Not PostgreSQL's
        `pg_snapshot_xmax`: that is one past the last transaction that has *ended*, and one that is
        open may be above it.
        """

    def blocker(self, *, using: str) -> Blocker | None:
        """Return the oldest open transaction that writes; None where there is none, or as above."""


def on(alias: str) -> Statements:
    """The statements for the database behind `alias`."""
    if connections[alias].vendor == "postgresql":
        from .postgresql.log import PostgreSQL

        return PostgreSQL()
    from .portable import Portable

    return Portable()


def need(keys: Sequence[Any]) -> Sequence[Any]:
    """The keys; raises `ValueError` for none: a statement without its condition never runs."""
    if not keys:
        raise ValueError(NO_KEYS)
    return keys
