"""Keys as the texts that the log holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import KeyTooLong
from ..relations.keys import format_key
from ..relations.relation import primary_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..relations import Model


def texts_for_log(
    parent: Model, keys: Sequence[Any], targets: Sequence[Mapping[str, str | None] | None]
) -> list[str]:
    """Return deleted keys as text. Raises `KeyTooLong` if the log cannot hold one, or a target."""
    from ..models import KEY_CHARS

    pk = primary_key(parent)
    texts = [format_key(pk, key) for key in keys]
    held = [text for target in targets if target for text in target.values() if text is not None]
    if max(map(len, (*texts, *held)), default=0) > KEY_CHARS:
        raise KeyTooLong(parent._meta.label, KEY_CHARS)
    return texts
