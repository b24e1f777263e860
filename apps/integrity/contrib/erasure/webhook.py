"""The step that asks a service to erase by a signed POST, for services that are not in Python."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from django.conf import settings

from ...exceptions import InvalidSetting
from . import signing
from .posting import post, require_safe
from .services import Answer, Purpose, Service, digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...erasure import Item

#: The status of a request that was taken and is not done yet.
ACCEPTED = 202


class Webhook(Service):
    """POST the ids of removed rows, signed. It needs `url`, `secret_setting` and `models`.

    The body is JSON: `{"version": 1, "step": "Webhook", "purpose": "erase", "items": [{"model":
    "shop.Order", "field": "pk", "value": 7}]}`. It is signed with HMAC-SHA256, and has an
    `Idempotency-Key`, which is the same if the same items are sent again. Each answer but a success
    (2xx) is a failure, and is tried again: also 404 and 410, which speak of the URL and not of the
    items.
    """

    #: Where to POST: https, or http to this machine.
    url: str = ""
    #: Where to ask how much is left, by the same POST with the purpose "probe": `{"left": 0}`.
    probe_url: str = ""
    #: The name of the Django setting that holds the secret.
    secret_setting: str = ""
    #: How long one call may take.
    timeout_seconds: float = 10.0
    #: Headers to send besides.
    headers: Mapping[str, str] = {}

    def validate(self) -> None:
        """Raise `ValueError` unless the URLs are safe, and a secret is named."""
        super().validate()
        for url in (self.url, *filter(None, [self.probe_url])):
            require_safe(url)
        if not self.secret_setting:
            raise ValueError("secret_setting is empty; it takes the name of a Django setting")

    @property
    def has_probe(self) -> bool:
        """Whether there is a URL for probes."""
        return bool(self.probe_url)

    def call(self, purpose: Purpose, items: Sequence[Item]) -> Answer:
        """POST the items. Raises `NotErased`, or `InvalidSetting` for an unusable configuration."""
        message = {"version": 1, "step": str(self), "purpose": purpose.value, "items": [*items]}
        body = json.dumps(message, separators=(",", ":"), sort_keys=True).encode()
        timestamp = str(int(time.time()))
        headers = {
            **self.headers,
            "Content-Type": "application/json",
            signing.TIMESTAMP: timestamp,
            signing.SIGNATURE: signing.signature(self._secret(), timestamp, body),
            signing.KEY: digest_of(purpose.value, str(self), items),
        }
        url = self.probe_url if purpose is Purpose.PROBE else self.url
        status, document = post(url, body, headers, self.timeout_seconds)
        return Answer(document, final=status != ACCEPTED)

    def _secret(self) -> str:
        found = getattr(settings, self.secret_setting, "")
        if isinstance(found, str) and found:
            return found
        raise InvalidSetting(
            f"{self}.secret_setting is {self.secret_setting!r}; it takes the name of a setting with"
            " a secret"
        )
