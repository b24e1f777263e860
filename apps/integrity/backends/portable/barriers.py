"""No barriers: for engines whose transactions have no numbers to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..barriers import Sighting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...relations import Field
    from ..barriers import Barrier, Blocker, Horizon


class NoBarriers:
    """See `BarrierBackend`."""

    def horizon(self, *, using: str) -> Horizon | None:  # noqa: ARG002 (the protocol's)
        return None

    def new_barrier(self, *, using: str) -> Barrier | None:  # noqa: ARG002 (the protocol's)
        return None

    def blocker(self, *, using: str) -> Blocker | None:  # noqa: ARG002 (the protocol's)
        return None

    def sighting(self, *, barrier: bool, using: str) -> Sighting:  # noqa: ARG002 (the protocol's)
        from ...models import Identity

        known = Identity.objects.using(using).values_list("alias", "uuid")
        return Sighting(identities={alias: str(uuid) for alias, uuid in known})

    def uncommitted_keys(
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        keys: Sequence[Any],  # noqa: ARG002 (the protocol's)
        *,
        using: str,  # noqa: ARG002 (the protocol's)
    ) -> set[Any]:
        return set()

    def describe_holder(self, *, using: str) -> str:  # noqa: ARG002 (the protocol's)
        return ""
