"""Group parts of blocks that one request fetches: those near each other, up to 8 MiB."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from eechips_local.archives.files.inflated_blocks import LEAST_GAP, Buffer
from eechips_local.archives.files.tiff_header import TiffDirectory

_TAIL = 512 << 10  # bytes of a block's end that are fetched, and kept, where that saves a request
_MOST_RANGE = 8 << 20  # bytes of a request, but for a larger block


@dataclass(frozen=True, slots=True)
class BlockPart:
    """A part of a block that is to be fetched.

    Attributes:
        offset: first byte of the block in its file.
        held: beginning of the block that is held.
        length: bytes of the block that are held afterwards.
    """

    number: int
    name: str
    offset: int
    held: Buffer
    length: int

    @property
    def start(self) -> int:
        """First byte to fetch."""
        return self.offset + len(self.held)

    @property
    def stop(self) -> int:
        """First byte behind those to fetch."""
        return self.offset + self.length


def grouped(image: TiffDirectory, parts: Iterable[BlockPart]) -> list[list[BlockPart]]:
    """Return parts of blocks in groups that one request each fetches.

    What is left out of a block comes anyway where a part of the next one is fetched with it; it is kept.
    """
    groups: list[list[BlockPart]] = []
    for part in sorted(parts, key=lambda part: part.start):
        last = groups[-1][-1] if groups else None
        if last is not None and part.stop - groups[-1][0].start <= _MOST_RANGE:
            end = min(last.offset + int(image.counts[last.number]), part.start)
            if last.stop <= end <= last.stop + _TAIL and part.start - end < LEAST_GAP:
                groups[-1][-1:] = [replace(last, length=end - last.offset), part]
                continue
        groups.append([part])
    return groups
