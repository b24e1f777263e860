"""Signatures of webhook requests: how this app makes them, and how a receiver checks them. Pure."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMESTAMP, SIGNATURE, KEY = "Integrity-Timestamp", "Integrity-Signature", "Idempotency-Key"
#: The prefix of a signature, for the day on which another kind is needed.
VERSION = "v1="


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return "v1=" and the HMAC-SHA256 of timestamp, a dot and body, in hexadecimal digits."""
    signed = timestamp.encode() + b"." + body
    return VERSION + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def is_signed(
    headers: Mapping[str, str], body: bytes, secret: str, *, age_seconds: float = 300.0
) -> bool:
    """Return whether a request was signed with the secret, within the last `age_seconds`.

    A receiver calls it before it reads the body. `headers` ignore case, as `request.headers` do.
    """
    timestamp, given = headers.get(TIMESTAMP) or "", headers.get(SIGNATURE) or ""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):  # noqa: PLR2004 (as long as times are)
        return False
    expected = signature(secret, timestamp, body)
    is_recent = abs(time.time() - int(timestamp)) <= age_seconds
    return hmac.compare_digest(expected.encode(), given.encode()) and is_recent
