"""A key for each policy, all to one parent."""

from __future__ import annotations

from django.db import models

from ..spread import current

#: The keys of rows that SET and SET_DEFAULT put in place. Nobody deletes these rows.
KEEPERS = {
    "number": 1,
    "text": "keeper",
    "uuid": "00000000-0000-4000-8000-000000000001",
}
POLICIES = (
    "cascade",
    "protect",
    "restrict",
    "set_null",
    "set_default",
    "set_value",
    "set_call",
    "do_nothing",
)


def on_delete(policy, keeper):
    """Django's callable of that policy."""
    if policy == "set_value":
        return models.SET(keeper)
    if policy == "set_call":
        return models.SET(lambda: keeper)
    return getattr(models, policy.upper())


def key(child, parent, policy, *, make=models.ForeignKey, keeper="number", **options):
    """One nullable key of `child` to `parent`."""
    target = {"to_field": options["to_field"]} if "to_field" in options else {}
    if current().declared(child, parent) and options.get("declared"):
        return options["declared"](null=True, db_index=True, **_default(policy, keeper))
    return make(
        parent,
        on_delete(policy, KEEPERS[keeper]),
        null=True,
        related_name="+",
        db_constraint=current().constrained(child, parent),
        **_default(policy, keeper),
        **target,
    )


def _default(policy, keeper):
    return {"default": KEEPERS[keeper]} if policy == "set_default" else {}


def every(child, parent, *, prefix="", **options):
    """An abstract model with a nullable key to `parent` for each policy that the seed keeps.

    Of a `declared` kind, the attribute is the column: `cascade_id`, where keys have `cascade`.
    """
    plain = options.get("declared") and current().declared(child, parent)
    keys = {
        f"{prefix}{policy}{'_id' if plain else ''}": key(child, parent, policy, **options)
        for policy in POLICIES
        if current().keeps(child, prefix, policy)
    }
    return abstract(f"{child}{prefix}Keys", keys)


def abstract(name, members):
    """An abstract model with those fields."""
    meta = type("Meta", (), {"abstract": True, "app_label": "zoo"})
    attributes = {"__module__": __name__, "Meta": meta, **members}
    return models.base.ModelBase(name, (models.Model,), attributes)
