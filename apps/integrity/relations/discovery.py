"""The catalogue: all cross-database relations of the project, discovered once at start-up.

It is computed from the models, the routers and the declared relations (columns.py). No queries.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS

from ..conf.steps import is_step
from ..exceptions import UnknownName
from . import crossing
from .columns import columns
from .content_types import ContentTypeKeys, UnknownHome
from .places import Places
from .relation import Field, Model, Relation, primary_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The models of this app, in lower case, that child databases have a table of.
IN_CHILDREN = frozenset({"identity", "tally", "finding"})


@dataclass(frozen=True)
class Catalogue(Places):
    """All relations of the project, in the order of their labels."""

    relations: tuple[Relation, ...]
    #: Keys to content types that are no relations: it is unknown which database's ids they hold.
    unknown_homes: tuple[UnknownHome, ...] = ()
    #: Relations that the settings exclude. Nothing follows, scans or counts them.
    ignored: tuple[Relation, ...] = ()

    @functools.cached_property
    def parents(self) -> dict[str, Model]:
        """Label → tracked parent model."""
        return {relation.parent._meta.label: relation.parent for relation in self.relations}

    @functools.cached_property
    def targets(self) -> dict[Model, tuple[Field, ...]]:
        """Parent → its fields, other than the primary key, that cascading relations refer to."""
        fields_of: dict[Model, dict[Field, None]] = {}
        for relation in self.relations:
            pk = primary_key(relation.parent)
            if relation.target != pk and relation.policy.cascades:
                fields_of.setdefault(relation.parent, {})[relation.target] = None
        return {parent: tuple(fields) for parent, fields in fields_of.items()}

    @functools.cached_property
    def log_databases(self) -> tuple[str, ...]:
        """The databases that hold a deletion log: those in which tracked parents live."""
        return _unique(alias for relation in self.relations for alias in relation.parent_databases)

    @functools.cached_property
    def child_databases(self) -> tuple[str, ...]:
        """The databases into which deletions may cascade."""
        return _unique(alias for relation in self.relations for alias in relation.child_databases)

    @functools.cached_property
    def databases(self) -> tuple[str, ...]:
        """All databases that this app uses: those of parents first."""
        return _unique(iter((*self.log_databases, *self.child_databases)))

    def children_of(
        self, parent: str, database: str | None = None, relation: str = ""
    ) -> tuple[Relation, ...]:
        """Return the relations along which a deletion of `parent` cascades (into `database`).

        With `relation`, only that one: a deletion that a scan found cascades along no other.
        """
        return tuple(
            candidate
            for candidate in self.relations
            if candidate.policy.cascades
            and candidate.parent._meta.label == parent
            and database in {None, *self.places_along[candidate.label]}
            and relation in {"", candidate.label}
        )

    @functools.cached_property
    def databases_by_names(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Parent and relation ("" for all of them) → the child databases they cascade into."""
        every = {
            (relation.parent._meta.label, name): None
            for relation in self.relations
            for name in ("", relation.label)
        }
        return {names: into for names in every if (into := self.databases_of(*names))}

    @functools.cached_property
    def names_into(self) -> dict[str, frozenset[tuple[str, str]]]:
        """Child database → parent and relation ("" for all of them) that cascade into it."""
        names: dict[str, set[tuple[str, str]]] = {}
        for relation in self.relations:
            for alias in self.places_along[relation.label] if relation.policy.cascades else ():
                parent = relation.parent._meta.label
                names.setdefault(alias, set()).update({(parent, ""), (parent, relation.label)})
        return {alias: frozenset(pairs) for alias, pairs in names.items()}

    @functools.cached_property
    def by_label(self) -> dict[str, Relation]:
        """Label → relation."""
        return {relation.label: relation for relation in self.relations}

    @functools.cached_property
    def reasons(self) -> dict[str, str]:
        """The label of each ignored relation → why it is ignored."""
        return {relation.label: relation.ignored for relation in self.ignored}

    @functools.cached_property
    def derived(self) -> dict[Any, Any]:
        """A cache for what other modules compute from it once."""
        return {}

    def knows(self, parent: str, database: str | None = None, relation: str = "") -> bool:
        """Return whether there is a relation with those names (into `database`), of any policy.

        The log keeps the labels and aliases of the day on which it was written. If no relation has
        these names today, that must not be read as "there are no rows".
        """
        return any(
            candidate.parent._meta.label == parent
            and database in {None, *self.places_along[candidate.label]}
            and relation in {"", candidate.label}
            for candidate in self.relations
        )

    def databases_of(self, parent: str, relation: str = "") -> tuple[str, ...]:
        """Return the places into which a deletion of `parent` cascades: databases, then steps."""
        children = self.children_of(parent, relation=relation)
        every = _unique(place for child in children for place in self.places_along[child.label])
        return tuple(sorted(every, key=is_step))

    def homes(self, database: str, log: str | None = None) -> tuple[str, ...]:
        """Return the databases of the parents whose keys that child database holds.

        With `log`, only of parents whose deletions are recorded in that log.
        """
        return _unique(
            home
            for relation in self.relations
            if database in self.places_along[relation.label]
            and log in {None, *relation.parent_databases}
            for home in relation.parent_databases
        )

    def parent(self, name: str) -> Model:
        """Return the tracked parent with that label; upper and lower case do not matter.

        Raises `UnknownName`, which lists the known labels.
        """
        by_name = {known.lower(): model for known, model in self.parents.items()}
        try:
            return by_name[name.lower()]
        except KeyError:
            raise UnknownName("parent model", name, self.parents) from None

    def relation(self, name: str) -> Relation:
        """Return the relation with that label. Raises `UnknownName`, which lists the known ones."""
        try:
            return self.by_label[name]
        except KeyError:
            kind = "relation that is not ignored" if name in self.reasons else "relation"
            raise UnknownName(kind, name, self.by_label) from None

    def database(self, alias: str) -> str:
        """Return the alias if deletions cascade into it. Raises `UnknownName`."""
        if alias not in self.child_databases:
            raise UnknownName("child database", alias, self.child_databases)
        return alias


