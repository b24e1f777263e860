"""The setting `pressure`: what keeps work on a child database from hurting its neighbours."""

from __future__ import annotations

import datetime as dt
import functools
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from ..exceptions import InvalidSetting

#: The entry for every child database that has none of its own.
DEFAULT = "*"
#: A function, or the dotted path of one. It is called with the alias of the database.
Question = Callable[[str], object] | str
HOURS = re.compile(r"(\d{1,2}):(\d{2})\s*[-–]\s*(\d{1,2}):(\d{2})(?:\s+(\S+))?")  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A daily window by the clocks of a time zone; `end` is on the next day if it is earlier."""

    begin: dt.time
    end: dt.time
    zone: dt.tzinfo

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M} {self.zone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """The limits of work on one child database. None sets no limit."""

    max_replica_lag_seconds: float | None = None
    replica_lag: Question | None = None
    max_rows_per_second: float | None = None
    quiet_hours: QuietHours | None = None
    busy: Question | None = None

    @property
    def slows(self) -> bool:
        """Return whether anything but quiet hours may slow the work down."""
        return self.is_sampled or self.max_rows_per_second is not None

    @property
    def is_sampled(self) -> bool:
        """Return whether the load of the database is asked for."""
        return self.busy is not None or self.max_replica_lag_seconds is not None

    @property
    def asks_the_server(self) -> bool:
        """Return whether the lag is read from the statistics of the database's own server."""
        return self.max_replica_lag_seconds is not None and self.replica_lag is None


NONE = Pressure()


def of_step(limits: Pressure) -> Pressure:
    """Return the limits that an erasure step has of those: it has no rows, no replicas. Pure."""
    return Pressure(quiet_hours=limits.quiet_hours)


def pressures(given: object) -> dict[str, Pressure]:
    """Return the limits by alias. Raises `InvalidSetting`, which names the option and its value."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidSetting(
            f"INTEGRITY['pressure'] is {given!r}; it takes a dictionary of options by alias, such"
            ' as {"*": {"max_replica_lag_seconds": 2}}'
        )
    return {alias: _pressure(alias, options) for alias, options in given.items()}


def name_of(alias: str, option: str, given: Mapping[str, object] | None) -> str:
    """Return the place of an option as the project's settings have it. Pure."""
    return f"INTEGRITY['pressure'][{alias if alias in (given or ()) else DEFAULT!r}][{option!r}]"


def function(place: str, given: Question) -> Callable[[str], object]:
    """Return the function of an option. Raises `InvalidSetting` where the path names none."""
    found: object = given
    if isinstance(given, str):
        try:
            found = import_string(given)
        except ImportError as error:
            raise InvalidSetting(
                f"{place} is {given!r}, which cannot be imported: {error}"
            ) from None
    if not callable(found):
        raise InvalidSetting(f"{place} is {given!r}, which is no function")
    return found


def _pressure(alias: object, options: object) -> Pressure:
    place = f"INTEGRITY['pressure'][{alias!r}]"
    if not isinstance(options, Mapping):
        raise InvalidSetting(f"{place} is {options!r}; it takes a dictionary of options")
    for name in options:
        if name not in PARSERS:
            known = ", ".join(PARSERS)
            raise InvalidSetting(f"{place}[{name!r}] is no option; known: {known}")
    given = {name: value for name, value in options.items() if value is not None}
    parsed = {name: PARSERS[name](f"{place}[{name!r}]", value) for name, value in given.items()}
    if "replica_lag" in parsed and "max_replica_lag_seconds" not in parsed:
        raise InvalidSetting(f"{place} has replica_lag, but no max_replica_lag_seconds")
    return Pressure(**parsed)


def _number(place: str, value: object, *, least: float) -> float:
    if type(value) not in {int, float} or not least <= value < float("inf"):  # type: ignore[operator]
        raise InvalidSetting(f"{place} is {value!r}; it takes a number of at least {least:g}")
    return float(value)  # type: ignore[arg-type]


def _question(place: str, value: object) -> Question:
    if not (callable(value) or (isinstance(value, str) and "." in value)):
        raise InvalidSetting(f"{place} is {value!r}; it takes a function or the dotted path of one")
    return value


def _hours(place: str, value: object) -> QuietHours:
    found: Any = HOURS.fullmatch(value.strip() if isinstance(value, str) else "") or {}
    try:
        begin, end = (dt.time(int(found[first]), int(found[first + 1])) for first in (1, 3))
    except (KeyError, ValueError):
        raise InvalidSetting(
            f'{place} is {value!r}; it takes hours such as "22:00-06:30 Europe/Berlin"'
        ) from None
    if begin == end:
        raise InvalidSetting(f"{place} is {value!r}, which is the whole day: pause it instead")
    zone = found[5] or settings.TIME_ZONE or "UTC"
    try:
        return QuietHours(begin, end, zoneinfo.ZoneInfo(zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSetting(f"{place} is {value!r}, but {zone!r} is no time zone") from None


PARSERS: dict[str, Callable[[str, object], Any]] = {
    "max_replica_lag_seconds": functools.partial(_number, least=0.1),
    "replica_lag": _question,
    "max_rows_per_second": functools.partial(_number, least=1),
    "quiet_hours": _hours,
    "busy": _question,
}
