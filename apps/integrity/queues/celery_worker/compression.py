"""Limit the size of compressed messages.

kombu decompresses a whole message at once, and a megabyte of zlib can hold a gigabyte of zeros. So
workers use decoders that stop at a limit; a larger message is dropped. Brotli's decoder has no such
limit.
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

#: RabbitMQ accepts no larger message.
BYTES_MAX = 128 * 1024 * 1024

#: Content type → function that returns a decompressor.
DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}


def limit_size() -> None:
    """Replace kombu's decoders in this process by ones with a limit."""
    known = compression.encoders()
    for content_type, make in _decompressors().items():
        if content_type in known:
            encoder: Any = compression.get_encoder(content_type)[0]  # type: ignore[index]  # a pair, which the stubs omit
            compression.register(encoder, _limited(make, BYTES_MAX), content_type)


def _decompressors() -> dict[str, Callable[[], Any]]:
    """Return the decompressors that this Python has."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            zstd = importlib.import_module(name)
        except ImportError:
            continue
        return {**DECOMPRESSORS, "application/zstd": zstd.ZstdDecompressor}
    return DECOMPRESSORS


def _limited(make: Callable[[], Any], bytes_max: int) -> Callable[[bytes], bytes]:
    def decompress(body: bytes) -> bytes:
        decompressor = make()
        decompressed: bytes = decompressor.decompress(body, bytes_max)
        if not decompressor.eof:
            raise ValueError(f"a compressed message is incomplete, or above {bytes_max} bytes")
        return decompressed

    return decompress