def _unique(aliases: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(aliases))


def discover() -> Catalogue:
    """Return the catalogue of the models, routers and settings. Deterministic, no queries.

    Keys to models that do not exist are skipped; Django's checks report them (fields.E300). Raises
    `InvalidSetting` for a declared relation that is not possible.
    """
    declared, every = columns(), apps.get_models(include_auto_created=True)
    known = ContentTypeKeys(every, declared)
    found, unknown = [crossing.declared(column) for column in declared], []
    for field in crossing.keys(every):
        if (relation := crossing.relation_of(field)) is None:
            continue
        homes = relation.parent_databases, relation.child_databases
        if key := known.unknown(field, *homes):
            unknown.append(key)
        else:
            found.append(relation)
    found.sort(key=operator.attrgetter("label"))
    return Catalogue(
        tuple(relation for relation in found if not relation.ignored),
        tuple(sorted(unknown, key=operator.attrgetter("label"))),
        tuple(relation for relation in found if relation.ignored),
    )


#: Called with each new catalogue before `catalogue()` returns it.
observers: list[Callable[[Catalogue], None]] = []
#: The catalogue of this process; empty until it is discovered.
_known: list[Catalogue] = []


def catalogue() -> Catalogue:
    """Return the catalogue of this process, which is discovered when the apps are ready.

    It is discovered again after a change of the settings or models (capture/installation.py).
    """
    if not _known:
        replace(discover())
    return _known[0]


def replace(new: Catalogue) -> None:
    """Make `new` the catalogue of this process."""
    for observe in observers:
        observe(new)
    _known[:] = [new]


def forget() -> None:
    """Forget the catalogue, so that it is discovered again."""
    _known.clear()


def log_databases() -> tuple[str, ...]:
    """Return the aliases of the databases that have a deletion log."""
    return catalogue().log_databases or (DEFAULT_DB_ALIAS,)


def log_database(alias: str) -> str:
    """Return the alias if that database has a deletion log. Raises `UnknownName`."""
    if alias not in log_databases():
        raise UnknownName("database with a deletion log", alias, log_databases())
    return alias


def holds(database: str, model_name: str | None) -> bool:
    """Return whether a table of this app belongs in that database. For `allow_migrate`.

    Args:
        database: The alias of the database.
        model_name: The model's name in lower case, as Django passes it.
    """
    if database in log_databases():
        return True
    return model_name in IN_CHILDREN and database in catalogue().child_databases


def targets(parent: Model) -> tuple[Field, ...]:
    """Return the fields of `parent`, other than its primary key, that relations refer to."""
    return catalogue().targets.get(parent, ())
