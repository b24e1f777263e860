"""Renews the lease of a claim while a step lasts longer than it.

It uses a connection of its own, opened once a third of the lease is over. A worker that died or is
frozen renews nothing, so others take its cascades over.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connections

from ..exceptions.loggers import logger_of
from ..log import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..log.values import Claim

logger = logger_of("integrity.cascade")

#: A lease is renewed after this share of it, so that one renewal may fail.
SHARE = 1 / 3


@contextmanager
def renewed(claim: Claim, *, lease_seconds: float) -> Iterator[None]:
    """Renew the claim's lease in the background while the block runs."""
    over = threading.Event()
    arguments = (claim, lease_seconds, over)
    thread = threading.Thread(target=_renew, args=arguments, name="integrity-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _renew(claim: Claim, lease_seconds: float, over: threading.Event) -> None:
    try:
        while not over.wait(lease_seconds * SHARE):
            try:
                outcomes.renew(claim, lease_seconds=lease_seconds)
            except Exception as error:  # noqa: BLE001 (the next renewal may succeed)
                # Whoever takes the claim over does no harm: each step checks what it removes.
                logger.warning("a lease was not renewed: %s", error)
                connections[claim.using].close()
    finally:
        connections.close_all()
