"""WAV files of all kinds: how long they are, and how loud."""

from __future__ import annotations

import struct
import tracemalloc
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.media_server import sound
from vibe_prefect.tools import ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.checks.audio_check import check_audio
from vibe_prefect.tools.media.wav import WavError, peak, read_wav

RATE = 1_000
SQUARE = [0.5, -0.5] * 500
"""A second at -6.0 dB."""

GUID = bytes.fromhex("000000001000800000aa00389b71")


def packed(values: list[float], form: int, width: int) -> bytes:
    if form == 3:
        return struct.pack(f"<{len(values)}{'f' if width == 4 else 'd'}", *values)
    if width == 1:
        return bytes(int(128 + 128 * value) for value in values)
    full = 2 ** (8 * width - 1)
    return b"".join(int(value * full).to_bytes(width, "little", signed=True) for value in values)


def layout(form: int = 1, width: int = 2, channels: int = 1, *, extensible: bool = False, bits: int = 0) -> bytes:
    block = width * channels
    head = struct.pack(
        "<HHIIHH", 0xFFFE if extensible else form, channels, RATE, RATE * block, block, bits or width * 8
    )
    return head + (struct.pack("<HHIH", 22, bits or width * 8, 0, form) + GUID if extensible else b"")


def chunk(name: bytes, body: bytes, size: int | None = None, *, pad: bool = True) -> bytes:
    stated = len(body) if size is None else size
    return name + struct.pack("<I", stated) + body + (b"\0" if pad and len(body) % 2 else b"")


def riff(*chunks: bytes, head: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return head + struct.pack("<I", len(body) if size is None else size) + body


def wav(form: int = 1, width: int = 2, values: list[float] = SQUARE, **options: Any) -> bytes:
    return riff(chunk(b"fmt ", layout(form, width, **options)), chunk(b"data", packed(values, form, width)))


def measured(folder: Path, content: bytes) -> tuple[float, float]:
    """Return how long it is, and its loudest sample."""
    path = folder / "a.wav"
    path.write_bytes(content)
    found = read_wav(path)
    return found.seconds, peak(path, found)


async def hear(folder: Path, content: bytes, **inputs: Any) -> ToolResult:
    workspace = Workspace(folder / "in", folder / "out")
    workspace.write("a.wav", content)
    return await check_audio.execute({"path": "a.wav"} | inputs, ToolContext(workspace=workspace))


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("form", "width"),
    [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (3, 4), (3, 8)],
)
async def test_samples_of_every_width_are_measured(tmp_path: Path, form: int, width: int, extensible: bool) -> None:
    content = wav(form, width, extensible=extensible)
    passed = await hear(tmp_path, content, min_peak=-6.1, min_seconds=1, max_seconds=1, channels=1, formats=["WAV"])
    assert passed.error is None
    failed = await hear(tmp_path, content, min_peak=-5)
    assert "min_peak: the loudest sample is at -6.0 dB, at least -5 expected" in str(failed.error)


@pytest.mark.parametrize(
    ("content", "seconds", "loudest"),
    [
        (wav(values=[-1.0] * RATE), 1.0, 1.0),
        (wav(width=1, values=[-1.0] * RATE), 1.0, 1.0),
        (wav(width=3, values=[0.0] * RATE), 1.0, 0.0),
        (wav(width=3, values=[-(2.0**-23)] * RATE), 1.0, 2.0**-23),
        (wav(width=3, values=[*[0.0] * 999, 0.25]), 1.0, 0.25),
        (wav(3, 4, [2.0, -4.0] * 500), 1.0, 4.0),
        (wav(3, 4, [nan, 0.5] * 500), 1.0, 0.5),
        (wav(3, 8, [-inf, nan, -0.25, inf] * 250), 1.0, 0.25),
        (wav(3, 8, [nan] * RATE), 1.0, 0.0),
        (wav(width=3, bits=20), 1.0, 0.5),
        (wav(width=4, bits=24, extensible=True), 1.0, 0.5),
        (wav(channels=6, values=SQUARE * 6), 1.0, 0.5),
        (wav(width=3, values=SQUARE * 200), 200.0, 0.5),
    ],
)
def test_the_loudest_sample_is_found(tmp_path: Path, content: bytes, seconds: float, loudest: float) -> None:
    assert measured(tmp_path, content) == (pytest.approx(seconds), pytest.approx(loudest, rel=1e-6))


FMT, DATA = chunk(b"fmt ", layout()), packed(SQUARE, 1, 2)
LONG = struct.pack("<QQQI", 0, len(DATA), RATE, 0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(riff(chunk(b"LIST", b"x" * 26), FMT, chunk(b"data", DATA)), id="notes first"),
        pytest.param(riff(chunk(b"JUNK", b"x" * 27), FMT, chunk(b"data", DATA)), id="odd and padded"),
        pytest.param(riff(chunk(b"bext", b"x" * 27, pad=False), FMT, chunk(b"data", DATA)), id="odd, not padded"),
        pytest.param(riff(FMT, chunk(b"data", DATA), chunk(b"LIST", b"x" * 99)), id="notes last"),
        pytest.param(riff(chunk(b"data", DATA), FMT), id="layout last"),
        pytest.param(riff(FMT, chunk(b"fact", struct.pack("<I", 7)), chunk(b"data", DATA)), id="a wrong count"),
        pytest.param(riff(FMT, chunk(b"data", DATA, 0xFFFFFFFF), size=0xFFFFFFFF), id="streamed, greatest size"),
        pytest.param(riff(FMT, chunk(b"data", DATA, 0x7FFFFFFF), size=0x7FFFFFFF), id="streamed, large size"),
        pytest.param(riff(FMT, chunk(b"data", DATA, 0), size=0), id="streamed, no size"),
        pytest.param(riff(FMT, chunk(b"data", DATA, 0)), id="streamed, no size of the samples"),
        pytest.param(riff(FMT, chunk(b"data", DATA), size=0), id="no size of the whole"),
        pytest.param(riff(FMT, chunk(b"data", DATA + b"\1")), id="half a sample more"),
        pytest.param(
            riff(chunk(b"ds64", LONG), FMT, chunk(b"data", DATA, 0xFFFFFFFF), chunk(b"LIST", b"x"), head=b"RF64"),
            id="RF64",
        ),
        pytest.param(
            riff(chunk(b"ds64", LONG), FMT, chunk(b"data", DATA, 0xFFFFFFFF), head=b"BW64", size=0xFFFFFFFF), id="BW64"
        ),
        pytest.param(
            riff(chunk(b"ds64", b"\xff" * 28), FMT, chunk(b"data", DATA, 0xFFFFFFFF), head=b"RF64"), id="RF64, false"
        ),
    ],
)
def test_chunks_may_stand_in_any_order_and_state_any_size(tmp_path: Path, content: bytes) -> None:
    assert measured(tmp_path, content) == (pytest.approx(1.0), pytest.approx(0.5))


