"""Reads a response body in chunks: bounds it on the wire and decoded, and refuses half a gzip, which httpx accepts.

A body is kept whole, or fed to a Feed, which may read more than fits into memory.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from ebaysync.errors import AnswerNotUnderstood, EbayUnreachable
from ebaysync.tasks import long_work

if TYPE_CHECKING:  # a second `import httpx` would load it, and cli/app delays that to its first use
    import httpx

WIRE_CAP = 64 * 2**20
DECODED_CAP = 256 * 2**20
CHUNK = 2**20  # of a decoded body
START = 2**14  # bytes to keep of a body that was meant for a Feed and is something else


class Feed(Protocol):
    """Reads a body as it arrives. An EbayError that it raises ends the attempt."""

    def feed(self, data: bytes) -> None:
        """Read at most CHUNK decoded bytes."""

    def close(self) -> None:
        """The body is complete."""


class FirstBytes:
    """Keeps the first `most` bytes of a body."""

    def __init__(self, most: int) -> None:
        self.chunks: list[bytes] = []
        self._room = most

    def take(self, data: bytes) -> None:
        if self._room > 0:
            self.chunks.append(data[: self._room])
            self._room -= len(data)


async def read_body(response: httpx.Response, name: str, take: Callable[[bytes], None]) -> None:
    """Pass the decoded body to `take`, in pieces of at most CHUNK bytes. `name` is the request, for messages.

    Raises AnswerNotUnderstood if the coding was not asked for or the body is too large, EbayUnreachable if it is cut or
    damaged.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise AnswerNotUnderstood(f"{name}: the coding {coding[:80]!r} was not asked for")
    plain = coding == "identity"
    # 31: gzip with its header and checksum, nothing else.
    unzip = zlib.decompressobj(wbits=31)
    wire = size = 0
    # Not aiter_bytes: httpx would decode a whole chunk at once, and a small one may hold many megabytes.
    async for chunk in response.aiter_raw():
        wire += len(chunk)
        for data in _plain(chunk) if plain else _unzip(name, unzip, chunk):
            size += len(data)
            if wire > WIRE_CAP or size > DECODED_CAP:
                raise AnswerNotUnderstood(f"{name}: the answer is larger than {WIRE_CAP >> 20} MiB")
            with long_work():
                take(data)
            # One small chunk may hold a thousand pieces, and httpx may have many chunks at hand.
            await asyncio.sleep(0)
    # Half a gzip, or the first of two members, is a valid stream for httpx. Nothing at all is no cut: an answer without
    # a body may be marked as gzip, too.
    if not plain and wire and (not unzip.eof or unzip.unused_data):
        raise EbayUnreachable(f"{name}: the compressed answer is cut short")


def _plain(chunk: bytes) -> Iterator[bytes]:
    return (chunk[at : at + CHUNK] for at in range(0, len(chunk), CHUNK))


def _unzip(name: str, unzip: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    more = True
    while more:
        try:
            data = unzip.decompress(chunk, CHUNK)
        except zlib.error:
            raise EbayUnreachable(f"{name}: the compressed answer is damaged") from None
        yield data
        chunk = unzip.unconsumed_tail
        # A piece of full size: zlib may hold back more of it, even if no input is left.
        more = not unzip.eof and (len(data) == CHUNK or bool(chunk))
