"""What a time slice has changed: for its worker, for the log, and in the child's tally."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

from ..log import tallies
from ..models import Tally
from ..models.moments import ServerNow
from .live_check import relations_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..log.values import Claim

    #: Label → key → rows.
    Counts = Mapping[str, Mapping[Any, int]]


class Progress:
    """The counts of one time slice.

    `rows` counts what all claims of this run have changed, per label; `removed` what was changed
    for each deletion, by this claim and before it. Both hold whatever ends the slice.
    """

    def __init__(self, claim: Claim, rows: Mapping[str, int]) -> None:
        self.claim, self.rows = claim, Counter(rows)
        self.removed = {one.id: dict(one.rows) for one in claim.deletions}
        self.changed = 0
        self.at_work = set[int]()  # whose rows the last step removed
        self._counted = {one.id: (one.tally, one.batch) for one in claim.deletions if one.tally}
        #: Deletion → its key; and the values that rows here may hold of other fields, if any.
        self._keys = dict[str, str | None]()
        self._targets = dict[str, dict[str, str | None]]()
        #: Where the slice's rows of the tally get their ids from.
        self._token = uuid4()
        #: Tally, batch and label → deletion → rows; and the same with the step under way.
        self._committed = self._written = dict[tuple[UUID, int, str], dict[str, int]]()

    def write(self, step: Sequence[tuple[Counts, Mapping[Any, int]]]) -> None:
        """Count a step in the child's database, in its transaction. One statement.

        `step` holds, for each relation, label → key → rows, and key → deletion.
        """
        if (log := self.claim.log) is None:
            return
        changed = self._changed(step)
        self._written = self._committed | changed
        if changed:
            rows = [self._row(log, *place) for place in changed]
            tallies.write(rows, database=self.claim.database)

    def add(self, counts: Counts, owners: Mapping[Any, int]) -> None:
        """Note a relation's part in the step that was written last: it is committed."""
        self._committed = self._written
        self.note(counts, owners)

    def note(self, counts: Counts, owners: Mapping[Any, int]) -> None:
        """Note what was changed along a relation and is in the child's tally already."""
        if any(counts.values()):
            self.at_work = {owners[key] for per_key in counts.values() for key in per_key}
        for label, per_key in counts.items():
            for key, number in per_key.items():
                rows = self.removed[owners[key]]
                rows[label] = rows.get(label, 0) + number
            if changed := sum(per_key.values()):
                self.rows[label] += changed
                self.changed += changed

    def _changed(
        self, step: Sequence[tuple[Counts, Mapping[Any, int]]]
    ) -> dict[tuple[UUID, int, str], dict[str, int]]:
        """Return the rows of the tally that a step changes, with its numbers."""
        changed = dict[tuple[UUID, int, str], dict[str, int]]()
        last, numbers = None, dict[str, int]()
        for counts, owners in step:
            for label, per_key in counts.items():
                for key, number in per_key.items():
                    if number and (deletion := owners[key]) in self._counted:
                        place = (*self._counted[deletion], label)
                        if place != last:  # for most keys, this saves Python the UUID's hash
                            if place not in changed:
                                changed[place] = dict(self._committed.get(place, {}))
                            last, numbers = place, changed[place]
                        text = str(deletion)
                        numbers[text] = numbers.get(text, 0) + number
        return changed

    def _row(self, log: UUID, tally: UUID, batch: int, label: str) -> Tally:
        counts = self._written[tally, batch, label]
        if not self._keys:  # once for each slice
            self._name_deletions()
        return Tally(
            id=self._id(tally, label),
            log=log,
            batch=batch,
            tally=tally,
            label=label,
            counts=counts,
            parent=self.claim.parent,
            relation=self.claim.relation,
            keys={pk: self._keys[pk] for pk in counts},
            targets={pk: self._targets[pk] for pk in self._targets.keys() & counts.keys()},
            at=ServerNow(),
        )

    def _name_deletions(self) -> None:
        """Note the keys of the claim's deletions, and the values that rows here may refer to."""
        self._keys = {str(one.id): one.key for one in self.claim.deletions}
        named = [one for one in self.claim.deletions if one.targets]
        fields = {each.target.name for each in relations_of(self.claim)} if named else set()
        for one in named:
            if names := fields & one.targets.keys():
                self._targets[str(one.id)] = {name: one.targets[name] for name in names}

    def _id(self, tally: UUID, label: str) -> UUID:
        return uuid5(self._token, f"{tally} {label}")

    def fold(self) -> None:
        """Add what other time slices have counted for the claim. One statement.

        See Note [Absolute sums] in log/tallies.py.
        """
        claim = self.claim
        if claim.log is None or not (counted := claim.tallies):
            return
        mine = [self._id(tally, label) for tally, _, label in self._committed]
        sums = tallies.sums_of(counted, besides=mine, database=claim.database)
        if not sums and not any(one.rows for one in claim.deletions):
            return  # nobody else has changed any
        for (tally, _, label), numbers in self._committed.items():
            tallies.add(sums, tally, label, numbers)
        counts = tallies.by_deletion(claim, sums)
        self.removed = {pk: dict(rows) for pk, rows in tallies.folded(self.removed, counts).items()}
