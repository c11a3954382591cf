"""Images as people see them: upright, in eight bits a channel. What checks an image, or shows it small, looks here."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any, cast

from PIL import Image

MAX_PIXELS = 80_000_000
"""The largest picture that is taken or looked into, in pixels, all frames together: a little less than where Pillow
begins to warn."""

_ORIENTATION = 0x0112
"""The EXIF tag: EXIF 2.32, section 4.6.4."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Operations that turn an image of each orientation upright; 1 is upright already."""

_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
"""Orientations that swap width and height."""

_BYTE, _WORD = 255.0, 65_535.0
"""Full scale of 8 and of 16 bits."""

_BRIGHT = 16.0
"""Greatest float of an image on a scale where 1 is white: a larger value is one of 8 bits, or has no known scale."""


class PictureError(ValueError):
    """A file that is not an image, or one too large to be looked into; the text says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, read."""

    image: Image.Image
    """Displayed image: its first frame, upright, in mode RGB, or RGBA where it is transparent."""

    format: str
    """The file's format, such as `PNG`."""

    mode: str
    """Form of the file's pixels, in Pillow's words: `I;16` is grey of 16 bits."""

    def on_white(self) -> Image.Image:
        """Return the image without transparency, as on a white page."""
        if self.image.mode == "RGB":
            return self.image
        page = Image.new("RGB", self.image.size, "white")
        page.paste(self.image, mask=self.image)
        return page


def read_picture(source: Path | BytesIO, *, max_pixels: int = MAX_PIXELS, side: int | None = None) -> Picture:
    """Read an image.

    Values of more than eight bits are scaled to eight, not cut off. Orientation is that of EXIF; where that cannot be
    read, nothing is turned.

    Args:
        source: The file, or its content.
        max_pixels: How many pixels it may have.
        side: Read a JPEG no larger than needed for a small picture with this longer side, in pixels.

    Raises:
        PictureError: It is not an image, is damaged, or has too many pixels.
    """
    try:
        with Image.open(source) as image:
            if image.width * image.height > max_pixels:
                reason = f"it has {image.width} x {image.height} pixels; at most {max_pixels:,} are looked into"
                raise PictureError(reason)
            if side is not None:
                image.draft("RGB", (side, side))
            image.load()
            turn = _UPRIGHT.get(_orientation(image))
            eight_bits = _eight_bits(image)
            return Picture(
                eight_bits if turn is None else eight_bits.transpose(turn), image.format or "unknown", image.mode
            )
    except PictureError:
        raise
    except Exception as error:  # each of Pillow's many readers has errors of its own
        raise PictureError(str(error) or type(error).__name__) from error


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image as it is shown: EXIF may turn it on its side."""
    width, height = image.size
    return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - written by cameras, broken in every way: the picture itself is fine
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    if is_wide(image):
        return scaled_grey(image).convert("RGB")
    if image.mode == "LAB":  # Pillow would lose its opacity on a direct way
        return image.convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def is_wide(image: Image.Image) -> bool:
    """Tell whether an image holds grey values of more than eight bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def scaled_grey(image: Image.Image) -> Image.Image:
    """Return a grey image of wide values in eight bits; Pillow's own conversion shows all above 255 as white."""
    wide: Any = image if image.mode == "F" else image.convert("I")
    low, high = (float(value) for value in cast("tuple[float, float]", wide.getextrema()))
    black, white = _scale(image, low, high)
    factor = _BYTE / (white - black)

    def scaled(value: Any) -> Any:
        return value * factor + (0.5 - black * factor)

    grey: Image.Image = wide.point(scaled).convert("L")
    grey.info.pop("transparency", None)  # a value of the wide scale
    return grey


def _scale(image: Image.Image, low: float, high: float) -> tuple[float, float]:
    """Return which values are black and white; of what has no agreed scale, the least and the greatest that occur."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return 0.0, _WORD
    if not (isfinite(low) and isfinite(high)):
        return 0.0, 1.0
    scales = ((1.0, 0.0), (_BYTE, _BRIGHT)) if image.mode == "F" else ((_BYTE, 0.0), (_WORD, 0.0))
    for full, above in scales:
        if low >= 0 and above <= high <= full:
            return 0.0, full
    return (min(0.0, low), high) if high > min(0.0, low) else (low, low + 1.0)
