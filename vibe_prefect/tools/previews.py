"""A small picture of an image, for reports and artifacts that cannot hold the file itself."""

from __future__ import annotations

import base64
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIDE = 320
"""The longer side of a preview, in pixels."""

MAX_PIXELS = 80_000_000
"""The largest image that is made a preview of, in pixels: a little less than where Pillow begins to warn."""

QUALITY = 75
"""Of the preview's JPEG; a photograph of `SIDE` pixels then has about 20 kB."""


def preview(path: Path, side: int = SIDE) -> str | None:
    """Return a preview of an image file as a `data:` URI, a JPEG of at most `side` pixels.

    Returns:
        The URI; `None` where Pillow is not installed, or the file is no image that it can read.

    Raises:
        OSError: The file is not there, or may not be read.
    """
    if find_spec("PIL") is None:
        return None
    from PIL import Image

    content = path.read_bytes()
    try:
        with Image.open(BytesIO(content)) as image:
            return _uri(image, side) if image.width * image.height <= MAX_PIXELS else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None  # no image, as far as a preview goes; the file itself is there for whoever wants to know more


def _uri(image: Image.Image, side: int) -> str:
    from PIL import Image

    image.draft("RGB", (side, side))
    small = image.convert("RGBA")
    small.thumbnail((side, side))
    page = Image.new("RGB", small.size, "white")
    page.paste(small, mask=small)
    buffer = BytesIO()
    page.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
