"""The catalogue: every foreign key whose parent and child live in different databases.

Takes the models, the routers and the relations that are declared for plain columns (columns.py);
gives frozen values. No queries.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, models

from . import stored
from .columns import Column, columns, columns_of, generic_of, origin
from .content_types import ContentTypeKeys, UnknownHome
from .exceptions import InvalidKey, InvalidSetting, UnknownName
from .homes import databases_for as databases_for  # noqa: PLC0414 (a stable name of this module)
from .policies import Policy as Policy  # noqa: PLC0414 (a stable name of this module)
from .policies import declared_on_delete, is_plain, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Model: TypeAlias = type[models.Model]
ForeignKey: TypeAlias = "models.ForeignKey[Any, Any]"
Field: TypeAlias = "models.Field[Any, Any]"


def label(field: Field) -> str:
    """A field's name, as in "blog.Post.author"; see `Relation.label`."""
    if isinstance(field, Column):
        return field.label
    return f"{field.model._meta.label}.{field.name}"


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One cross-database foreign key, or a declared column that stands for one."""

    field: ForeignKey
    policy: Policy
    parent_databases: tuple[str, ...]
    child_databases: tuple[str, ...]

    @functools.cached_property
    def label(self) -> str:
        """The relation's name, as in "blog.Post.author".

        One of a GenericForeignKey names the parent, too: "notes.Note.content_object@auth.User".
        """
        return label(self.field)

    @functools.cached_property
    def child(self) -> Model:
        """The model that holds the key."""
        return self.field.model

    @functools.cached_property
    def parent(self) -> Model:
        """The model that the key points to; the concrete one where it points to a proxy."""
        return concrete(self.field.remote_field.model)

    @functools.cached_property
    def target(self) -> Field:
        """The parent's field that the key holds: its primary key, or its `to_field`."""
        target: Field = self.field.target_field
        return target

    @functools.cached_property
    def kept(self) -> dict[str, Any]:
        """What other modules derive from it once, and keep as long as this catalogue lasts."""
        return {}

    @property
    def on_delete(self) -> Callable[..., None]:
        """The declared `on_delete`."""
        return declared_on_delete(self.field)

    @property
    def plain(self) -> bool:
        """Whether the `on_delete` is Django's own, and so nothing but its policy."""
        return is_plain(self.field)

    @property
    def indexed(self) -> bool:
        """Whether an index of the child's table begins with the key.

        For a GenericForeignKey, with its two columns in either order.
        """
        wanted = {each.name for each in columns_of(self.field)}
        return any(
            {name.lstrip("-") for name in names[: len(wanted)]} == wanted
            for names in _indexed(self.field)
        )


def _indexed(field: ForeignKey) -> Iterator[Sequence[str]]:
    """The columns of each index that may lead to the rows of a key: those that keep an order."""
    meta = field.model._meta
    if getattr(field, "db_index", False) or field.unique:
        yield [field.name]
    ordered = [index for index in meta.indexes if index.suffix in {"idx", "btree"}]
    groups = [index.fields for index in ordered if index.condition is None]
    groups += [list(names) for names in meta.unique_together]
    groups += [
        list(constraint.fields)
        for constraint in meta.constraints
        if isinstance(constraint, models.UniqueConstraint) and constraint.condition is None
    ]
    yield from groups


def concrete(model: Model) -> Model:
    """The model itself, or the one that a proxy stands for."""
    found = model._meta.concrete_model
    assert found is not None, f"{model._meta.label} is abstract"
    return found


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

    def homes(self, database: str, log: str) -> tuple[str, ...]:
        """Where the parents live that a log asks for before it works on that child database."""
        return _unique(
            home
            for each in self.relations
            if database in each.child_databases and log in each.parent_databases
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
followers: list[Callable[[Catalogue], None]] = []
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
    for follow in followers:
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


def primary_key(model: Model) -> Field:
    """The model's primary key."""
    pk = model._meta.pk
    assert pk is not None, f"{model._meta.label} is abstract"
    return pk


def pk_fields(model: Model) -> tuple[Field, ...]:
    """Return the columns of the model's primary key: several, where it is composite."""
    return tuple(concrete(model)._meta.pk_fields)


def targets(parent: Model) -> tuple[Field, ...]:
    """The fields of `parent`, other than its primary key, that keys elsewhere hold (`to_field`)."""
    return catalogue().targets.get(parent, ())


def suspected(relation: Relation, key: str | None, targets: dict[str, str] | None) -> Any:
    """The value that a suspect's rows hold: a parent's key, or its `to_field`.

    None where a migration has made another field of it, or one that cannot hold it.
    """
    text = (targets or {}).get(relation.target.name) if key is None else key
    try:
        return None if text is None else parse_key(relation.target, text)
    except InvalidKey:
        return None


def as_held(field: ForeignKey, key: Any) -> Any:
    """What rows have in `field` that refer to the parent of that key."""
    return format_key(field.target_field, key) if writes_text(field) else key


def as_key(field: ForeignKey, value: Any) -> Any:
    """The parent's key that `value` in a row's `field` is; None for a text that is none.

    See Note [Canonical text].
    """
    if not writes_text(field):
        return value
    try:
        key = parse_key(field.target_field, value)
    except InvalidKey:
        return None
    fits = not isinstance(key, int) or -(2**63) <= key < 2**63
    return key if fits and format_key(field.target_field, key) == value else None


def writes_text(field: Field) -> bool:
    """Whether rows hold keys of another type in it, as text."""
    return isinstance(field, Column) and field.writes_text


def format_key(field: Field, value: Any) -> str:
    """The text form of a parent's key, which `parse_key` takes back.

    Raises `InvalidKey`, naming the field, where it would be taken for another key. Only fields of a
    project's own can do that.
    """
    kind, text = origin(field), text_of(field, value)
    if not (stored.is_plain(kind) or _is_read_back(kind, value, text)):
        raise InvalidKey(
            f"{label(field)}: its value_to_string() writes a key of which to_python() and"
            " get_prep_value() make another one, or none. See `manage.py check`"
        )
    return text


def text_of(field: Field, value: Any) -> str:
    """Return what the field itself writes of a key; see `format_key`."""
    kind = origin(field)
    return kind.value_to_string(cast("models.Model", SimpleNamespace(**{kind.attname: value})))


def _is_read_back(field: Field, value: Any, text: str) -> bool:
    using = databases_for(field.model)[0]
    try:
        read = stored.prepare(field, parse_key(field, text), using)
    except InvalidKey:
        return False
    return bool(read == stored.prepare(field, value, using))


def parse_key(field: Field, text: str) -> Any:
    """The value of a parent's key from its text form.

    Raises `InvalidKey`, naming the field, where the field cannot hold it.
    """
    try:
        return field.to_python(text)
    except (ValidationError, ValueError, TypeError):
        # The cause quotes the text.
        raise InvalidKey(f"not a key that {label(field)} can hold") from None
