"""For engines that tell nothing of their replicas here, and have no locks without a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..replica import Replica


class PortableLoad:
    """See `LoadBackend`."""

    def replicas(self, *, using: str) -> list[Replica] | None:  # noqa: ARG002 (the protocol's)
        return None

    def take_token(self, *, using: str) -> bool:  # noqa: ARG002 (the protocol's)
        return True
