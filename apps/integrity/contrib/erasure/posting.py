"""One POST to a service: over TLS, with a time limit, and to no other host than the one named."""

from __future__ import annotations

import ipaddress
import json
import time
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ...exceptions import NotErased
from ...exceptions.redaction import reason_of_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse

#: The most bytes of an answer that are read.
ANSWER_BYTES = 65_536


def require_safe(url: str) -> None:
    """Raise `ValueError` unless the URL is https, or http to this machine."""
    parts = urlsplit(url)
    host = "" if parts.username else parts.hostname or ""
    if host and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        return
    raise ValueError(
        f"the URL of a webhook takes https, a host and no password (http to this machine), and not"
        f" {parts.scheme or 'no scheme'!r} to {parts.hostname or 'no host'!r}"
    )


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def post(
    url: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float
) -> tuple[int, object]:
    """Return the status of the answer, which is one of success, and its JSON document or None.

    Redirects are not followed: they may lead to another host, which would learn the ids. Raises
    `NotErased`, which names host and status, and nothing that was sent.
    """
    require_safe(url)
    host, until = urlsplit(url).hostname or "", time.monotonic() + timeout_seconds
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310 (`require_safe`)
    try:
        with _opener(host).open(request, timeout=timeout_seconds) as response:
            return response.status, _document(response, until)
    except HTTPError as error:
        error.close()
        raise NotErased(f"{host} answered {error.code}") from None
    except URLError as error:
        reason = error.reason
        why = reason_of_error(reason) if isinstance(reason, BaseException) else "no answer"
        raise NotErased(f"{host} cannot be reached: {why}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise NotErased(f"{host} did not answer: {reason_of_error(error)}") from None


def _opener(host: str) -> urllib.request.OpenerDirector:
    """Return an opener without redirects, files and FTP. A proxy is for other machines."""
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    if not is_loopback(host):
        handlers.append(urllib.request.ProxyHandler())
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _document(response: HTTPResponse, until: float) -> object:
    """Return the answer's JSON document; None if it has none. Raises `TimeoutError`."""
    text = b""
    while len(text) <= ANSWER_BYTES and (part := response.read1(ANSWER_BYTES)):
        text += part
        if time.monotonic() > until:
            raise TimeoutError
    if len(text) > ANSWER_BYTES:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
