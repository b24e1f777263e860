"""Steps that take their options from the setting `steps`, or from a subclass."""

from __future__ import annotations

from typing import Any

from ...erasure import Step


class Configured(Step):
    """A step whose options are its public attributes: given when it is made, or by a subclass.

    Raises `TypeError` for an unknown option, and `ValueError` from `validate`.
    """

    def __init__(self, **options: Any) -> None:
        known = self.options()
        for name, value in options.items():
            if name not in known:
                raise TypeError(f"{name!r} is no option; known: {', '.join(known)}")
            setattr(self, name, value)
        self.validate()

    @classmethod
    def options(cls) -> list[str]:
        """Return the names of the options."""
        found = {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}
        return [name for name in found if not callable(found[name]) and not _computed(found[name])]

    def validate(self) -> None:
        """Raise `ValueError` where the options cannot be used."""


def _computed(value: object) -> bool:
    return isinstance(value, property)
