"""The setting `steps`: what erases outside the databases. Their names, and where cascades are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from django.conf import settings
from django.utils.module_loading import import_string

from ..erasure import Step
from ..exceptions import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The dotted path of a step's class, or that and its options.
Given: TypeAlias = "str | tuple[str, Mapping[str, Any]]"
#: How the place of a step's cascades begins: what a database's alias is for others.
PREFIX = "step:"
#: What the name of a queue can hold with every broker.
NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")
EXAMPLE = '{"files": "shop.erasure.Files"}'


def place_of(name: str) -> str:
    """Return where the cascades of the step with that name are, in place of an alias. Pure."""
    return f"{PREFIX}{name}"


def is_step(place: str) -> bool:
    """Return whether cascades in that place are those of a step, not of a database. Pure."""
    return place.startswith(PREFIX)


def name_of(place: str) -> str:
    """Return the name of the step whose cascades are in that place. Pure."""
    return place.removeprefix(PREFIX)


def without_steps(places: Iterable[str]) -> list[str]:
    """Return those of the places that are databases. Pure."""
    return [place for place in places if not is_step(place)]


def refuse_unusable(given: object) -> None:
    """Refuse anything but None, or a dictionary of names and classes. Imports none of them."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise InvalidSetting(
            f"INTEGRITY['steps'] is {given!r}; it takes a dictionary, such as {EXAMPLE}"
        )
    for name, entry in given.items():
        place = f"INTEGRITY['steps'][{name!r}]"
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise InvalidSetting(
                f"{place}: the name of a step is the name of a queue, and takes up to 50 letters,"
                " digits, hyphens and underscores"
            )
        if {name, place_of(name)} & {*settings.DATABASES}:
            raise InvalidSetting(f"{place} has the name of a database; choose another one")
        if not _is_class_and_options(entry):
            raise InvalidSetting(
                f"{place} is {entry!r}; it takes the dotted path of a class, or a pair of that and"
                " a dictionary of options"
            )


def _is_class_and_options(entry: object) -> bool:
    path, options = entry if isinstance(entry, tuple | list) and len(entry) == 2 else (entry, {})  # noqa: PLR2004 (a pair)
    return isinstance(path, str) and "." in path and isinstance(options, Mapping)


def created(name: str, given: Given) -> Step:
    """Return a new step. Raises `InvalidSetting` where its class or options cannot be used."""
    place = f"INTEGRITY['steps'][{name!r}]"
    path, options = (given, {}) if isinstance(given, str) else given
    try:
        found = import_string(path)
    except ImportError as error:
        raise InvalidSetting(f"{place} is {path!r}, which cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Step)):
        raise InvalidSetting(f"{place} is {path!r}, which is no subclass of {Step.__module__}.Step")
    try:
        return found(**options)
    except Exception as error:
        kind = type(error).__name__
        raise InvalidSetting(f"{place}: {path} refuses its options: {kind}: {error}") from error
