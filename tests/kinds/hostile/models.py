from __future__ import annotations

from typing import Any

from django.db import models

LENGTH_MAX = 63  # bytes of a name in PostgreSQL
KEY_LENGTH = 255

QUOTED, LONG, PERCENT, LONE = "Quoted", "Long", "Percent", "Lone"


def name_of(kind: str, what: str) -> str:
    """A name of that kind, as `db_table` and `db_column` take it; another one for each `what`."""
    if kind == QUOTED:
        # Django passes names that are in quotes: this one ends the quotes, if taken carelessly.
        return f'"{what}""; DROP TABLE ""integrity_deletion""; --\\\'"'
    if kind == LONG:
        start = f"{what}. Größe→SELECT * "
        return start + "x" * (LENGTH_MAX - len(start.encode()))
    return f"{what} 50% {'%s %% %(x)s' if kind == PERCENT else 'of'}"


class Hostile(models.Model):
    home = "default"

    class Meta:
        abstract = True


def made(kind: str, what: str, home: str, **fields: Any) -> type[models.Model]:
    """A model with that kind of names, in that database."""
    meta: dict[str, Any] = {"db_table": name_of(kind, what)}
    label = f"{kind}{what.title()}"
    # Named here: Django makes names of indexes from those of columns, and forgets their quotes.
    meta["indexes"] = [
        models.Index(fields=[each], name=f"hostile_{label}_{each}".lower()[:30])
        for each, field in fields.items()
        if isinstance(field, models.ForeignKey)
    ]
    key = models.BigAutoField(primary_key=True, db_column=name_of(kind, "id"))
    values = {"id": key, **fields, "home": home, "__module__": __name__}
    return type(label, (Hostile,), {**values, "Meta": type("Meta", (), meta)})


def refers(kind: str, to: Any, column: str, on_delete: Any = models.CASCADE) -> Any:
    """A key in a column of that kind."""
    return models.ForeignKey(
        to,
        on_delete,
        null=True,
        db_column=name_of(kind, column),
        db_constraint=False,
        db_index=False,
        related_name="+",
    )


def family(kind: str, **parents_fields: Any) -> dict[str, type[models.Model]]:
    """A parent on PostgreSQL, one on SQLite, and children in other databases for each way."""
    found: dict[str, type[models.Model]] = {}

    def add(what: str, home: str, **fields: Any) -> type[models.Model]:
        found[what] = made(kind, what, home, **fields)
        return found[what]

    parent = add("parent", "default", **parents_fields)
    for prefix, home in (("", "test_left"), ("lite", "test_lite")):
        child = add(f"{prefix}child", home, parent=refers(kind, parent, "key"))
        add(f"{prefix}below", home, child=refers(kind, child, "key"))
        add(f"{prefix}kept", home, child=refers(kind, child, "key", models.SET_NULL))
        add(f"{prefix}nulled", home, parent=refers(kind, parent, "key", models.SET_NULL))
        # A circle: Django's Collector deletes these.
        add(
            f"{prefix}circle",
            home,
            parent=refers(kind, parent, "key"),
            above=refers(kind, "self", "above"),
        )
    other = add("other", "test_lite")
    add("ofother", "test_left", parent=refers(kind, other, "key"))
    return found


FAMILIES = {
    QUOTED: family(QUOTED),
    LONG: family(
        LONG,
        id=models.CharField(
            max_length=KEY_LENGTH, primary_key=True, db_column=name_of(LONG, "text")
        ),
    ),
}
