"""What the settings that are no numbers may hold. Each function raises `InvalidSetting`."""

from __future__ import annotations

from collections.abc import Mapping

from ..declared import Relation
from ..exceptions import InvalidSetting
from ..exceptions.suggestions import closest


def refuse_unknown(name: str, value: object, known: tuple[str, ...], subject: str) -> None:
    """Refuse a choice that is none of `known`, alone or in a dictionary by subject."""
    chosen = [*value.values()] if isinstance(value, Mapping) else [value]
    if wrong := [choice for choice in chosen if choice not in known]:
        likely = closest(str(wrong[0]), known)
        guess = f" did you mean {likely!r}?" if likely else ""
        raise InvalidSetting(
            f"INTEGRITY[{name!r}] is {value!r};{guess} it takes one of {', '.join(known)},"
            f" or a dictionary of them by {subject}"
        )


def refuse_undeclared(value: object) -> None:
    """Refuse anything but a list of declared relations."""
    given = value if isinstance(value, list | tuple) else [None]
    if not all(isinstance(entry, Relation) for entry in given):
        raise InvalidSetting(
            f"INTEGRITY['relations'] is {value!r}; it takes a list of {Relation.__module__}."
            'Relation("analytics.Event.user_key", "auth.User")'
        )


#: The longest deadline: a hundred years.
DAYS_MAX = 36_500.0


def refuse_no_days(value: object) -> None:
    """Refuse anything but None, a number of days, or a dictionary of them by parent."""
    given = value if isinstance(value, Mapping) else {"*": value}
    if all(isinstance(label, str) for label in given) and all(map(_is_days, given.values())):
        return
    raise InvalidSetting(
        f"INTEGRITY['deadline_days'] is {value!r}; it takes None, a number of days above 0,"
        f' at most {DAYS_MAX:,.0f}, or a dictionary by parent, as in {{"auth.User": 30, "*": 90}}'
    )


def _is_days(value: object) -> bool:
    if value is None:
        return True
    return type(value) in {int, float} and 0 < float(str(value)) <= DAYS_MAX


def chosen(value: str | Mapping[str, str], subject: str, known: tuple[str, ...]) -> str:
    """Return the choice for that subject; the first of `known` for one that is not named. Pure."""
    return value if isinstance(value, str) else value.get(subject, known[0])


def refuse_unreasoned(value: object) -> None:
    """Refuse anything but None, or a dictionary of labels and reasons."""
    pairs = value.items() if isinstance(value, Mapping) else [(value,)] if value else ()
    if all(isinstance(text, str) and text.strip() for pair in pairs for text in pair):
        return
    raise InvalidSetting(
        f"INTEGRITY['ignored'] is {value!r}; it takes a dictionary of relations and reasons, as in"
        ' {"shop.HistoricalOrder.customer": "history keeps the keys of deleted customers"}'
    )


def refuse_unlisted(value: object) -> None:
    """Refuse anything but a list of the labels of apps."""
    if isinstance(value, list | tuple) and all(isinstance(label, str) for label in value):
        return
    raise InvalidSetting(
        f"INTEGRITY['unconstrained'] is {value!r}; it takes a list of app labels, as in"
        ' ["auditlog"]'
    )
