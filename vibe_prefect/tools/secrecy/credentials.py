"""Content Credentials (C2PA): whether a file carries a signed manifest, told by the structure of its format.

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
"""XMP's name for the address of a manifest that lies elsewhere."""

_JUMBF = b"jumb"
_MANIFEST = b"c2pa"
_STORE = b"jumdc2pa"
"""How the box of a manifest store begins in any format, TIFF among them."""

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
            looked at as far as it goes, and one of another format is searched as a whole.
    """
    return any(is_signed(kind, part) for parts, is_signed in (_reader(content),) for kind, part in parts(content))


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


def _in_any(_kind: bytes, part: bytes) -> bool:
    return _STORE in part


def _in_png(kind: bytes, part: bytes) -> bool:
    return kind == b"caBX" or (kind == b"iTXt" and part.startswith(b"XML:com.adobe.xmp\0") and _REMOTE in part)


def _in_jpeg(kind: bytes, part: bytes) -> bool:
    if kind == b"\xeb":  # APP11: "JP", instance, sequence number, then boxes of JUMBF
        return part.startswith(b"JP") and part[12:16] == _JUMBF and _MANIFEST in part
    return kind == b"\xe1" and part.startswith(_JPEG_XMP) and _REMOTE in part


def _in_riff(kind: bytes, part: bytes) -> bool:
    return kind == b"C2PA" or (kind in (b"XMP ", b"_PMX") and _REMOTE in part)


def _in_id3(kind: bytes, part: bytes) -> bool:
    if kind == b"GEOB":  # text encoding, then the media type
        return part[1:].split(b"\0", 1)[0] in _GEOB_TYPES
    return kind == b"PRIV" and part.startswith(b"XMP\0") and _REMOTE in part


def _in_boxes(kind: bytes, part: bytes) -> bool:
    return kind == b"uuid" and (part.startswith(_BMFF_ID) or _REMOTE in part)


def _png_chunks(content: bytes) -> Iterator[Part]:
    place = len(PNG)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4])
        yield content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        place += 12 + length


def _jpeg_segments(content: bytes) -> Iterator[Part]:
    """Yield the segments before the picture itself."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xDA:  # what follows is the picture
            return
        if marker == 0xFF or marker in _JPEG_ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(content[place + 2 : place + 4])
        yield bytes([marker]), content[place + 4 : place + 2 + length]
        place += 2 + max(2, length)


def _riff_chunks(content: bytes) -> Iterator[Part]:
    place = 12
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        yield content[place : place + 4], content[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _id3_frames(content: bytes) -> Iterator[Part]:
    """Yield the frames of ID3v2.3 and v2.4; the older v2.2 has no C2PA."""
    if len(content) < 10 or content[3] not in (3, 4):
        return
    end = 10 + _synchsafe(content[6:10])
    place = 10
    if content[5] & 0x40:  # an extended header: v2.4 counts its own four bytes, v2.3 does not
        size = content[10:14]
        place += _synchsafe(size) if content[3] == 4 else 4 + int.from_bytes(size)
    while place + 10 <= min(end, len(content)) and content[place]:
        size = content[place + 4 : place + 8]
        length = _synchsafe(size) if content[3] == 4 else int.from_bytes(size)
        yield content[place : place + 4], content[place + 10 : place + 10 + length]
        place += 10 + length


def _synchsafe(size: bytes) -> int:
    """Return a number of ID3: seven bits a byte."""
    number = 0
    for byte in size:
        number = number << 7 | byte & 0x7F
    return number


def _boxes(content: bytes) -> Iterator[Part]:
    """Yield the boxes of an ISO media file, those within the containers that may hold metadata included."""
    left = [(0, len(content))]
    while left:
        place, end = left.pop()
        while place + 8 <= end:
            length, head = int.from_bytes(content[place : place + 4]), 8
            kind = content[place + 4 : place + 8]
            if length == 1:
                length, head = int.from_bytes(content[place + 8 : place + 16]), 16
            stop = min(end, place + length) if length else end
            if stop < place + head:  # no box can be shorter than its own head
                break
            if kind in _CONTAINERS:
                left.append((place + head + (4 if kind == b"meta" else 0), stop))
            else:
                yield kind, content[place + head : stop] if kind == b"uuid" else b""
            place = stop
