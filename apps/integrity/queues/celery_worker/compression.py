"""A message that is compressed may not become larger than a worker can hold.

kombu decompresses while it reads: one megabyte of zlib is a gigabyte of zeros. Its decoders are
replaced in workers by ones that stop at a bound; what is beyond cannot be decoded, and is dropped.
Brotli's has no bound to stop at.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from typing import TYPE_CHECKING, Any

from kombu import compression

if TYPE_CHECKING:
    from collections.abc import Callable

#: RabbitMQ takes no message above 128 MiB.
BYTES_MAX = 128 * 1024 * 1024

#: Content type → what makes a decompressor, whose `decompress` takes the bytes and a bound.
DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}


def bound() -> None:
    """Replace kombu's decoders, in this process."""
    known = compression.encoders()
    for content_type, make in _decompressors().items():
        if content_type in known:
            encoder: Any = compression.get_encoder(content_type)[0]  # type: ignore[index]  # a pair; the stubs forget that
            compression.register(encoder, _bounded(make, BYTES_MAX), content_type)


def _decompressors() -> dict[str, Callable[[], Any]]:
    """Return those that this Python has."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            found = importlib.import_module(name)
        except ImportError:
            continue
        return {**DECOMPRESSORS, "application/zstd": found.ZstdDecompressor}
    return DECOMPRESSORS


def _bounded(make: Callable[[], Any], bytes_max: int) -> Callable[[bytes], bytes]:
    def decompress(body: bytes) -> bytes:
        one = make()
        found: bytes = one.decompress(body, bytes_max)
        if not one.eof:
            raise ValueError(f"a compressed message is cut off, or above {bytes_max} bytes")
        return found

    return decompress
