"""Pictures that come from elsewhere: read them whole, and write them in the format that a plan's path names."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from vibe_prefect.tools.secrecy.credentials import has_credentials

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""The format that a path asks for by its suffix, in Pillow's words."""

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}
_XMP = "XML:com.adobe.xmp"

_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


class PictureFileError(ValueError):
    """Error for bytes that are no whole picture, or a picture that is too large."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture that was read whole."""

    content: bytes
    """The file."""

    format: str
    """Its format, in Pillow's words."""

    width: int
    """Pixels, as it is shown: EXIF orientation is obeyed."""

    height: int
    """Pixels, likewise."""

    frames: int = 1
    """Pictures in it: more than one where it moves."""

    @property
    def suffix(self) -> str:
        """The end of a file name that fits."""
        return _SUFFIXES.get(self.format, f".{self.format.lower()}")

    @property
    def is_signed(self) -> bool:
        """Whether it carries Content Credentials (C2PA), which hold for these very bytes alone."""
        return has_credentials(self.content)


def read_picture_file(content: bytes) -> PictureFile:
    """Read a picture whole.

    Raises:
        PictureFileError: It is none, it is cut, or it is too large.
    """
    from PIL import Image, UnidentifiedImageError

    from vibe_prefect.tools.media.pictures import MAX_PIXELS, shown_size

    try:
        with Image.open(BytesIO(content)) as image:
            # An MPO is a JPEG that holds further views, which Pillow counts as frames.
            format_name, frames = (
                ("JPEG", 1) if image.format == "MPO" else (image.format, getattr(image, "n_frames", 1))
            )
            (width, height) = shown_size(image)
            if width * height * frames > MAX_PIXELS:
                moving = f" in {frames} frames" if frames > 1 else ""
                raise PictureFileError(
                    f"the image has {width} x {height} pixels{moving}; at most {MAX_PIXELS:,} are taken"
                )
            image.load()
    except PictureFileError:
        raise
    except UnidentifiedImageError:
        raise PictureFileError("the answer is not an image that can be read: it is of no known format") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureFileError(f"the answer is not an image that can be read: {error}") from error
    return PictureFile(content, format_name or "", width, height, frames)


def kept_as_it_is(picture: PictureFile, format: str) -> str | None:  # noqa: A002
    """Return why a picture is not converted to a format, since that would lose something; `None` where it can be."""
    if picture.is_signed:
        return "it carries Content Credentials, which hold for its own bytes alone"
    if picture.frames > 1 and format == "JPEG":
        return f"it moves, in {picture.frames} frames, and a JPEG cannot"
    return None


def converted(picture: PictureFile, format: str) -> PictureFile:  # noqa: A002
    """Return a picture in another format, moving ones with all frames; what was transparent is white in a JPEG.

    Colour profile, EXIF and XMP go along.

    Raises:
        PictureFileError: It cannot be written in that format.
    """
    from PIL import Image

    file = BytesIO()
    try:
        with Image.open(BytesIO(picture.content)) as image:
            options = _options(image, format)
            if picture.frames > 1:
                image.save(file, format, save_all=True, **options)
            else:
                _fitted(image, format).save(file, format, **options)
    except (OSError, ValueError) as error:
        raise PictureFileError(f"the {picture.format} image cannot be written as {format}: {error}") from error
    return PictureFile(file.getvalue(), format, picture.width, picture.height, picture.frames)


def _options(image: Image.Image, format: str) -> dict[str, Any]:  # noqa: A002
    from PIL.PngImagePlugin import PngInfo

    info = cast("dict[str, Any]", image.info)
    options: dict[str, Any] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(format, {})
    exif = image.getexif().tobytes() if image.getexif() else None
    profile = info.get("icc_profile") if image.mode != "CMYK" else None
    options |= {name: value for name, value in (("exif", exif), ("icc_profile", profile)) if value}
    xmp = info.get("xmp") or info.get(_XMP)
    if xmp and format == "PNG":
        text = PngInfo()
        text.add_itxt(_XMP, xmp if isinstance(xmp, str) else cast("bytes", xmp).decode("utf-8", "replace"))
        return options | {"pnginfo": text}
    return options | ({"xmp": xmp.encode() if isinstance(xmp, str) else xmp} if xmp else {})


def _fitted(image: Image.Image, format: str) -> Image.Image:  # noqa: A002
    """Return a picture in a mode that the format can hold."""
    from PIL import Image

    from vibe_prefect.tools.media.pictures import is_wide, scaled_grey

    if format == "PNG":
        return image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "F") else image
    if is_wide(image):
        return scaled_grey(image)
    clear = image.mode in _ALPHA or "transparency" in image.info
    if format == "WEBP":
        return image.convert("RGBA" if clear else "RGB")
    if not clear:
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    clear_image = image.convert("RGBA")
    ground = Image.new("RGBA", clear_image.size, "white")
    return Image.alpha_composite(ground, clear_image).convert("RGB")
