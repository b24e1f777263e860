"""Routes the models of `benchmarks.schemas.shards`; the project's router handles all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

SHARDS = ("shard_1", "shard_2", "shard_3", "shard_4")


class ShardRouter:
    """Routes items to shards: `Item2` to two, `Item4` to four."""

    def databases_for(self, model: type[Model]) -> Sequence[str]:
        """Return the databases of a model. The first one is for reads and writes."""
        if model._meta.app_label != "shards":
            return ()
        kind, number = model.__name__[:-1], int(model.__name__[-1])
        return SHARDS[:number] if kind == "Item" else ("default",)

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        """Return the first database of the model."""
        return next(iter(self.databases_for(model)), None)

    db_for_write = db_for_read
