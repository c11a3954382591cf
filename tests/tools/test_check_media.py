"""`check_image` and `check_audio`."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.providers.media_server import picture, sound
from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.tools import ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.builtin.title_card import image_card
from vibe_prefect.tools.checks.audio_check import check_audio
from vibe_prefect.tools.checks.colours import contrast, difference
from vibe_prefect.tools.checks.image_check import check_image

NAVY, WHITE, BLACK = (0, 0, 128), (255, 255, 255), (0, 0, 0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "in", tmp_path / "out")


def two_colours() -> bytes:
    image = Image.new("RGB", (160, 90), "navy")
    image.paste("white", (0, 0, 40, 90))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


async def see(workspace: Workspace, content: bytes | None = None, **inputs: Any) -> ToolResult:
    workspace.write("a.png", two_colours() if content is None else content)
    return await check_image.execute({"path": "a.png"} | inputs, ToolContext(workspace=workspace))


async def hear(workspace: Workspace, content: bytes, **inputs: Any) -> ToolResult:
    workspace.write("a.bin", content)
    return await check_audio.execute({"path": "a.bin"} | inputs, ToolContext(workspace=workspace))


async def test_an_image_that_passes_is_described(workspace: Workspace) -> None:
    result = await see(
        workspace,
        min_width=100,
        max_width=200,
        aspect="16:9",
        formats=["png"],
        modes=["RGB"],
        colours=["#000080", "white"],
        palette=["navy", "white"],
        min_contrast=7,
        max_bytes=10_000,
    )
    assert result.error is None
    output = result.output
    assert (output["width"], output["height"], output["format"], output["mode"]) == (160, 90, "PNG", "RGB")
    assert output["colours"] == ["#000080", "#ffffff"]
    assert result.metadata["quality"] == 1.0
    assert "passed: aspect: 160 x 90 pixels, 16:9 expected" in result.metadata["evidence"]


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"min_width": 200}, "min_width: 160 pixels, at least 200 expected"),
        ({"max_height": 50}, "max_height: 90 pixels, at most 50 expected"),
        ({"aspect": "1:1"}, "aspect: 160 x 90 pixels, 1:1 expected"),
        ({"formats": ["JPEG", "WEBP"]}, "formats: PNG, JPEG or WEBP expected"),
        ({"modes": ["RGBA"]}, "modes: RGB, RGBA expected"),
        ({"max_bytes": 10}, "at most 10 expected"),
        ({"colours": ["red"]}, "colours: #ff0000: the nearest is #ffffff, 115 off"),
        ({"palette": ["navy"]}, "palette: 75% is near the palette, at least 90% expected; not #ffffff"),
        ({"min_contrast": 20}, "min_contrast: contrast 16.0, at least 20 expected"),
    ],
)
async def test_a_failed_check_of_an_image_says_what_was_found(
    workspace: Workspace, inputs: dict[str, Any], error: str
) -> None:
    result = await see(workspace, **inputs)
    assert not result.success
    assert str(result.error).startswith("1 of 2 checks failed: ")
    assert error in str(result.error)
    assert result.metadata["quality"] == 0.5


async def test_all_problems_of_an_image_are_named_at_once(workspace: Workspace) -> None:
    result = await see(workspace, picture(), min_width=100, min_height=100, aspect="1:1")
    assert str(result.error).startswith("4 of 4 checks failed: ")
    assert "not_blank: its values differ by 0.0 of 255" in str(result.error)


async def test_the_text_and_the_accent_of_a_card_are_seen_before_its_gradient(workspace: Workspace) -> None:
    context = ToolContext(workspace=workspace, node_id="card")
    await image_card.execute({"title": "Release 1.0"}, context)
    inputs = {"path": "card.png", "min_contrast": 7, "colours": ["#102a43", "#f0f4f8", "#f7b955"]}
    result = await check_image.execute(inputs, context)
    assert result.error is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
async def test_every_mode_is_looked_into(workspace: Workspace, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (10, 10)).save(buffer, "TIFF")
    result = await see(workspace, buffer.getvalue(), min_width=10, not_blank=False)
    assert result.error is None


@pytest.mark.parametrize("content", [b"", b"text", two_colours()[:200]])
async def test_what_is_no_image_fails(workspace: Workspace, content: bytes) -> None:
    result = await see(workspace, content)
    assert not result.success
    assert "readable: 'a.png' is not an image that can be read: " in str(result.error)


async def test_a_huge_image_is_not_looked_into(workspace: Workspace) -> None:
    header = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 9_100, 9_100, 8, 2, 0, 0, 0))
    result = await see(workspace, header + _chunk(b"IDAT", b"") + _chunk(b"IEND", b""))
    assert "it has 9100 x 9100 pixels; at most 80,000,000" in str(result.error)


def _chunk(kind: bytes, body: bytes) -> bytes:
    import zlib

    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"colours": ["nope"]}, ToolInputError, r"colours\[0\] 'nope' is not a colour"),
        ({"path": "none.png"}, ToolError, "the run has made no file 'none.png'"),
        ({"path": "../in/a.png"}, OutsideRootError, "outside"),
        ({"not_blank": False}, ToolInputError, "nothing to check"),
        ({"aspect": "wide"}, ToolInputError, "aspect: "),
    ],
)
async def test_what_cannot_be_looked_into_is_refused(
    workspace: Workspace, inputs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await see(workspace, **inputs)


def test_colours_are_measured_as_the_standards_say() -> None:
    assert difference(BLACK, WHITE) == pytest.approx(100, abs=0.01)
    assert difference((255, 0, 0), (0, 255, 0)) == pytest.approx(170.57, abs=0.05)
    assert difference(NAVY, NAVY) == 0
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast((0x77, 0x77, 0x77), WHITE) == pytest.approx(4.48, abs=0.01)


def flac(seconds: float, rate: int = 44_100) -> bytes:
    """Return a FLAC file's header: one STREAMINFO block, RFC 9639, section 8.2."""
    packed = rate << 44 | 1 << 41 | 15 << 36 | int(seconds * rate)
    info = struct.pack(">HH", 4_096, 4_096) + b"\0" * 6 + packed.to_bytes(8) + b"\0" * 16
    return b"fLaC\x80" + len(info).to_bytes(3) + info


