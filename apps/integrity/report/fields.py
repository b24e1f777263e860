"""Values that open deletions lack: the log has another name for a parent's field, or none.

`lacks` finds them; report/names.py reports them. It costs one statement for each parent with a
`to_field` that has open work, and one more if some of that work lacks a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import relations
from ..log import fields as log_fields
from ..log.renaming import field_of
from ..relations.relation import primary_key
from .guesses import renamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..relations import Catalogue, Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Deletions in which there is no value of a field that rows elsewhere hold today.

    `olds` are the names in their values that no relation asks for any more.
    """

    name: str
    relations: tuple[str, ...]
    deletions: int
    olds: tuple[str, ...]

    @property
    def old(self) -> str:
        """Return the field's old name, or "" if several are possible or none is known."""
        names = [name for name in self.olds if renamed(name) == self.name] or [*self.olds]
        return names[0] if len(names) == 1 else ""


def along(parent: str, field: str) -> tuple[Relation, ...]:
    """Return the relations that cascade by that field of a parent, which is no primary key."""
    return tuple(
        relation
        for relation in relations.catalogue().children_of(parent)
        if relation.target.name == field and relation.target != primary_key(relation.parent)
    )


def lacks(catalogue: Catalogue, names: Iterable[tuple[str, str]], using: str) -> list[Lack]:
    """Return each field whose value open deletions lack.

    Args:
        catalogue: The relations of today.
        names: Parent and relation of the open deletions.
        using: The alias of the log.
    """
    known = {model._meta.label: fields for model, fields in catalogue.targets.items()}
    missing: dict[str, tuple[set[int], set[str]]] = {}
    for parent, relation in names:
        if not (wanted := [field.name for field in known.get(parent, ())]):
            continue
        rows = log_fields.lacking(parent, relation, using=using)
        for name in wanted:
            if lacking := _lacking(rows, parent, name, relation, using):
                pks, olds = missing.setdefault(f"{parent}.{name}", (set(), set()))
                pks.update(lacking)
                olds.update(_olds(parent, wanted, lacking.values()))
    return [
        Lack(
            name=name,
            relations=tuple(cascading.label for cascading in along(*field_of(name))),
            deletions=len(pks),
            olds=tuple(sorted(olds)),
        )
        for name, (pks, olds) in missing.items()
    ]


def _lacking(
    rows: Sequence[tuple[int, dict[str, Any]]], parent: str, field: str, relation: str, using: str
) -> dict[int, dict[str, Any]]:
    """Return id → targets of deletions that lack the field and have work left along it."""
    needed = [cascading for cascading in along(parent, field) if relation in {"", cascading.label}]
    lacking = {pk: targets for pk, targets in rows if field not in targets}
    if not (needed and lacking):
        return {}
    databases = list({alias for cascading in needed for alias in cascading.child_databases})
    over = log_fields.over_in(list(lacking), databases, using=using)
    return {pk: targets for pk, targets in lacking.items() if pk not in over}


def _olds(parent: str, known: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for targets in rows:
        yield from (f"{parent}.{name}" for name in targets if name not in known)


def reason_of(lack: Lack) -> str:
    """Return why those deletions wait, and the two remedies. Pure."""
    more = "+" if lack.deletions >= log_fields.SAMPLE else ""
    wait = f"{lack.deletions:,}{more} open deletions wait: the log does not say which {lack.name}"
    rename = "manage.py integrity rename"
    old = lack.old or f"{field_of(lack.name)[0]}.OLD"
    scans = " and ".join(
        f"`manage.py integrity scan --relation {label} --full`" for label in lack.relations
    )
    renaming = f"`{rename} {old} {lack.name} --field` renames the values that the log has under the"
    renaming += " old name"
    closing = f"`{rename} {lack.name} --field --close REASON` ends the wait; {scans} finds what is"
    closing += " left"
    if not lack.olds:
        return f"{wait} was deleted, since no relation asked for it then. {closing}"
    held = " and ".join(lack.olds)
    return (
        f"{wait} was deleted, but {held}. Where that is its old name, {renaming}; where it is not,"
        f" {closing}"
    )
