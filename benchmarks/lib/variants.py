"""Client processes of the variants in which a user can be deleted.

The variant with triggers uses a copy of the users' database, because triggers would record the
deletes of all others as well.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from .snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .clients import Client
    from .stage import Stage

#: Variant → settings, and what the client calls first.
VARIANTS = {
    "trigger": ("benchmarks.schemas.triggered", "lib.deletes.install_triggers"),
    "signal": ("benchmarks.schemas.settings", ""),
    "floor": ("benchmarks.schemas.bare", ""),
    "no-op": ("benchmarks.schemas.bare", "lib.deletes.listen_to_nothing"),
    "insert": ("benchmarks.schemas.bare", "lib.deletes.insert_for_each"),
    "handler": ("benchmarks.schemas.unkept", "lib.deletes.delete_content_at_once"),
}


@contextmanager
def clients_of(names: Sequence[str], stage: Stage) -> Iterator[dict[str, Client]]:
    """Run a client for each of those variants during the block."""
    copy = Snapshot.of("default")
    try:
        with ExitStack() as stack:
            clients: dict[str, Client] = {}
            for name in names:
                settings, first = VARIANTS[name]
                env = copy.environment if name == "trigger" else None
                clients[name] = stack.enter_context(stage.client(settings, env))
                if first:
                    clients[name].ask(first)
            yield clients
    finally:
        copy.drop()
