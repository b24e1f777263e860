"""What `INTEGRITY["relations"]` declares where the seed took the two ends apart. Pure."""

from __future__ import annotations

from .names import DECLARED, NOTED, POLICY_NAMES, VALUES


def declared(drawn):
    """Arguments of `Relation` for each."""
    for child, parent, to_field, value in DECLARED:
        if drawn.declared(child, parent):
            for policy, name in POLICY_NAMES.items():
                if not drawn.keeps(child, "", policy):
                    continue
                more = {"to_field": to_field} if to_field else {}
                more |= {"value": VALUES[policy](value)} if policy in VALUES else {}
                yield (f"zoo.{child}.{policy}_id", f"zoo.{parent}", name), more
    for child, parent in NOTED:
        if drawn.declared(child, parent):
            names = (f"zoo.{child}.content_object", f"zoo.{parent}")
            yield names, {"content_types": drawn.content_types(child, parent)}
