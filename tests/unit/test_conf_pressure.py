"""The setting `pressure`: typed, and refused with its place and its value."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from apps.integrity import conf
from apps.integrity.conf.pressure import NONE
from apps.integrity.exceptions import InvalidSetting

if TYPE_CHECKING:
    from pytest_django import SettingsWrapper

PLACE = r"INTEGRITY\['pressure'\]\['\*'\]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (7, rf"{PLACE} is 7; it takes a dictionary of options"),
        ({"max_lag": 2}, rf"{PLACE}\['max_lag'\] is no option; known: max_replica_lag_seconds, "),
        ({"max_replica_lag_seconds": "2"}, r"\['max_replica_lag_seconds'\] is '2'; it takes a num"),
        ({"max_replica_lag_seconds": 0}, r"is 0; it takes a number of at least 0.1"),
        ({"max_rows_per_second": True}, r"\['max_rows_per_second'\] is True"),
        ({"max_rows_per_second": float("nan")}, r"is nan; it takes a number of at least 1"),
        ({"busy": 0.5}, r"\['busy'\] is 0.5; it takes a function or the dotted path of one"),
        ({"busy": "busy"}, r"\['busy'\] is 'busy'; it takes a function"),
        ({"replica_lag": "a.b"}, "has replica_lag, but no max_replica_lag_seconds"),
        ({"quiet_hours": "22-6"}, r"\['quiet_hours'\] is '22-6'; it takes hours such as"),
        ({"quiet_hours": "24:00-06:00"}, "it takes hours such as"),
        ({"quiet_hours": 22}, "is 22; it takes hours such as"),
        ({"quiet_hours": "06:00-06:00"}, "which is the whole day: pause it instead"),
        ({"quiet_hours": "22:00-06:00 Mars/Base"}, "but 'Mars/Base' is no time zone"),
        ({"quiet_hours": "22:00-06:00 ../etc"}, "but '../etc' is no time zone"),
    ],
)
def test_nonsense_is_refused(settings: SettingsWrapper, options: object, message: str) -> None:
    settings.INTEGRITY = {"pressure": {"*": options}}
    with pytest.raises(InvalidSetting, match=message):
        conf.current()


def test_what_is_no_dictionary_is_refused(settings: SettingsWrapper) -> None:
    settings.INTEGRITY = {"pressure": "gently"}
    with pytest.raises(InvalidSetting, match=r"INTEGRITY\['pressure'\] is 'gently'; it takes"):
        conf.current()


def test_an_entry_of_its_own_replaces_the_default_as_a_whole(settings: SettingsWrapper) -> None:
    settings.INTEGRITY = {
        "pressure": {"*": {"max_rows_per_second": 5}, "a": {"quiet_hours": "22:00-6:30"}, "b": {}}
    }
    chosen = conf.current().pressure_on
    assert chosen("c").max_rows_per_second == 5
    assert (chosen("a").max_rows_per_second, chosen("b")) == (None, NONE)
    hours = chosen("a").quiet_hours
    assert hours is not None
    assert (hours.begin, hours.end) == (dt.time(22), dt.time(6, 30))
    assert str(hours.zone) == settings.TIME_ZONE
