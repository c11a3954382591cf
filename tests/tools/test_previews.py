"""Small pictures of images."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.providers.media_server import picture, sound
from vibe_prefect.tools.media.previews import preview


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_image_has_a_small_preview(tmp_path: Path, format: str) -> None:  # noqa: A002
    (tmp_path / "a").write_bytes(picture(format, size=(2_000, 1_000)))
    uri = preview(tmp_path / "a")
    assert uri is not None
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        assert (image.format, image.size) == ("JPEG", (320, 160))
        pixel = image.getpixel((10, 10))
    assert isinstance(pixel, tuple)
    assert all(abs(found - navy) < 12 for found, navy in zip(pixel, (0, 0, 128), strict=True))


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "a.png")
    uri = preview(tmp_path / "a.png")
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("content", [b"", b"text", picture()[:-30], sound()])
def test_what_is_no_image_has_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert preview(tmp_path / "a") is None


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        preview(tmp_path / "none.png")
