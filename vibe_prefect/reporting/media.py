"""Pictures, sound and film for a page that fetches nothing: as `data:` addresses, as far as they are small enough."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.text.escape import file_address
from vibe_prefect.text.units import size

if TYPE_CHECKING or find_spec("PIL") is not None:
    from vibe_prefect.tools.media.pictures import PictureError, read_picture

    _HAS_PILLOW = True
else:
    _HAS_PILLOW = False

MAX_EMBEDDED = 20_000_000
"""Bytes of all files that a page holds."""

MAX_IMAGE = 400_000
"""Bytes of a picture that is embedded as it is; a larger one is made smaller first."""

MAX_PLAYED = 5_000_000
"""Bytes of sound or film that is embedded."""

MAX_SOURCE = 50_000_000
"""Bytes of a picture that is made smaller."""

MAX_PIXELS = 50_000_000
"""Pixels of a picture that is made smaller: 200 MB of memory meanwhile."""

THUMBNAIL = (1_200, 1_200)
"""Pixels that a picture made smaller has at most."""

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/svg+xml"})
"""Pictures that browsers show; as the source of an image, SVG runs no script and fetches nothing."""

AUDIO = frozenset(
    {"audio/mpeg", "audio/wav", "audio/x-wav", "audio/ogg", "audio/mp4", "audio/webm", "audio/flac", "audio/aac"}
)
VIDEO = frozenset({"video/mp4", "video/webm", "video/ogg"})


@dataclass(frozen=True, slots=True)
class Medium:
    """Form in which the page shows a file."""

    kind: str
    """`image`, `audio`, `video`, or `file` for what is only linked."""

    source: str | None
    """The content as a `data:` address; `None` when it is not in the page."""

    link: str | None
    """Address of the file, for a page in the run's folder."""

    note: str
    """Reason why it is not in the page unchanged; empty when it is."""


class Embedder:
    """Puts files into one page, until it is full."""

    def __init__(self, files: Mapping[str, Path], base: str = "", room: int = MAX_EMBEDDED) -> None:
        """Start a page.

        Args:
            files: Local path of each file, by its path in the report.
            base: Relative address of the run's output folder, seen from the page.
            room: Bytes of all files that it may hold.
        """
        self._files = files
        self._base = base
        self._room = room
        self._known: dict[OutputFile, Medium] = {}
        self.left_out = 0
        """Number of files that could not be shown."""

    def medium(self, file: OutputFile) -> Medium:
        """Return the form in which the page shows a file; a file that comes again is not embedded twice."""
        if file in self._known:
            return Medium("file", None, self._known[file].link, "shown above")
        self._known[file] = self._medium(file)
        return self._known[file]

    def _medium(self, file: OutputFile) -> Medium:
        link = file_address(file.path, self._base)
        mime = file.mime.partition(";")[0].strip().lower()
        kind = _kind(mime)
        path = self._files.get(file.path)
        if kind == "file" or path is None:
            return Medium(kind, None, link, "" if kind == "file" else "not at hand when this page was made")
        try:
            mime, content, note = _small(path, mime) if kind == "image" else _played(path, mime)
        except OSError as error:
            return Medium(kind, None, link, f"could not be read: {error.strerror or type(error).__name__}")
        if content and len(content) > self._room:
            content, note = b"", "left out: this page holds as many files as it may"
        self.left_out += not content
        self._room -= len(content)
        source = f"data:{mime};base64,{base64.b64encode(content).decode()}" if content else None
        return Medium(kind, source, link, note)


def local_files(report: RunReport, folder: Path) -> dict[str, Path]:
    """Return the local paths of a report's files, by their paths in the report; files outside the folder are left out.

    Args:
        report: The run.
        folder: Its output folder.
    """
    root = folder.resolve()
    local_paths: dict[str, Path] = {}
    for file in (file for node in report.nodes for file in node.files):
        path = _inside(root, file.path)
        if path is not None:
            local_paths[file.path] = path
    return local_paths


def _inside(root: Path, name: str) -> Path | None:
    if "\x00" in name:
        return None
    try:
        path = (root / name).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, a lone surrogate, links that go round in a circle
        return None


def _kind(mime: str) -> str:
    kinds = {"image": IMAGES, "audio": AUDIO, "video": VIDEO}
    return next((kind for kind, types in kinds.items() if mime in types), "file")


def _played(path: Path, mime: str) -> tuple[str, bytes, str]:
    volume = path.stat().st_size
    if volume > MAX_PLAYED:
        return mime, b"", f"{size(volume)}: too large for this page"
    return mime, path.read_bytes(), ""


def _small(path: Path, mime: str) -> tuple[str, bytes, str]:
    """Return a picture's media type, its content and a note; without content where it cannot be small enough."""
    volume = path.stat().st_size
    if volume <= MAX_IMAGE:
        return mime, path.read_bytes(), ""
    if not _HAS_PILLOW:
        return mime, b"", f"{size(volume)}: too large for this page; with `vibe-prefect[images]` it is made smaller"
    if volume > MAX_SOURCE or mime == "image/svg+xml":
        return mime, b"", f"{size(volume)}: too large for this page"
    try:
        content = _thumbnail(path)
    except PictureError:
        return mime, b"", f"{size(volume)}: too large for this page, and not a picture that can be made smaller"
    return "image/webp", content, f"made smaller from {size(volume)}"


def _thumbnail(path: Path) -> bytes:
    image = read_picture(path, max_pixels=MAX_PIXELS, side=max(THUMBNAIL)).image
    image.thumbnail(THUMBNAIL)
    target = BytesIO()
    image.save(target, "WEBP", quality=80)
    return target.getvalue()
