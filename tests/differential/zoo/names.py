"""Which models hold declared columns and generic relations. The settings read it: no models."""

from __future__ import annotations

POLICY_NAMES = {
    "cascade": "CASCADE",
    "protect": "PROTECT",
    "restrict": "RESTRICT",
    "set_null": "SET_NULL",
    "set_default": "SET_DEFAULT",
    "set_value": "SET",
    "set_call": "SET",
    "do_nothing": "DO_NOTHING",
}
VALUES = {"set_value": lambda value: value, "set_call": lambda value: lambda: value}
#: Child, parent, the parent's field, and the keeper's value.
DECLARED = (("Event", "Plain", "", 1), ("CodeEvent", "Coded", "code", "keeper"))
#: Child and parent of each generic relation that may cross.
NOTED = (("Note", "Plain"), ("Note", "Unique"), ("Note", "OfPlain"))
