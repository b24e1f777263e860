"""A claim at hand: its keys as values, without those whose parent lives.

Takes what `log.claim` gives. Every statement on other people's rows gets its keys from here.

Note [The live check]: a parent counts as gone only if no row of its table holds the key *now*, on
every primary it may live on, asked past all managers and replicas. A parent that came back
(restored, saved again, its key reused) cancels its deletion.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import DataError, Error, IntegrityError, connections

from . import log, missing, relations, statements, stored
from .backends import visibility
from .columns import generic_of
from .exceptions import FilteredRead
from .generic import narrowed
from .plan import nodes, plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .log import Claim
    from .relations import Field, Model, Relation


def reason_of(error: Exception) -> str:
    """An error in a line, without its details: those may quote rows."""
    if isinstance(error, FilteredRead):
        return str(error)
    text = str(error.args[0]) if error.args and isinstance(error.args[0], str) else ""
    first = next(iter(text.strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def missing_table(relation: Relation, database: str | None = None) -> str:
    """Which table of parents, of children or below them is not there, and the remedy; or "".

    Or shows only a part of its rows. Or of content types, where a generic relation needs them. Of
    children those in `database`, if that is given.
    """
    wanted = tables(relation, database)
    if generic := generic_of(relation.field):
        wanted.append((generic.column.remote_field.model, generic.content_types))
    reasons = (missing.table(model, using=alias) for model, alias in wanted)
    return next(filter(None, reasons), "") or _hidden(wanted)


def _hidden(wanted: Iterable[tuple[Model, str]]) -> str:
    """Return which of those tables shows only a part of its rows, why, and the remedy; or ""."""
    for model, alias in wanted:
        with suppress(Error):  # the first error is what counts
            if connections[alias].connection and (why := visibility.reason(model, alias)):
                return str(FilteredRead(model._meta.db_table, alias, why))
    return ""


def tables(relation: Relation, database: str | None = None) -> list[tuple[Model, str]]:
    """Return the tables of a relation: children and what is below them, then parents.

    Each as a model and an alias; of children those in `database`, if that is given.
    """
    children = [relation.child]
    if relation.policy.cascades:
        children = [each.field.model for each in nodes(plan(relation).root)]
    aliases = [database] if database else relation.child_databases
    found = [(model, alias) for alias in aliases for model in children]
    return [*found, *((relation.parent, home) for home in relation.parent_databases)]


def failure(error: Exception, along: Iterable[Relation], database: str) -> tuple[str, str]:
    """What to say of an error of work in `database`, and the code that it came through.

    Of a table that is not there it says which and the remedy, and no code is to blame. The code
    comes without the error's text, for a log: that may quote rows.
    """
    if isinstance(error, FilteredRead):
        return str(error), ""
    # Rows that are refused are in tables that are there, and may be very many: none is looked up.
    if isinstance(error, Error) and not isinstance(error, IntegrityError | DataError):
        reasons = (missing_table(each, database) for each in along)
        if missing := next(filter(None, reasons), ""):
            return missing, ""
    return reason_of(error), origin_of(error)


def origin_of(error: Exception) -> str:
    """The code that an error came through, without its text: for a log."""
    return "\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip()


def relations_of(claim: Claim) -> tuple[Relation, ...]:
    """The relations that its cascades go along."""
    one = claim.cascades[0]
    return relations.catalogue().children_of(one.parent, claim.database, one.relation)


class Held:
    """The cascades of a claim that still have to be dealt with.

    Each asks the content types of generic relations anew, and raises what `narrowed` does.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.parent = relations.catalogue().parent(claim.cascades[0].parent)
        self.pk = relations.primary_key(self.parent)
        self.relations = tuple(map(narrowed, relations_of(claim)))
        self.cascades = {each.id: each for each in claim.cascades}
        self.cancelled = 0
        self._known: dict[Field, dict[int, Any]] = {}
        self._prepared: dict[tuple[Field, str], dict[int, Any]] = {}
        self._taken: dict[Field, set[int]] = {}

    def owners(self, relation: Relation, *, again: bool = True) -> dict[Any, int]:
        """Key, as rows hold it → cascade, for the keys of `relation` whose parent is gone now.

        Cancels the deletions whose parent lives. Where the key holds another field than the
        primary key, a value that another parent took over is left out, too. Unless `again`, what
        the last look at the same field saw is good enough. One owns what was deleted repeatedly.
        """
        return {key: owner for owner, key in self._gone(relation, again=again).items()}

    def with_rows(self, wanted: Sequence[Relation]) -> set[int]:
        """Cascades for which some row is left along those relations; looks anew, once."""
        self.forget_looks()
        unfinished = set[int]().union(*map(self.left_along, wanted))
        return unfinished & self.cascades.keys()  # a later look may have cancelled some

    def forget_looks(self) -> None:
        """Look for the parents anew the next time that somebody asks for their rows."""
        self._taken.clear()

    def left_along(self, relation: Relation) -> set[int]:
        """Return the cascades for which some row is left along that relation."""
        gone = self._gone(relation, again=False)
        if not gone:
            return set()
        held = statements.on(self.claim.database).keys_with_rows(
            relation.field, [*dict.fromkeys(gone.values())], using=self.claim.database
        )
        return {owner for owner, key in gone.items() if key in held}

    def _gone(self, relation: Relation, *, again: bool) -> dict[int, Any]:
        """Cascade → key, as rows hold it; as `owners`, but for each of a key's deletions."""
        target = relation.target
        if again or target not in self._taken:
            self._cancel(self._living(relation, self.pk))
            self._taken[target] = set() if target == self.pk else self._living(relation, target)
        taken, held = self._taken[target], self._held(relation)
        still = self.cascades.keys() - taken if taken else self.cascades.keys()
        return {owner: key for owner, key in held.items() if owner in still}

    def _values(self, target: Field) -> dict[int, Any]:
        """Cascade → value of `target`."""
        if target not in self._known:
            texts = {
                each.id: each.key if target == self.pk else each.targets.get(target.name)
                for each in self.claim.cascades
            }
            self._known[target] = {
                owner: relations.parse_key(target, text)
                for owner, text in texts.items()
                if text is not None
            }
        return self._known[target]

    def _held(self, relation: Relation) -> dict[int, Any]:
        """Cascade → what the rows hold that refer to the parent. Note [Prepared once] (stored.py).

        A text that holds a key of another type is written anew; else rows hold what parents do.
        """
        values, field = self._values(relation.target), relation.field
        if relations.writes_text(field):
            values = {owner: relations.as_held(field, value) for owner, value in values.items()}
        return self._prepare(field, values, self.claim.database)

    def _prepare(self, field: Field, values: dict[int, Any], using: str) -> dict[int, Any]:
        found = self._prepared.get((field, using))
        if found is None:
            prepared = stored.prepare_all(field, values.values(), using)
            found = self._prepared[field, using] = dict(zip(values, prepared, strict=True))
        return found

    def _living(self, relation: Relation, target: Field) -> set[int]:
        """Cascades whose value of `target` a parent holds now; see Note [The live check]."""
        living = set[int]()
        for home in relation.parent_databases:
            keys = self._prepare(target, self._values(target), home)
            wanted = [*dict.fromkeys(key for owner, key in keys.items() if owner in self.cascades)]
            there = wanted and statements.on(home).keys_with_rows(target, wanted, using=home)
            if there:
                living |= {owner for owner, key in keys.items() if key in there}
        return living

    def _cancel(self, living: set[int]) -> None:
        alive = [each for each in self.cascades.values() if each.id in living]
        if not alive:
            return
        removed = any(each.rows for each in alive)
        log.cancel(
            [each.deletion for each in alive],
            "the parent is alive" + ("; some of its rows were removed before" if removed else ""),
            using=self.claim.using,
        )
        self.cancelled += len(alive)
        for each in alive:
            del self.cascades[each.id]
