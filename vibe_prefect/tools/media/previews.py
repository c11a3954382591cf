"""A small picture of an image, for reports and artifacts that cannot hold the file itself."""

from __future__ import annotations

import base64
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_prefect.text.regular_files import read_regular

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 50_000_000
"""The largest file that a preview is made of."""

SIDE = 320
"""The longer side of a preview, in pixels."""

QUALITY = 75
"""Of the preview's JPEG; a photograph of `SIDE` pixels then has about 20 kB."""


def preview(path: Path) -> str | None:
    """Return a preview of an image file as a `data:` URI, a JPEG of at most `SIDE` pixels.

    Returns:
        The URI; `None` where Pillow is not installed, or cannot read the file as an image, or the image is very large.

    Raises:
        OSError: The file is not there, or may not be read.
    """
    if find_spec("PIL") is None:
        return None
    from vibe_prefect.tools.media.pictures import PictureError, read_picture

    content = read_regular(path, MAX_BYTES)
    if len(content) > MAX_BYTES:
        return None
    try:
        picture = read_picture(BytesIO(content), side=SIDE)
    except PictureError:
        return None  # no image, as far as a preview goes; the file itself is there for whoever wants to know more
    return _uri(picture.on_white())


def _uri(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
