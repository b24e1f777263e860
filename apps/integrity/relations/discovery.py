"""The catalogue: all cross-database relations of the project, discovered once at start-up.

Takes the models, the routers and the relations that are declared for plain columns (columns.py).
No queries.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, models

from ..exceptions import InvalidSetting, UnknownName
from .columns import Column, columns, generic_of
from .content_types import ContentTypeKeys, UnknownHome
from .homes import databases_for
from .policies import policy_of
from .relation import Field, ForeignKey, Model, Relation, concrete, label, primary_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True)
class Catalogue:
    """All relations of the project, in the order of their labels."""

    relations: tuple[Relation, ...]
    #: Keys to content types that are no relations: nobody can tell whose ids their rows hold.
    unknown_homes: tuple[UnknownHome, ...] = ()

    @functools.cached_property
    def parents(self) -> dict[str, Model]:
        """Label → tracked parent model."""
        return {each.parent._meta.label: each.parent for each in self.relations}

    @functools.cached_property
    def targets(self) -> dict[Model, tuple[Field, ...]]:
        """Parent → its fields, other than the primary key, that are held by keys that cascade."""
        found: dict[Model, dict[Field, None]] = {}
        for each in self.relations:
            pk = primary_key(each.parent)
            if each.target != pk and each.policy.cascades:
                found.setdefault(each.parent, {})[each.target] = None
        return {parent: tuple(fields) for parent, fields in found.items()}

    @functools.cached_property
    def log_databases(self) -> tuple[str, ...]:
        """The databases that hold a deletion log: those in which tracked parents live."""
        return _unique(alias for each in self.relations for alias in each.parent_databases)

    @functools.cached_property
    def child_databases(self) -> tuple[str, ...]:
        """The databases that deletions may cascade into."""
        return _unique(alias for each in self.relations for alias in each.child_databases)

    @functools.cached_property
    def databases(self) -> tuple[str, ...]:
        """All databases that this app works with: those of the parents, then the others."""
        return _unique(iter((*self.log_databases, *self.child_databases)))

    def children_of(
        self, parent: str, database: str | None = None, relation: str = ""
    ) -> tuple[Relation, ...]:
        """The relations that a deletion of `parent` cascades along (into `database`).

        One that a scan found cascades along the `relation` that it was found by, and no other.
        """
        return tuple(
            each
            for each in self.relations
            if each.policy.cascades
            and each.parent._meta.label == parent
            and database in {None, *each.child_databases}
            and relation in {"", each.label}
        )

    @functools.cached_property
    def by_label(self) -> dict[str, Relation]:
        """Label → relation."""
        return {each.label: each for each in self.relations}

    def knows(self, parent: str, database: str | None = None, relation: str = "") -> bool:
        """Whether a relation of those names is there at all (into `database`), whatever its policy.

        Labels and aliases of the log are those of the day on which it was written. Where none is
        there by these names, nothing can be said of the rows, and least of all that there are none.
        """
        return any(
            each.parent._meta.label == parent
            and database in {None, *each.child_databases}
            and relation in {"", each.label}
            for each in self.relations
        )

    def databases_of(self, parent: str, relation: str = "") -> tuple[str, ...]:
        """The child databases that a deletion of `parent` fans out to; as for `children_of`."""
        found = self.children_of(parent, relation=relation)
        return _unique(alias for each in found for alias in each.child_databases)

    def homes(self, database: str, log: str | None = None) -> tuple[str, ...]:
        """Return where the parents live whose keys that child database holds.

        With `log`, of those parents that this log is about: they are asked before work starts.
        """
        return _unique(
            home
            for each in self.relations
            if database in each.child_databases and log in {None, *each.parent_databases}
            for home in each.parent_databases
        )

    def parent(self, name: str) -> Model:
        """The tracked parent of that label, in any case.

        Raises `UnknownName`, which lists the known ones.
        """
        by_name = {known.lower(): model for known, model in self.parents.items()}
        try:
            return by_name[name.lower()]
        except KeyError:
            raise UnknownName("parent model", name, self.parents) from None

    def relation(self, name: str) -> Relation:
        """The relation of that label. Raises `UnknownName`, which lists the known ones."""
        try:
            return self.by_label[name]
        except KeyError:
            raise UnknownName("relation", name, self.by_label) from None

    def database(self, alias: str) -> str:
        """The alias, if deletions cascade into it. Raises `UnknownName`."""
        if alias not in self.child_databases:
            raise UnknownName("child database", alias, self.child_databases)
        return alias


def _unique(aliases: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(aliases))


def discover() -> Catalogue:
    """Read the models, the routers and the settings. Deterministic, no queries.

    A key to a model that is not there is left to Django's checks (fields.E300). Raises
    `InvalidSetting` for a declared relation that cannot be one.
    """
    declared, every = columns(), apps.get_models(include_auto_created=True)
    known = ContentTypeKeys(every, declared)
    found, unknown = [_declared(column) for column in declared], []
    for field in _keys(every):
        if (relation := _relation(field)) is None:
            continue
        homes = relation.parent_databases, relation.child_databases
        if key := known.unknown(field, *homes):
            unknown.append(key)
        else:
            found.append(relation)
    return Catalogue(
        tuple(sorted(found, key=lambda each: each.label)),
        tuple(sorted(unknown, key=lambda each: each.label)),
    )


def _keys(every: Iterable[Model]) -> Iterator[ForeignKey]:
    for model in every:
        for field in () if model._meta.proxy else model._meta.local_fields:
            if not isinstance(field, models.ForeignKey) or field.remote_field.parent_link:
                continue
            if not isinstance(field.remote_field.model, str):
                yield field


def _relation(field: ForeignKey) -> Relation | None:
    parents = databases_for(concrete(field.remote_field.model))
    children = databases_for(field.model)
    if set(parents) == set(children):
        return None
    return Relation(
        field=field,
        policy=policy_of(field),
        parent_databases=parents,
        child_databases=children,
    )


def _declared(column: Column) -> Relation:
    field = cast("ForeignKey", column)
    if (relation := _relation(field)) is not None:
        _require_its_content_types(relation)
        return relation
    parent, homes = field.remote_field.model._meta.label, ", ".join(databases_for(column.model))
    remedy = f'models.ForeignKey("{parent}", db_column="{column.column}", …) in the model'
    if column.generic:
        remedy = f'GenericRelation("{column.model._meta.label}", …) in {parent}'
    raise InvalidSetting(
        f"INTEGRITY['relations']: {label(column)} and {parent} both live in {homes}:"
        f" within a database, write {remedy}, and declare nothing"
    )


def _require_its_content_types(relation: Relation) -> None:
    """Refuse ids of a database that is neither end's."""
    generic = generic_of(relation.field)
    if generic is None:
        return
    ends = _unique(iter((*relation.parent_databases, *relation.child_databases)))
    if generic.content_types not in ends:
        raise InvalidSetting(
            f"INTEGRITY['relations']: {relation.label}: content_types is {generic.content_types!r},"
            f" and parents and children are in {', '.join(ends)}: name one of these"
        )


