"""Content Credentials (C2PA): detects by the structure of its format whether a file carries a signed manifest.

The signature covers the file's bytes, so what has one must not be changed, not even by a comment. Where each format
keeps a manifest is in the C2PA technical specification, appendix A; that XMP may name one elsewhere is in its chapter
on embedding manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

PNG = b"\x89PNG\r\n\x1a\n"

_BMFF_ID = UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
"""Extended type of the box that holds C2PA's data in MP4, AVIF, HEIF and their like."""

_REMOTE = b"dcterms:provenance"
"""XMP's name for the address of a manifest in another place."""

_JUMBF = b"jumb"
_MANIFEST = b"c2pa"
_STORE = b"jumdc2pa"
"""Beginning of a manifest store's box in any format, TIFF among them."""

_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_ALONE = frozenset([0x01, *range(0xD0, 0xD9)])
"""JPEG markers that have no length behind them."""

_CONTAINERS = frozenset({b"moov", b"udta", b"meta", b"moof", b"trak"})
_GEOB_TYPES = (b"application/c2pa", b"application/x-c2pa-manifest-store")

Part = tuple[bytes, bytes]
"""A part of a file: its kind in the format's own words, and its content."""


def has_credentials(content: bytes) -> bool:
    """Tell whether a file has Content Credentials, embedded or by the address of a manifest.

    Args:
        content: The file's bytes: PNG, JPEG, WebP, WAV, AVI, MP3, MP4, AVIF or HEIF. A file that is cut short is
            read to its end, and one of another format is searched as a whole.
    """
    return any(is_signed(kind, data) for parts, is_signed in (_reader(content),) for kind, data in parts(content))


def _reader(content: bytes) -> tuple[Callable[[bytes], Iterator[Part]], Callable[[bytes, bytes], bool]]:
    """Return how a file is taken apart, and how a part of it is judged, by how it begins."""
    if content.startswith(PNG):
        return _png_chunks, _in_png
    if content.startswith(b"\xff\xd8"):
        return _jpeg_segments, _in_jpeg
    if content[:4] in (b"RIFF", b"RF64"):
        return _riff_chunks, _in_riff
    if content.startswith(b"ID3"):
        return _id3_frames, _in_id3
    if content[4:8] == b"ftyp":
        return _boxes, _in_boxes
    return _whole, _in_any


def _whole(content: bytes) -> Iterator[Part]:
    yield b"", content


def _in_any(_kind: bytes, data: bytes) -> bool:
    return _STORE in data


def _in_png(kind: bytes, data: bytes) -> bool:
    return kind == b"caBX" or (kind == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0") and _REMOTE in data)


def _in_jpeg(kind: bytes, data: bytes) -> bool:
    if kind == b"\xeb":  # APP11: "JP", instance, sequence number, then boxes of JUMBF
        return data.startswith(b"JP") and data[12:16] == _JUMBF and _MANIFEST in data
    return kind == b"\xe1" and data.startswith(_JPEG_XMP) and _REMOTE in data


def _in_riff(kind: bytes, data: bytes) -> bool:
    return kind == b"C2PA" or (kind in (b"XMP ", b"_PMX") and _REMOTE in data)


def _in_id3(kind: bytes, data: bytes) -> bool:
    if kind == b"GEOB":  # text encoding, then the media type
        return data[1:].split(b"\0", 1)[0] in _GEOB_TYPES
    return kind == b"PRIV" and data.startswith(b"XMP\0") and _REMOTE in data


def _in_boxes(kind: bytes, data: bytes) -> bool:
    return kind == b"uuid" and (data.startswith(_BMFF_ID) or _REMOTE in data)


def _png_chunks(content: bytes) -> Iterator[Part]:
    offset = len(PNG)
    while offset + 12 <= len(content):
        length = int.from_bytes(content[offset : offset + 4])
        yield content[offset + 4 : offset + 8], content[offset + 8 : offset + 8 + length]
        offset += 12 + length


def _jpeg_segments(content: bytes) -> Iterator[Part]:
    """Yield the segments before the picture itself."""
    offset = 2
    while offset + 4 <= len(content) and content[offset] == 0xFF:
        marker = content[offset + 1]
        if marker == 0xDA:  # what follows is the picture
            return
        if marker == 0xFF or marker in _JPEG_ALONE:
            offset += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(content[offset + 2 : offset + 4])
        yield bytes([marker]), content[offset + 4 : offset + 2 + length]
        offset += 2 + max(2, length)


def _riff_chunks(content: bytes) -> Iterator[Part]:
    offset = 12
    while offset + 8 <= len(content):
        length = int.from_bytes(content[offset + 4 : offset + 8], "little")
        yield content[offset : offset + 4], content[offset + 8 : offset + 8 + length]
        offset += 8 + length + length % 2


def _id3_frames(content: bytes) -> Iterator[Part]:
    """Yield the frames of ID3v2.3 and v2.4; the older v2.2 has no C2PA."""
    if len(content) < 10 or content[3] not in (3, 4):
        return
    end = 10 + _synchsafe(content[6:10])
    offset = 10
    if content[5] & 0x40:  # an extended header: v2.4 counts its own four bytes, v2.3 does not
        size = content[10:14]
        offset += _synchsafe(size) if content[3] == 4 else 4 + int.from_bytes(size)
    while offset + 10 <= min(end, len(content)) and content[offset]:
        size = content[offset + 4 : offset + 8]
        length = _synchsafe(size) if content[3] == 4 else int.from_bytes(size)
        yield content[offset : offset + 4], content[offset + 10 : offset + 10 + length]
        offset += 10 + length


def _synchsafe(size: bytes) -> int:
    """Return a number of ID3: seven bits a byte."""
    number = 0
    for byte in size:
        number = number << 7 | byte & 0x7F
    return number


def _boxes(content: bytes) -> Iterator[Part]:
    """Yield the boxes of an ISO media file, those within the containers that may hold metadata included."""
    containers = [(0, len(content))]
    while containers:
        offset, end = containers.pop()
        while offset + 8 <= end:
            length, head = int.from_bytes(content[offset : offset + 4]), 8
            kind = content[offset + 4 : offset + 8]
            if length == 1:
                length, head = int.from_bytes(content[offset + 8 : offset + 16]), 16
            stop = min(end, offset + length) if length else end
            if stop < offset + head:  # no box can be shorter than its own head
                break
            if kind in _CONTAINERS:
                containers.append((offset + head + (4 if kind == b"meta" else 0), stop))
            else:
                yield kind, content[offset + head : stop] if kind == b"uuid" else b""
            offset = stop
