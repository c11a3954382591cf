"""WAV files: what their headers say, and how loud they are.

RIFF, RIFX, RF64 and BW64; integers and floats of 8 to 64 bits.
Python's own `wave` reads neither floats nor extensible formats before 3.12, and believes any size that a header states.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from struct import unpack
from typing import BinaryIO, Literal

from vibe_prefect.tools.functions import ToolInputError

BLOCK = 65_536
"""Samples that are read at a time."""

Order = Literal["little", "big"]
"""Byte order of numbers: the lowest first, or, in a RIFX file, the highest."""

MAX_CHUNKS = 10_000
"""Chunks that a file may have before its samples."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_SIZE = 0xFFFFFFFF
_HEADS: Mapping[bytes, Order] = {b"RIFF": "little", b"RF64": "little", b"BW64": "little", b"RIFX": "big"}
_MARKS: Mapping[Order, str] = {"little": "<", "big": ">"}
_INTEGERS = {2: "h", 4: "i", 8: "q"}
_FLOATS = {4: "f", 8: "d"}


class WavError(ToolInputError):
    """A file that is not a WAV, or one whose level cannot be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Wav:
    """Facts in the headers of a WAV file, checked against the file's real size."""

    format: int
    """1 is integer samples, 3 floats; any other is packed."""

    channels: int
    """1 is mono, 2 stereo."""

    sample_rate: int
    """Samples a second, of each channel."""

    width: int
    """Bytes of a sample; 0 where it is packed."""

    start: int
    """Offset of the samples, in bytes from the file's start."""

    size: int
    """Size of the samples in bytes."""

    seconds: float
    """Duration in seconds."""

    order: Order = "little"
    """Order of the bytes in a sample."""


@dataclass(slots=True)
class _Chunks:
    """The chunks that matter, as they were found."""

    order: Order
    layout: bytes = b""
    stated_frames: int | None = None
    long_size: int = 0
    start: int = 0
    size: int | None = None


def is_wav(head: bytes) -> bool:
    """Tell whether a file that begins so is a WAV; 12 bytes are enough."""
    return head[:4] in _HEADS and head[8:12] == b"WAVE"


def read_wav(source: Path) -> Wav:
    """Read the headers of a WAV file.

    What streams wrote, which knew no size when they began, ends with the file.

    Raises:
        WavError: It is none, or lacks what it takes to know its length.
    """
    with source.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if not is_wav(head):
            raise WavError("it does not begin as a WAV file")
        return _wav(_chunks(file, end, _HEADS[head[:4]]))


def peak(source: Path, wav: Wav) -> float:
    """Return the loudest sample, 1 for full scale; floats may be louder. What is not a number does not count.

    Raises:
        WavError: The samples are packed, or of a width that no player reads.
    """
    loudest = 0.0
    blocks = _blocks(source, wav)
    if wav.format == _FLOAT and wav.width in _FLOATS:
        for block in blocks:
            block_peak = max(map(abs, filter(isfinite, _array(_FLOATS[wav.width], block, wav.order))), default=0.0)
            loudest = max(loudest, block_peak)
        return loudest
    if wav.format != _PCM or not 1 <= wav.width <= 8:
        raise WavError(f"its samples are of format {wav.format:#06x}, {wav.width * 8} bit, which are not measured")
    if wav.width == 1:  # the only width without a sign
        return max((max(max(block) - 128, 128 - min(block)) / 128 for block in blocks), default=0.0)
    width = next(known_width for known_width in _INTEGERS if known_width >= wav.width)
    full = 2 ** (8 * width - 1)
    for block in blocks:
        samples = _array(_INTEGERS[width], _widened(block, wav.width, width, wav.order), wav.order)
        loudest = max(loudest, max(samples) / full, -min(samples) / full)
    return loudest


def _chunks(file: BinaryIO, end: int, order: Order) -> _Chunks:
    """Walk over the chunks until layout and samples are known."""
    chunks = _Chunks(order)
    offset = 12
    for _ in range(MAX_CHUNKS):
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8 or (chunks.layout and chunks.size is not None):
            break
        name, size = head[:4], int.from_bytes(head[4:], order)
        if name == b"data":
            size = _data_size(file, size, end - offset - 8, chunks)
        size = min(size, end - offset - 8)
        _note(chunks, name, file, offset + 8, size)
        offset = _next(file, offset + 8 + size, odd=bool(size % 2))
    return chunks


