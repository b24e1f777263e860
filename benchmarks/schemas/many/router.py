"""Routes items to all child databases, and everything else to `default`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

CHILDREN = tuple(f"child_{number}" for number in range(1, 1 + int(os.environ["MANY_DATABASES"])))


class ManyRouter:
    """Routes the models of `benchmarks.schemas.many`."""

    def databases_for(self, model: type[Model]) -> Sequence[str]:
        """Return the databases of a model. The first one is for reads and writes."""
        return CHILDREN if model.__name__ == "Item" else ("default",)

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        """Return the first database of the model."""
        return self.databases_for(model)[0]

    db_for_write = db_for_read
