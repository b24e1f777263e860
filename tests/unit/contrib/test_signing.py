"""Signatures of webhooks."""

from __future__ import annotations

import time
from typing import Any

import pytest

from apps.integrity.contrib.erasure import signing

EXPECTED = "v1=b469b39d01666ba9ff80b80a50bfb1022000ea901de2d1e54b884666ab93f43a"
BODY = b'{"items":[]}'


def headers(**changes: Any) -> dict[str, str]:
    stamp = str(int(time.time()))
    return {
        signing.TIMESTAMP: stamp,
        signing.SIGNATURE: signing.signature("secret", stamp, BODY),
        **changes,
    }


def test_the_kind_of_a_signature_is_fixed() -> None:
    # By: printf '1700000000.{"items":[]}' | openssl dgst -sha256 -hmac secret
    assert signing.signature("secret", "1700000000", BODY) == EXPECTED


def test_what_was_signed_is_accepted() -> None:
    assert signing.is_signed(headers(), BODY, "secret")


@pytest.mark.parametrize(
    "changes",
    [
        {signing.TIMESTAMP: "1700000000"},
        {signing.TIMESTAMP: ""},
        {signing.TIMESTAMP: "٣"},
        {signing.TIMESTAMP: "9" * 400},
        {signing.SIGNATURE: ""},
        {signing.SIGNATURE: "v1=ä"},
    ],
)
def test_anything_else_is_not(changes: Any) -> None:
    assert not signing.is_signed(headers(**changes), BODY, "secret")


def test_neither_another_body_nor_secret_nor_an_old_request() -> None:
    assert not signing.is_signed(headers(), BODY + b" ", "secret")
    assert not signing.is_signed(headers(), BODY, "other")
    assert not signing.is_signed({}, BODY, "secret")
    old = str(int(time.time()) - 301)
    signed = {signing.TIMESTAMP: old, signing.SIGNATURE: signing.signature("secret", old, BODY)}
    assert not signing.is_signed(signed, BODY, "secret")