def mp3(frames: int) -> bytes:
    """Return silent frames of MPEG 1, layer III, 128 kbit/s, 44,100 Hz: 417 bytes and 1,152 samples each."""
    return (b"\xff\xfb\x90\x00" + b"\0" * 413) * frames


@pytest.mark.parametrize(
    ("content", "kind", "seconds", "rate", "channels"),
    [
        (sound(1.5), "WAV", 1.5, 8_000, 1),
        (flac(12.25), "FLAC", 12.25, 44_100, 2),
        (mp3(100), "MP3", 100 * 1152 / 44_100, 44_100, 2),
    ],
)
async def test_a_sound_that_passes_is_described(
    workspace: Workspace, content: bytes, kind: str, seconds: float, rate: int, channels: int
) -> None:
    result = await hear(workspace, content, min_seconds=1, max_seconds=20, channels=channels, formats=[kind.lower()])
    assert result.error is None
    assert result.output["seconds"] == pytest.approx(seconds, abs=0.02)
    assert (result.output["format"], result.output["sample_rate"]) == (kind, rate)
    assert result.metadata["quality"] == 1.0


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"min_seconds": 5}, "min_seconds: 1.5 seconds, at least 5 expected"),
        ({"max_seconds": 1}, "max_seconds: 1.5 seconds, at most 1 expected"),
        ({"min_sample_rate": 44_100}, "min_sample_rate: 8,000 samples a second, at least 44,100 expected"),
        ({"channels": 2}, "channels: 1, 2 expected"),
        ({"formats": ["MP3"]}, "formats: WAV, MP3 expected"),
        ({"min_peak": -6}, "min_peak: the loudest sample is at -12.2 dB, at least -6 expected"),
    ],
)
async def test_a_failed_check_of_a_sound_says_what_was_found(
    workspace: Workspace, inputs: dict[str, Any], error: str
) -> None:
    result = await hear(workspace, sound(1.5), **inputs)
    assert not result.success
    assert error in str(result.error)


async def test_silence_has_no_level(workspace: Workspace) -> None:
    assert "at -120.0 dB" in str((await hear(workspace, sound(value=0), min_peak=-100)).error)


async def test_a_streamed_wav_is_as_long_as_its_samples(workspace: Workspace) -> None:
    whole = sound(1.5)
    streamed = whole[:40] + b"\xff\xff\xff\x7f" + whole[44:]
    assert (await hear(workspace, streamed)).output["seconds"] == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("content", [b"", b"text", b"RIFF\0\0\0\0WAVE", b"ID3\x04", b"fLaC", sound(0)])
async def test_what_is_no_sound_fails(workspace: Workspace, content: bytes) -> None:
    result = await hear(workspace, content)
    assert not result.success
    assert "readable: " in str(result.error)


async def test_the_level_of_other_formats_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ToolInputError, match="min_peak is measured of WAV files"):
        await hear(workspace, flac(1), min_peak=-40)
