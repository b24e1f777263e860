"""The acts of each scene, in their order. Each proves cells, and says which."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cells import Scene
    from .act import Act


def all_acts(scene: Scene) -> tuple[Act, ...]:
    """What a scene plays."""
    acts: tuple[Act, ...] = importlib.import_module(f"{__name__}.{scene}").ACTS
    return acts