def turned(content: bytes, width: int) -> bytes:
    """Return little-endian numbers of a width in bytes with the highest byte first."""
    return b"".join(content[place : place + width][::-1] for place in range(0, len(content), width))


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("form", "width"), [(1, 1), (1, 2), (1, 3), (1, 4), (1, 8), (3, 4), (3, 8)])
async def test_samples_with_the_highest_byte_first_are_measured(
    tmp_path: Path, form: int, width: int, extensible: bool
) -> None:
    little = layout(form, width, channels=2, extensible=extensible)
    big, place = b"", 0
    for size in (2, 2, 4, 4, 2, 2, *((2, 2, 4, 4) if extensible else ())):
        big, place = big + little[place : place + size][::-1], place + size
    samples = turned(packed([0.25, -0.5] * RATE, form, width), width)
    chunks = [(b"LIST", b"x" * 27 + b"\0"), (b"fmt ", big + little[place:]), (b"data", samples)]
    body = b"WAVE" + b"".join(name + struct.pack(">I", len(part)) + part for name, part in chunks)
    content = b"RIFX" + struct.pack(">I", len(body)) + body
    assert measured(tmp_path, content) == (pytest.approx(1.0), pytest.approx(0.5))
    heard = await hear(tmp_path, content, formats=["WAV"], channels=2, max_seconds=1, min_peak=-6.1)
    assert heard.error is None


def test_samples_that_are_not_there_are_not_the_notes_behind_them(tmp_path: Path) -> None:
    assert measured(tmp_path, riff(FMT, chunk(b"data", b""), chunk(b"LIST", b"x" * 98))) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (riff(), "it has no `fmt ` chunk"),
        (riff(chunk(b"fmt ", b"\1\0")), "it has no `fmt ` chunk"),
        (riff(FMT), "it has no `data` chunk"),
        (riff(chunk(b"fmt ", layout(channels=0)), chunk(b"data", DATA)), "it states 0 channels"),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16)), chunk(b"data", DATA)),
            "it states 1 channels and 0 samples",
        ),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8, 0, 0, 0)), chunk(b"data", DATA)),
            "it states samples of 0 bit",
        ),
        (riff(chunk(b"fmt ", struct.pack("<HHIIHH", 85, 1, 8, 0, 1, 0)), chunk(b"data", DATA)), "it is packed, and"),
    ],
)
async def test_a_damaged_header_fails_the_check_and_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    result = await hear(tmp_path, content, min_seconds=1)
    assert f"readable: 'a.wav' is not a sound that can be read: {reason}" in str(result.error)


@pytest.mark.parametrize(
    ("form", "byte_rate", "fact", "seconds"),
    [(6, RATE, None, 2.0), (0x11, RATE // 2, RATE, 1.0), (0x55, 500, 0, 4.0), (7, RATE, 0xFFFFFFFF, 2.0)],
)
async def test_packed_samples_have_a_length_and_no_level(
    tmp_path: Path, form: int, byte_rate: int, fact: int | None, seconds: float
) -> None:
    head = chunk(b"fmt ", struct.pack("<HHIIHH", form, 1, RATE, byte_rate, 1, 8))
    extra = b"" if fact is None else chunk(b"fact", struct.pack("<I", fact))
    content = riff(head, extra, chunk(b"data", DATA))
    result = await hear(tmp_path, content, min_seconds=0.5)
    assert (result.error, result.output["seconds"]) == (None, seconds)
    with pytest.raises(ToolInputError, match=r"check_audio: min_peak cannot be measured: its samples are of format 0x"):
        await hear(tmp_path, content, min_peak=-40)


def test_a_long_file_is_measured_in_little_memory(tmp_path: Path) -> None:
    content = wav(width=3, values=SQUARE * 1_200)
    (tmp_path / "a.wav").write_bytes(content)
    found = read_wav(tmp_path / "a.wav")
    del content
    tracemalloc.start()
    assert peak(tmp_path / "a.wav", found) == pytest.approx(0.5)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 3_000_000 < found.size


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8), st.integers(0, 300))
def test_no_damage_raises_another_error(tmp_path_factory: Any, changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(riff(chunk(b"LIST", b"abc"), FMT, chunk(b"data", sound(0.02)[44:])))
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes(content[: len(content) - cut % len(content)])
    try:
        found = read_wav(path)
        assert peak(path, found) >= 0
    except WavError:
        return
    assert 0 <= found.size <= len(content)
