"""Images as they are shown: what the gate measures, and what previews and pages show."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, TiffImagePlugin

from tests.providers.media_server import picture
from vibe_prefect.tools import ToolContext, ToolResult, Workspace
from vibe_prefect.tools.checks.image_check import check_image
from vibe_prefect.tools.media.pictures import PictureError, read_picture
from vibe_prefect.tools.media.previews import preview

RED, NAVY, WHITE = (255, 0, 0), (0, 0, 128), (255, 255, 255)


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> io.BytesIO:  # noqa: A002
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    buffer.seek(0)
    return buffer


def marked(mode: str = "RGB") -> Image.Image:
    """40 x 20 pixels of navy, its upper left quarter red."""
    image = Image.new("RGB", (40, 20), NAVY)
    image.paste(RED, (0, 0, 20, 10))
    return image.convert(mode)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def grey(mode: str, values: list[float]) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value if mode == "F" else int(value))
    return image


def greys(source: io.BytesIO) -> list[int]:
    image = read_picture(source).on_white().getchannel("R")
    return list(image.tobytes())


@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [
        (1, (40, 20), "upper left"),
        (2, (40, 20), "upper right"),
        (3, (40, 20), "lower right"),
        (4, (40, 20), "lower left"),
        (5, (20, 40), "upper left"),
        (6, (20, 40), "upper right"),
        (7, (20, 40), "lower right"),
        (8, (20, 40), "lower left"),
        (0, (40, 20), "upper left"),
        (99, (40, 20), "upper left"),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_stands_as_its_orientation_says(
    orientation: int,
    size: tuple[int, int],
    red: str,
    format: str,  # noqa: A002
) -> None:
    options: dict[str, Any] = {"quality": 95} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    image = read_picture(saved(marked(), format, exif=exif_of(orientation), **options)).image
    assert image.size == size
    corners = {"upper left": (3, 3), "upper right": (-4, 3), "lower left": (3, -4), "lower right": (-4, -4)}
    places = {name: (x % image.width, y % image.height) for name, (x, y) in corners.items()}
    pixels = {name: image.getpixel(place) for name, place in places.items()}
    assert [name for name, pixel in pixels.items() if isinstance(pixel, tuple) and pixel[0] > 128] == [red]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated File|Tag:UserWarning")  # Pillow's word on it
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0nonsense",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x05\0\0\0\x1ahello",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x00",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x05\0\x01\0\0\0\xff\xff\xff\x7f" * 5_000,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0" + b"\0" * 65_000,
    ],
)
def test_broken_or_huge_exif_turns_nothing(exif: bytes) -> None:
    plain = saved(marked(), "JPEG").getvalue()
    content = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert read_picture(io.BytesIO(content)).image.size == (40, 20)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (saved(grey("I;16", [0, 257, 20_000, 60_000, 65_535])), [0, 1, 78, 233, 255]),
        (saved(grey("I;16", [0, 20_000, 65_535]), "TIFF"), [0, 78, 255]),
        (saved(grey("I;16B", [0, 20_000, 65_535]), "TIFF"), [0, 78, 255]),
        (saved(grey("I;16", [0, 100, 200])), [0, 0, 1]),  # dark, as everybody shows it
        (saved(grey("I", [0, 100, 200]), "TIFF"), [0, 100, 200]),
        (saved(grey("I", [0, 20_000, 60_000]), "TIFF"), [0, 78, 233]),
        (saved(grey("I", [0, 1_000_000, 2_000_000]), "TIFF"), [0, 128, 255]),
        (saved(grey("I", [-100, 0, 100]), "TIFF"), [0, 128, 255]),
        (saved(grey("F", [0.0, 0.25, 1.0]), "TIFF"), [0, 64, 255]),
        (saved(grey("F", [0.0, 100.0, 200.0]), "TIFF"), [0, 100, 200]),
        (saved(grey("F", [0.0, 2.0, 4.0]), "TIFF"), [0, 128, 255]),
        (saved(grey("F", [-1.0, 0.0, 1.0]), "TIFF"), [0, 128, 255]),
        (saved(grey("F", [0.0, 0.0]), "TIFF"), [0, 0]),
        (saved(grey("F", [-5.0, -5.0]), "TIFF"), [0, 0]),
    ],
)
def test_wide_values_are_scaled_and_not_cut_off(source: io.BytesIO, shown: list[int]) -> None:
    assert greys(source) == pytest.approx(shown, abs=1)


def test_values_that_are_no_numbers_do_no_harm() -> None:
    found = greys(saved(grey("F", [float("nan"), 0.5, float("inf")]), "TIFF"))
    assert found[1] == pytest.approx(128, abs=1)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "palette in bytes", "colour key"])
def test_what_is_transparent_is_seen_on_white(kind: str) -> None:
    match kind:
        case "palette":
            image = marked("P")
            source = saved(image, transparency=image.getpixel((0, 0)))
        case "palette in bytes":
            image = marked("P")
            source = saved(image, transparency=bytes(0 if n == image.getpixel((0, 0)) else 255 for n in range(256)))
        case "colour key":
            source = saved(marked(), transparency=RED)
        case mode:
            image = marked(mode)
            image.putalpha(Image.new("L", image.size, 255))
            image.paste(Image.new(mode, (20, 10)), (0, 0))
            source = saved(image)
    page = read_picture(source).on_white()
    assert (page.mode, page.getpixel((0, 0))) == ("RGB", WHITE)
    assert page.getpixel((39, 19)) != WHITE


@pytest.mark.parametrize(
    ("mode", "format"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF"), ("P", "GIF")]
)
def test_colours_of_other_models_are_those_that_are_shown(mode: str, format: str) -> None:  # noqa: A002
    source = saved(marked("RGB" if mode == "LAB" else mode), format)
    if mode == "LAB":
        lab = Image.new("LAB", (40, 20), (138, 209, 195))  # red
        lab.paste((33, 176, 60), (20, 0, 40, 20))  # navy
        source = saved(lab, format)
    page = read_picture(source).on_white()
    for place, expected in (((2, 2), RED), ((37, 2), NAVY)):
        pixel = page.getpixel(place)
        assert isinstance(pixel, tuple)
        assert all(abs(one - other) < 40 for one, other in zip(pixel, expected, strict=True)), (place, pixel)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_seen(format: str) -> None:  # noqa: A002
    first, second = Image.new("RGB", (10, 10), "red"), Image.new("RGB", (10, 10), "blue")
    source = saved(first, format, save_all=True, append_images=[second], duration=100)
    pixel = read_picture(source).on_white().getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 200
    assert pixel[2] < 60


def test_a_small_picture_is_read_small_and_upright() -> None:
    source = saved(Image.new("RGB", (4_000, 2_000), "navy"), "JPEG", exif=exif_of(6))
    assert read_picture(source, side=320).image.size == (500, 1_000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot identify"),
        (picture("JPEG", size=(300, 300))[:700], "truncated"),
        (picture("PNG")[:45], "."),
        (picture("WEBP")[:40], "."),
    ],
)
def test_what_is_damaged_is_told_in_one_kind_of_error(content: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_picture(io.BytesIO(content))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_bytes_that_were_changed_are_a_picture_or_that_error(format: str) -> None:  # noqa: A002
    whole = saved(marked(), format).getvalue()
    for place in range(4, len(whole), max(1, len(whole) // 60)):
        for value in (0x00, 0xFF):
            content = whole[:place] + bytes([value]) + whole[place + 1 :]
            try:
                assert read_picture(io.BytesIO(content)).image.width > 0
            except PictureError:
                continue


def test_pixels_are_counted_before_they_are_read() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9_100, 9_100, 16, 0, 0, 0, 0))
    with pytest.raises(PictureError, match="9100 x 9100 pixels; at most 80,000,000 are looked into"):
        read_picture(io.BytesIO(header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")))


async def see(tmp_path: Path, source: io.BytesIO, **inputs: Any) -> ToolResult:
    workspace = Workspace(tmp_path / "in", tmp_path / "out")
    workspace.write("a.png", source.getvalue())
    return await check_image.execute({"path": "a.png"} | inputs, ToolContext(workspace=workspace))


async def test_the_gate_measures_the_shape_that_is_shown(tmp_path: Path) -> None:
    upright = saved(marked(), "JPEG", exif=exif_of(8))
    result = await see(tmp_path, upright, aspect="1:2", min_height=40, max_width=20)
    assert result.error is None
    assert (result.output["width"], result.output["height"], result.output["mode"]) == (20, 40, "RGB")
    assert "aspect: 20 x 40 pixels, 2:1 expected" in str((await see(tmp_path, upright, aspect="2:1")).error)


async def test_the_gate_sees_the_tones_of_a_wide_image(tmp_path: Path) -> None:
    tones = saved(grey("I;16", [20_000.0, 60_000.0] * 100))
    result = await see(tmp_path, tones, colours=["#4e4e4e", "#e9e9e9"], tolerance=2, modes=["I;16"])
    assert result.error is None
    flat = await see(tmp_path, saved(grey("I;16", [30_000.0] * 100)))
    assert "not_blank: its values differ by 0.0 of 255" in str(flat.error)


def test_a_preview_is_upright_in_its_pixels_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(saved(marked(), "JPEG", exif=exif_of(6)).getvalue())
    uri = preview(tmp_path / "a.jpg")
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as small:
        assert small.size == (20, 40)
        assert small.getexif().get(0x0112, 1) == 1


def test_a_tiff_says_its_orientation_in_its_own_tags() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 6
    assert read_picture(saved(marked(), "TIFF", tiffinfo=tags)).image.size == (20, 40)
