"""What a history knows of the models: their keys, and what their rows hold. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Name of a model → its rows, each the values of its columns.
Rows = dict[str, list[list[Any]]]


@dataclass(frozen=True)
class Key:
    """A foreign key: it holds the `target` of a row of `parent`."""

    name: str
    parent: str
    target: str
    policy: str
    null: bool
    unique: bool


@dataclass(frozen=True)
class Kind:
    """A model. `values` are the types of its attributes that are no keys.

    `columns` are those of its own table; a model that inherits holds those of `above` as well.
    `root` counts the primary keys. `pairs`: a table between two models, each pair once.
    """

    name: str
    columns: tuple[str, ...]
    pk: tuple[str, ...]
    root: str
    above: tuple[str, ...]
    values: dict[str, str]
    keys: tuple[Key, ...]
    pairs: bool
    generic: tuple[str, ...]
    proxies: tuple[str, ...]

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Kind:
        """As `describe` gives it."""
        keys = tuple(Key(**each) for each in found.pop("keys"))
        plain = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        return cls(**plain, keys=keys)

    def held(self, rows: Rows, column: str) -> list[Any]:
        """The values of a column of the model's own table."""
        at = self.columns.index(column)
        return [row[at] for row in rows.get(self.name, [])]

    def primary_keys(self, rows: Rows) -> list[list[Any]]:
        """Those of all rows, each as the list of its parts."""
        at = [self.columns.index(each) for each in self.pk]
        return [[row[each] for each in at] for row in rows.get(self.name, [])]

    @property
    def parents(self) -> frozenset[str]:
        """The models that a row refers to."""
        return frozenset({*(key.parent for key in self.keys), *self.generic, *self.above})

    def remember(self, kinds: dict[str, Kind], values: dict[str, Any], rows: Rows) -> None:
        """Put a new row where it will be found: into its own table, and those above."""
        key = values[kinds[self.root].pk[0]] if self.above else None
        for name in (self.name, *self.above):
            columns = kinds[name].columns
            rows.setdefault(name, []).append(
                [
                    values.get(column, key if column == kinds[name].pk[0] else None)
                    for column in columns
                ]
            )
