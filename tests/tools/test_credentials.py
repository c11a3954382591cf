"""Content Credentials: the files in `tests/data/signed` were signed by the C2PA project's own library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from tests.paths import DATA
from tests.providers.media_server import picture
from vibe_prefect.tools import Workspace
from vibe_prefect.tools.provenance import read_stamp, write_with_provenance
from vibe_prefect.tools.secrecy.credentials import has_credentials

SIGNED = sorted((DATA / "signed").iterdir())
FACTS = {"plan": "p", "node": "n", "key": "k", "tool": "t", "version": "1"}
XMP = b'<rdf:Description dcterms:provenance="https://example.org/manifest"/>'
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
UUID_BOX = bytes.fromhex("d8fec3d6-1b0e-483c-9297-5828877ec481".replace("-", ""))


def png(kind: bytes, body: bytes) -> bytes:
    """A picture with one more chunk behind its header."""
    plain, end = picture(), 8 + 25
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return plain[:end] + chunk + plain[end:]


def jpeg(marker: int, body: bytes) -> bytes:
    return b"\xff\xd8\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body + b"\xff\xda\0\x08"


def jumbf(label: bytes) -> bytes:
    return b"JP\0\x01\0\0\0\x01" + struct.pack(">I", 40) + b"jumb" + struct.pack(">I", 32) + b"jumd" + label


def riff(form: bytes, kind: bytes, body: bytes) -> bytes:
    odd = b"JUNK" + struct.pack("<I", 3) + b"xyz\0"
    chunks = form + odd + kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def id3(kind: bytes, body: bytes, version: int = 4, flags: int = 0, extended: bytes = b"") -> bytes:
    frame = extended + kind + bytes([0, 0, len(body) >> 7, len(body) & 0x7F]) + b"\0\0" + body
    return b"ID3" + bytes([version, 0, flags, 0, 0, len(frame) >> 7, len(frame) & 0x7F]) + frame + b"\xff\xfb"


def box(kind: bytes, body: bytes, *, long: bool = False) -> bytes:
    head = struct.pack(">I", 1) + kind + struct.pack(">Q", 16 + len(body))
    return (head if long else struct.pack(">I", 8 + len(body)) + kind) + body


FTYP = box(b"ftyp", b"mp42\0\0\0\0")


@pytest.mark.parametrize("file", SIGNED, ids=lambda file: file.name)
def test_a_signed_file_keeps_its_bytes_and_its_stamp_stands_beside_it(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    write_with_provenance(Workspace(tmp_path, tmp_path), file.name, content, None, FACTS)
    assert (tmp_path / file.name).read_bytes() == content
    stamp = read_stamp(tmp_path / file.name)
    assert stamp is not None
    assert FACTS.items() <= stamp.items()
    assert stamp["content_credentials"] == "c2pa"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a manifest elsewhere, PNG", png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
        ("a manifest elsewhere, JPEG", jpeg(0xE1, JPEG_XMP + XMP)),
        ("a manifest elsewhere, WebP", riff(b"WEBP", b"XMP ", XMP)),
        ("a manifest elsewhere, WAV", riff(b"WAVE", b"_PMX", XMP)),
        ("a manifest elsewhere, MP3", id3(b"PRIV", b"XMP\0" + XMP)),
        ("embedded, JPEG", jpeg(0xEB, jumbf(b"c2pa\0"))),
        ("embedded, WAV", riff(b"WAVE", b"C2PA", b"jumb")),
        ("embedded, MP3 of version 2.3", id3(b"GEOB", b"\0application/x-c2pa-manifest-store\0c2pa\0\0jumb", 3)),
        ("behind an extended header", id3(b"GEOB", b"\0application/c2pa\0c2pa\0\0jumb", 4, 0x40, b"\0\0\0\x06\x01\0")),
        ("embedded, MP4", FTYP + box(b"uuid", UUID_BOX + b"manifest")),
        ("a long box", FTYP + box(b"mdat", b"0" * 40, long=True) + box(b"uuid", UUID_BOX, long=True)),
        ("within another box", FTYP + box(b"moov", box(b"udta", box(b"uuid", UUID_BOX)))),
    ],
)
def test_credentials_are_seen_by_the_structure_of_a_format(name: str, content: bytes) -> None:
    assert has_credentials(content), name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a plain picture", picture()),
        ("the letters in a comment", png(b"tEXt", b"Comment\0caBX c2pa dcterms:provenance")),
        ("XMP of another kind", png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<rdf:Description/>")),
        ("JUMBF of another kind", jpeg(0xEB, jumbf(b"json\0"))),
        ("behind the picture's beginning", b"\xff\xd8\xff\xda\0\x02" + jpeg(0xEB, jumbf(b"c2pa\0"))[2:]),
        ("another object", id3(b"GEOB", b"\0text/plain\0c2pa\0\0x")),
        ("another box", FTYP + box(b"uuid", b"\0" * 16)),
        ("a box without an end", FTYP + struct.pack(">I", 3) + b"uuid" + UUID_BOX),
        ("text", b"C2PA caBX"),
        ("nothing", b""),
    ],
)
def test_what_only_looks_like_credentials_is_none(name: str, content: bytes) -> None:
    assert not has_credentials(content), name


@pytest.mark.parametrize("file", SIGNED, ids=lambda file: file.name)
def test_a_file_cut_anywhere_is_read_without_an_error(file: Path) -> None:
    content = file.read_bytes()
    seen = {has_credentials(content[:cut]) for cut in range(0, len(content), 37)}
    assert seen == {True, False}


def test_an_unsigned_png_still_carries_its_stamp(tmp_path: Path) -> None:
    write_with_provenance(Workspace(tmp_path, tmp_path), "a.png", picture(), None, FACTS)
    assert read_stamp(tmp_path / "a.png") == FACTS
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