#: Called with each catalogue that is discovered, before anybody gets it.
observers: list[Callable[[Catalogue], None]] = []
#: The catalogue of this process, or nothing yet.
_known: list[Catalogue] = []


def catalogue() -> Catalogue:
    """The catalogue of this process, discovered when the apps are ready.

    And anew after settings or models changed that it was read from (installation.py).
    """
    if not _known:
        replace(discover())
    return _known[0]


def replace(found: Catalogue) -> None:
    """Let this be the catalogue of the process."""
    for follow in observers:
        follow(found)
    _known[:] = [found]


def forget() -> None:
    """Let the catalogue be discovered anew."""
    _known.clear()


def log_databases() -> tuple[str, ...]:
    """Where the deletion log is."""
    return catalogue().log_databases or (DEFAULT_DB_ALIAS,)


def log_database(alias: str) -> str:
    """The alias, if a deletion log is there. Raises `UnknownName`."""
    if alias not in log_databases():
        raise UnknownName("database with a deletion log", alias, log_databases())
    return alias


def holds(database: str, model_name: str | None) -> bool:
    """Whether a table of this app belongs into that database: ask this in `allow_migrate`."""
    if database in log_databases():
        return True
    return model_name == "identity" and database in catalogue().child_databases


def targets(parent: Model) -> tuple[Field, ...]:
    """The fields of `parent`, other than its primary key, that keys elsewhere hold (`to_field`)."""
    return catalogue().targets.get(parent, ())
