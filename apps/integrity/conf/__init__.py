"""`settings.INTEGRITY`, typed and validated: the only dictionary that a project sets."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from ..exceptions import InvalidSetting
from ..exceptions.suggestions import unknown
from . import pressure as pressures
from . import steps, values
from .fields import Fields

#: What may record the deletions of a parent.
CAPTURES = ("signal", "trigger", "both", "off")
#: The values of `capture` that install a trigger.
BY_TRIGGER = frozenset({"trigger", "both"})
#: Settings in which None means "never delete".
FOR_EVER = frozenset({"heartbeat_retention_days", "audit_retention_days"})
#: Settings that are no single number, flag or text.
WITH_STRUCTURE = frozenset(
    {
        *("capture", "scan_policy", "relations", "pressure", "ignored", "unconstrained"),
        *("deadline_days", "steps"),
    }
)
#: What a scan may do with the orphans that it finds.
SCAN_POLICIES = ("report", "repair")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Fields):
    """`settings.INTEGRITY`, validated, and what follows from its keys."""

    def __post_init__(self) -> None:
        values.refuse_unknown("capture", self.capture, CAPTURES, "parent")
        values.refuse_unknown("scan_policy", self.scan_policy, SCAN_POLICIES, "relation")
        values.refuse_undeclared(self.relations)
        values.refuse_unreasoned(self.ignored)
        values.refuse_unlisted(self.unconstrained)
        values.refuse_no_days(self.deadline_days)
        pressures.pressures(self.pressure)
        steps.refuse_unusable(self.steps)
        for field in dataclasses.fields(self):
            if field.name in WITH_STRUCTURE:
                continue
            value, wanted = getattr(self, field.name), type(field.default)
            if value is None and field.name in FOR_EVER:
                continue
            if wanted is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not wanted:
                raise InvalidSetting(
                    f"INTEGRITY[{field.name!r}] is {value!r}; it takes {wanted.__name__}"
                )
            if wanted in {int, float} and not 0 < value < math.inf:
                raise InvalidSetting(f"INTEGRITY[{field.name!r}] is {value!r}; it must be above 0")

    def pressure_on(self, database: str) -> pressures.Pressure:
        """Return the limits of work on the child database with that alias."""
        if not (given := self.pressure):
            return pressures.NONE
        name = database if database in given else pressures.DEFAULT
        if name not in given:
            return pressures.NONE
        limits = pressures.pressures({name: given[name]})[name]
        return pressures.of_step(limits) if steps.is_step(database) else limits

    @property
    def uses_deadlines(self) -> bool:
        """Return whether deletions may have deadlines."""
        return self.deadline_days is not None

    def deadline_days_of(self, parent: str) -> float | None:
        """Return in how many days deletions of the parent with that label have to be verified."""
        given = self.deadline_days
        if isinstance(given, Mapping):
            given = given[parent] if parent in given else given.get(pressures.DEFAULT)
        return None if given is None else float(given)

    def capture_of(self, parent: str) -> str:
        """Return how deletions of the parent with that label are recorded, one of `CAPTURES`."""
        return values.chosen(self.capture, parent, CAPTURES)

    def by_trigger(self, parent: str) -> bool:
        """Return whether a trigger records the deletions of the parent with that label."""
        return self.capture_of(parent) in BY_TRIGGER

    def is_triggered(self, parent: str) -> bool:
        """Return whether only a trigger records the deletions of the parent with that label."""
        return self.capture_of(parent) == "trigger"

    def is_off(self, parent: str) -> bool:
        """Return whether no deletion of the parent with that label is recorded."""
        return self.capture_of(parent) == "off"

    def reason_to_ignore(self, relation: str) -> str:
        """Return why the relation with that label is ignored, or ""."""
        return (self.ignored or {}).get(relation, "")

    def scan_policy_of(self, relation: str) -> str:
        """Return what a scan does with orphans of the relation with that label."""
        return values.chosen(self.scan_policy, relation, SCAN_POLICIES)


@functools.cache
def current() -> Settings:
    """Return the settings in force, validated. They are cached until `settings.INTEGRITY` changes.

    Raises:
        InvalidSetting: an unknown key or an unusable value. It is an `ImproperlyConfigured`.
    """
    given: dict[str, Any] = getattr(settings, "INTEGRITY", {})
    if not isinstance(given, Mapping):
        raise InvalidSetting(f"INTEGRITY is {given!r}; it takes a dictionary")
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in given:
        if name not in known:
            raise InvalidSetting(f"INTEGRITY: {unknown('setting', str(name), known)}")
    return Settings(**given)


def _forget(*, setting: str, **_: object) -> None:
    if setting == "INTEGRITY":
        current.cache_clear()


setting_changed.connect(_forget, dispatch_uid="integrity.conf")
