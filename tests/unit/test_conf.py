"""`settings.INTEGRITY`, typed and validated."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from apps.integrity import conf
from apps.integrity.exceptions import CrossDatabaseError, InvalidSetting

if TYPE_CHECKING:
    from pytest_django import SettingsWrapper


def test_without_the_setting_the_defaults_hold(settings: SettingsWrapper) -> None:
    del settings.INTEGRITY
    conf.current.cache_clear()
    assert conf.current() == conf.Settings()


def test_a_given_value_wins_and_a_change_takes_effect(settings: SettingsWrapper) -> None:
    for value in (7, 8):
        settings.INTEGRITY = {"claim_keys": value}
        assert conf.current().claim_keys == value


def test_a_whole_number_of_seconds_is_fine(settings: SettingsWrapper) -> None:
    settings.INTEGRITY = {"turn_seconds": 2}
    assert conf.current().turn_seconds == 2.0
    assert type(conf.current().turn_seconds) is float


def test_an_unknown_key_is_refused_with_the_known_ones(settings: SettingsWrapper) -> None:
    settings.INTEGRITY = {"claim_key": 1}
    with pytest.raises(InvalidSetting, match=r"'claim_key'.*known: relations, ignored, un"):
        conf.current()
    settings.INTEGRITY = {"grace_second": 1}
    with pytest.raises(InvalidSetting, match="unknown setting 'grace_second'; did you mean 'grace"):
        conf.current()
    settings.INTEGRITY = {"scan_policy": "reapir"}
    with pytest.raises(InvalidSetting, match="did you mean 'repair'"):
        conf.current()


def test_what_is_no_dictionary_is_refused(settings: SettingsWrapper) -> None:
    settings.INTEGRITY = ["wakeups"]
    with pytest.raises(InvalidSetting, match=r"\['wakeups'\]; it takes a dictionary"):
        conf.current()


@pytest.mark.parametrize(
    ("name", "value", "wants"),
    [
        ("claim_keys", "7", "it takes int"),
        ("claim_keys", 7.0, "it takes int"),
        ("claim_keys", True, "it takes int"),
        ("claim_keys", None, "it takes int"),
        ("turn_seconds", "1s", "it takes float"),
        ("turn_seconds", False, "it takes float"),
        ("wakeups", 1, "it takes bool"),
        ("claim_keys", 0, "it must be above 0"),
        ("turn_seconds", -0.5, "it must be above 0"),
        ("lease_seconds", float("nan"), "it must be above 0"),
        ("lease_seconds", float("inf"), "it must be above 0"),
    ],
)
def test_an_unusable_value_is_refused_and_named(
    settings: SettingsWrapper, name: str, value: Any, wants: str
) -> None:
    settings.INTEGRITY = {name: value}
    with pytest.raises(InvalidSetting, match=rf"INTEGRITY\['{name}'\] is .*; {wants}") as caught:
        conf.current()
    assert isinstance(caught.value, ImproperlyConfigured)
    assert isinstance(caught.value, CrossDatabaseError)


def test_every_number_carries_its_unit_in_its_name() -> None:
    units = ("_keys", "_rows", "_seconds", "_days", "_max", "_limit", "_share")
    for field in dataclasses.fields(conf.Settings):
        if type(field.default) in {int, float}:
            assert field.name.endswith(units) or field.name == "attempts", field.name
