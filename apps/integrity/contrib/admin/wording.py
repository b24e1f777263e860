"""What the admin says before and after a delete. Pure.

Two relations of the same model never read alike: "1 post, 2 comments whose author is this user,
1 comment whose post is one of those posts".
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist

from ... import relations
from ...dashboard.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...relations import Model
    from ...report.elsewhere import Elsewhere

#: The singular and the plural.
Noun = tuple[str, str]


def lines_of(databases: Sequence[Elsewhere], parent: Model, number: int) -> list[str]:
    """Return a line for each database with rows that go with that number of parents."""
    touched = {
        effect["relation"] for each in databases for effect in each.effects if effect["rows"]
    }
    nouns = _nouns(sorted(touched), parent, number)
    return [line for each in databases if (line := _line(each, nouns))]


def after(number: int, of: int, where: str) -> str:
    """Return what follows in other databases, after deletions of `number` parents were recorded.

    `of` parents were to be deleted.
    """
    follows = f"in {where} follows in the background."
    if number == of:
        return f"What refers to {'it' if of == 1 else f'these {of:,}'} {follows}"
    if number:
        return (
            f"Deletions of {number:,} of these {of:,} were recorded: what refers to them {follows}"
        )
    which = "it" if of == 1 else f"these {of:,}"
    return f"No deletion of {which} was recorded: what refers to {which} in {where} stays as it is."


def _line(database: Elsewhere, nouns: dict[str, Noun]) -> str:
    if database.uncounted:
        return f"{database.database}: cannot be counted now; what is there is deleted all the same"
    rows = Counter[tuple[str, str]]()  # several paths may end at the same relation
    for effect in database.effects:
        rows[effect["policy"], effect["relation"]] += effect["rows"]
    by_policy: dict[str, list[str]] = {}
    for (policy, relation), number in rows.items():
        if number:
            counted = f"{count(number)} {nouns[relation][number != 1]}"
            by_policy.setdefault(policy, []).append(counted)
    parts = [f"{', '.join(counted)} ({policy})" for policy, counted in by_policy.items()]
    return f"{database.database}: {', '.join(parts)}" if parts else ""


def _nouns(labels: Sequence[str], parent: Model, number: int) -> dict[str, Noun]:
    """Return what rows of each relation are called, no two of them alike."""
    nouns = {label: _noun(label) for label in labels}
    for label in _alike(nouns):
        nouns[label] = _with(nouns[label], f" {_clause(label, parent, number)}")
    for label in _alike(nouns):
        nouns[label] = _with(nouns[label], f" [{label}]")
    return nouns


def _alike(nouns: dict[str, Noun]) -> list[str]:
    """Return the labels whose noun another label has, too."""
    forms = [Counter(noun[form] for noun in nouns.values()) for form in (0, 1)]
    return [
        label
        for label, noun in nouns.items()
        if any(forms[form][noun[form]] > 1 for form in (0, 1))
    ]


def _with(noun: Noun, clause: str) -> Noun:
    return f"{noun[0]}{clause}", f"{noun[1]}{clause}"


def _noun(label: str) -> Noun:
    model, _ = _parts(label)
    return str(model._meta.verbose_name), str(model._meta.verbose_name_plural)


def _clause(label: str, parent: Model, number: int) -> str:
    """Return what tells the relation from others of its model."""
    model, name = _parts(label)
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return f"along {label}"
    words = getattr(field, "verbose_name", name.replace("_", " "))
    if label in _direct(parent):
        meta = parent._meta
        one = f"this {meta.verbose_name}"
        return (
            f"whose {words} is {one if number == 1 else f'one of these {meta.verbose_name_plural}'}"
        )
    above = getattr(field.related_model, "_meta", None)
    return f"whose {words} is one of those {above.verbose_name_plural if above else 'rows'}"


def _direct(parent: Model) -> Iterable[str]:
    """Return the labels of the relations to the parent itself."""
    return {known.label for known in relations.catalogue().relations if known.parent is parent}


def _parts(label: str) -> tuple[Model, str]:
    """Return the model and the name of the field of a label; see `Relation.label`."""
    app, model, field = label.split(".", 2)
    return apps.get_model(app, model), field.partition("@")[0]