def _note(chunks: _Chunks, name: bytes, file: BinaryIO, start: int, size: int) -> None:
    match name:
        case b"fmt ":
            file.seek(start)
            chunks.layout = file.read(min(size, 40))
        case b"ds64" if size >= 24:
            file.seek(start)
            chunks.long_size = int.from_bytes(file.read(16)[8:], chunks.order)
        case b"fact" if size >= 4:
            file.seek(start)
            chunks.stated_frames = int.from_bytes(file.read(4), chunks.order)
        case b"data" if chunks.size is None:
            chunks.start, chunks.size = start, size
        case _:
            pass


def _data_size(file: BinaryIO, stated: int, remaining_bytes: int, chunks: _Chunks) -> int:
    """Return how many bytes of samples there are; a stream writes no size, or the greatest."""
    if stated == _UNKNOWN_SIZE:
        return chunks.long_size or remaining_bytes
    if stated == 0 and remaining_bytes > 0 and not _begins_chunk(file.read(8), remaining_bytes, chunks.order):
        return remaining_bytes
    return stated


def _begins_chunk(head: bytes, remaining_bytes: int, order: Order) -> bool:
    name, size = head[:4], int.from_bytes(head[4:], order)
    return len(head) == 8 and all(0x20 <= byte <= 0x7E for byte in name) and size <= remaining_bytes - 8


def _next(file: BinaryIO, offset: int, *, odd: bool) -> int:
    """Return where the next chunk begins: after an odd one stands a zero, which some programs forget."""
    if not odd:
        return offset
    file.seek(offset)
    return offset + (file.read(1) == b"\0")


def _wav(chunks: _Chunks) -> Wav:
    if len(chunks.layout) < 16:
        raise WavError("it has no `fmt ` chunk, which says how its samples are to be read")
    if chunks.size is None:
        raise WavError("it has no `data` chunk, in which samples are")
    form, channels, rate, byte_rate, block, bits = unpack(f"{_MARKS[chunks.order]}HHIIHH", chunks.layout[:16])
    if form == _EXTENSIBLE and len(chunks.layout) >= 28:
        form = int.from_bytes(chunks.layout[24:28], chunks.order) & 0xFFFF
    if not channels or not rate:
        raise WavError(f"it states {channels} channels and {rate} samples a second")
    if form not in (_PCM, _FLOAT):
        seconds = _packed_seconds(chunks.stated_frames, rate, chunks.size, byte_rate)
        return Wav(form, channels, rate, 0, chunks.start, chunks.size, seconds, chunks.order)
    width = block // channels if block and block % channels == 0 and block * 8 >= bits * channels else (bits + 7) // 8
    if not width:
        raise WavError(f"it states samples of {bits} bit")
    size = chunks.size - chunks.size % (width * channels)
    return Wav(form, channels, rate, width, chunks.start, size, size / (width * channels) / rate, chunks.order)


def _packed_seconds(frames: int | None, rate: int, size: int, byte_rate: int) -> float:
    if frames and frames != _UNKNOWN_SIZE:
        return frames / rate
    if not byte_rate:
        raise WavError("it is packed, and states neither how many samples it has nor how many bytes a second")
    return size / byte_rate


def _blocks(source: Path, wav: Wav) -> Iterator[bytes]:
    remaining_bytes = wav.size
    with source.open("rb") as file:
        file.seek(wav.start)
        while remaining_bytes > 0 and (block := file.read(min(remaining_bytes, BLOCK * max(1, wav.width)))):
            remaining_bytes -= len(block)
            usable = len(block) - len(block) % max(1, wav.width)
            if usable:
                yield block[:usable]


def _widened(block: bytes, width: int, target: int, order: Order) -> bytes:
    """Return samples with zeros below, so that each has as many bytes as the machine's numbers."""
    if width == target:
        return block
    wide = bytearray(len(block) // width * target)
    start = target - width if order == "little" else 0
    for byte in range(width):
        wide[start + byte :: target] = block[byte::width]
    return bytes(wide)


def _array(kind: str, block: bytes, order: Order) -> array[int] | array[float]:
    samples = array(kind, block)
    if sys.byteorder != order:
        samples.byteswap()
    return samples
