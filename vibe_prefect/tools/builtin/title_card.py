"""The tool that draws a title card (extra `images`)."""
# ruff: noqa: RUF001 - the table of look-alike characters is about just these

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field

from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.base import OutputPath, ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import ToolInputError, tool
from vibe_prefect.tools.provenance import provenance_of, write_with_provenance
from vibe_prefect.tools.workspace import FileRef, Workspace

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_MISSING = None if find_spec("PIL") is not None else "pip install 'vibe-prefect[images]'"

VERSION = "2"
"""Changes when the same inputs make another card."""

MAX_PIXELS = 40_000_000
"""The largest card, in pixels: 160 MB of memory while it is drawn."""

MAX_FONT_BYTES = 50_000_000
"""The largest font file, in bytes."""

MIN_TEXT = 6
"""The smallest text, in pixels."""

LINE_HEIGHT = 1.2
"""From one line to the next, as a multiple of the text's size."""

_RESPELLED = {
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict(zip("•‣∙●‚′„″×≈øØłŁđĐðÐı", "····’’“”x~oOlLdDdDi", strict=True)),
    **dict(zip("ẞæÆœŒÞ", ["SS", "ae", "AE", "oe", "OE", "Th"], strict=True)),
    **dict(zip("ßþ→←⇒≤≥≠", ["ss", "th", "->", "<-", "=>", "<=", ">=", "!="], strict=True)),
    "®": "(R)",
    "€": "EUR ",
    "£": "GBP ",
    "¥": "JPY ",
}
"""Substitutes for characters that a font lacks and Unicode does not take apart."""

RGB = tuple[int, int, int]
Colour = Annotated[str, Field(min_length=1, max_length=100)]


class CardRef(FileRef):
    """The card's file and its size."""

    width: int
    """Pixels."""

    height: int
    """Pixels."""


@tool(name="image_card", category=ToolCategory.IMAGE, version=VERSION, missing_extra=_MISSING)
def image_card(  # noqa: PLR0913 - the tool's inputs
    title: Annotated[
        str,
        Field(
            min_length=1,
            max_length=20_000,
            description="Wrapped and sized so that it fits; cut with an ellipsis only where it "
            "would become too small to read.",
        ),
    ],
    context: ToolContext,
    subtitle: Annotated[str, Field(max_length=20_000, description="Smaller, below it.")] = "",
    footer: Annotated[str, Field(max_length=2_000, description="One line at the bottom.")] = "",
    width: Annotated[int, Field(ge=64, le=8192, description="Pixels.")] = 1200,
    height: Annotated[int, Field(ge=64, le=8192, description="Pixels; the card has 40 megapixels at most.")] = 630,
    background: Annotated[Colour, Field(description="`#rgb`, `#rrggbb` or a CSS colour name.")] = "#102a43",
    foreground: Annotated[Colour, Field(description="Colour of the text.")] = "#f0f4f8",
    accent: Annotated[Colour, Field(description="Colour of the bar.")] = "#f7b955",
    path: Annotated[
        OutputPath,
        Field(max_length=1_000, description="Where to write, below the run's output folder; ends with `.png`."),
    ] = "{{ node_id }}.png",
    font: Annotated[
        str | None,
        Field(
            description="A TrueType or OpenType font below the input folder. The font that is used "
            "otherwise has the letters of ASCII and little more."
        ),
    ] = None,
) -> CardRef | ToolResult:
    """Draw a title card and write it as a PNG; the same inputs in the same node give the same bytes.

    Where the font lacks a letter its plain form stands in (`é` becomes `e`); symbols that it lacks,
    such as emoji, are left out. The result's metadata names both, as `respelled` and `dropped`.

    Raises:
        ToolInputError: Pillow is not installed, a colour is not one, the card is too large, the
            path is not a PNG's, or the font lacks letters that have no plain form.
        OutsideRootError: The path leaves the output folder, or the font's the input folder.
        PathTakenError: Another node of the run has written the file.
        OSError: The file could not be written.
    """
    if _MISSING is not None:
        raise ToolInputError(f"image_card needs Pillow, which is not installed: {_MISSING}")
    workspace = workspace_of(context, "image_card")
    _refuse_size(width, height, path)
    workspace.claim(path)
    palette = _palette(background, foreground, accent)
    face = _Typeface(workspace, font)
    texts = {"title": title, "subtitle": subtitle, "footer": footer}
    spelled = {name: face.spell(name, text) for name, text in texts.items()}
    if not spelled["title"]:
        raise ToolInputError(f"image_card: title {title[:60]!r} has nothing that can be drawn")
    card = _Card(face, palette, width, height, **spelled)
    provenance = provenance_of(context, "image_card", VERSION)
    ref = write_with_provenance(workspace, path, card.png(), "image/png", provenance)
    return ToolResult(True, CardRef(**ref, width=width, height=height), metadata=face.changes())


def _refuse_size(width: int, height: int, path: str) -> None:
    if width * height > MAX_PIXELS:
        raise ToolInputError(
            f"image_card: {width} x {height} is {width * height / 1e6:.1f} megapixels; "
            f"at most {MAX_PIXELS / 1e6:g} can be drawn"
        )
    if not path.lower().endswith(".png"):
        raise ToolInputError(f"image_card: path {path!r} does not end with .png")


@dataclass(frozen=True, slots=True)
class _Palette:
    background: RGB
    foreground: RGB
    accent: RGB

    def faded(self, share: float) -> RGB:
        """Return the foreground, faded into the background by a part from 0 to 1."""
        return _mix(self.foreground, self.background, share)


def _palette(background: str, foreground: str, accent: str) -> _Palette:
    palette = _Palette(
        _colour("background", background),
        _colour("foreground", foreground),
        _colour("accent", accent),
    )
    if palette.foreground == palette.background:
        raise ToolInputError(
            f"image_card: foreground {foreground!r} and background {background!r} are the same "
            "colour; the text could not be seen"
        )
    return palette


def _colour(name: str, value: str) -> RGB:
    from PIL import ImageColor  # here and below: a plan is checked without Pillow, which takes long to import

    try:
        red, green, blue = ImageColor.getrgb(value)[:3]
    except ValueError:
        raise ToolInputError(
            f"image_card: {name} {value!r} is not a colour; write it as '#102a43' or as a CSS name such as 'navy'"
        ) from None
    return red, green, blue


def _mix(first: RGB, second: RGB, share: float) -> RGB:
    red, green, blue = (round(mine + (theirs - mine) * share) for mine, theirs in zip(first, second, strict=True))
    return red, green, blue


def _shaded(colour: RGB) -> RGB:
    """Return a slightly darker colour; light ones, which soon look dirty, get less shade."""
    red, green, blue = colour
    light = (0.299 * red + 0.587 * green + 0.114 * blue) / 255  # ITU-R BT.601
    return _mix(colour, (0, 0, 0), 0.3 - 0.24 * light)


class _Typeface:
    """A font at any size, and what it cannot draw."""

    def __init__(self, workspace: Workspace, path: str | None) -> None:
        self._sizes: dict[int, ImageFont.FreeTypeFont] = {}
        self._drawn: dict[str, bool] = {}
        self._respelled: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self._base = _load_font(workspace, path)
        self._unknown = self._glyph("\U0010fffe")  # never a character, so: the sign for "none"

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """Return the font at a size in pixels."""
        if size not in self._sizes:
            self._sizes[size] = self._base.font_variant(size=size)
        return self._sizes[size]

    def draws(self, text: str) -> bool:
        """Tell whether the font has a glyph for every character."""
        return all(self._draws(character) for character in text)

    def spell(self, name: str, text: str) -> str:
        """Return a text in the characters that the font has; lines are kept, other space is one.

        Raises:
            ToolInputError: Letters or digits are missing, and have no plain form.
        """
        lines = unicodedata.normalize("NFC", text).splitlines()
        pieces = [[self._spell(character) for character in line] for line in lines]
        lacking = dict.fromkeys(piece for line in pieces for piece in line if not self.draws(piece))
        if lacking:
            listed = " ".join(islice(lacking, 10)) + (" ..." if len(lacking) > 10 else "")
            raise ToolInputError(
                f"image_card: the font has no glyphs for these letters of {name}: {listed}; "
                "give a font file that has them as `font`"
            )
        return "\n".join(filter(None, (" ".join("".join(line).split()) for line in pieces)))

    def changes(self) -> dict[str, Any]:
        """Return what was respelled and dropped, where there was any."""
        changed = {"respelled": list(self._respelled), "dropped": list(self._dropped)}
        return {name: characters for name, characters in changed.items() if characters}

    def _spell(self, character: str) -> str:
        """Return what to draw for a character; itself when it is a letter that cannot be drawn."""
        if self._draws(character):
            return " " if character.isspace() else character
        plain = _RESPELLED.get(character) or _without_marks(character)
        if plain and self.draws(plain):
            self._respelled[character] = None
            return plain
        if unicodedata.category(character)[0] in "LN":
            return character
        self._dropped[character] = None
        return ""

    def _draws(self, character: str) -> bool:
        if character not in self._drawn:
            self._drawn[character] = character.isspace() or (
                character.isprintable() and self._glyph(character) != self._unknown
            )
        return self._drawn[character]

    def _glyph(self, character: str) -> tuple[tuple[int, int], bytes]:
        mask = cast("Any", self._base.getmask(character))
        return mask.size, bytes(mask)


def _load_font(workspace: Workspace, path: str | None) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    if path is None:
        return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size=32))
    source = workspace.input_path(path)
    try:
        content = read_regular(source, MAX_FONT_BYTES)
        if len(content) > MAX_FONT_BYTES:
            raise ToolInputError(f"image_card: font {path!r} is over {MAX_FONT_BYTES:,} bytes")
        return ImageFont.truetype(BytesIO(content), size=32)
    except OSError as error:
        raise ToolInputError(f"image_card: font {path!r} cannot be used: {error}") from error


def _without_marks(character: str) -> str:
    parts = unicodedata.normalize("NFKD", character)
    return "".join(character_part for character_part in parts if not unicodedata.combining(character_part))


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines of one size."""

    lines: tuple[str, ...]
    size: int

    @property
    def height(self) -> int:
        return round(len(self.lines) * self.size * LINE_HEIGHT)


@dataclass(frozen=True, slots=True)
class _Box:
    """Room for a block, and limits of its text's size. All in pixels."""

    width: int
    height: int
    largest: int
    smallest: int

    def limit(self, size: int) -> int:
        """Return how many lines of a size it holds."""
        return int(self.height / (size * LINE_HEIGHT))


def _fit(face: _Typeface, text: str, box: _Box) -> _Block:
    """Return the text as large as the box takes it; words are broken, then cut, if need be."""
    for breaking in (False, True):
        size = _largest(face, text, box, breaking)
        if size is not None:
            return _Block(_balanced(face.at(size), text, box, box.limit(size)), size)
    return _cut(face, text, box)


def _largest(face: _Typeface, text: str, box: _Box, breaking: bool) -> int | None:
    low, high = box.smallest - 1, box.largest
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(face.at(middle), text, box, box.limit(middle), breaking):
            low = middle
        else:
            high = middle - 1
    return low if low >= box.smallest else None


def _fits(font: ImageFont.FreeTypeFont, text: str, box: _Box, limit: int, breaking: bool) -> bool:
    if not breaking and any(font.getlength(word) > box.width for word in dict.fromkeys(text.split())):
        return False
    return len(list(islice(_wrap(font, text, box.width), limit + 1))) <= limit


def _balanced(font: ImageFont.FreeTypeFont, text: str, box: _Box, limit: int) -> tuple[str, ...]:
    """Return the lines of the narrowest column that needs no more lines than the full width."""
    lines = list(_wrap(font, text, box.width))
    longest = max((font.getlength(word) for word in text.split()), default=0)
    low, high = min(box.width, int(longest) + 1), box.width
    while low < high:
        middle = (low + high) // 2
        narrower = list(islice(_wrap(font, text, middle), limit + 1))
        if len(narrower) <= len(lines):
            high = middle
        else:
            low = middle + 1
    return tuple(_wrap(font, text, high))


def _cut(face: _Typeface, text: str, box: _Box) -> _Block:
    """Return as much as fits at the smallest size, an ellipsis behind it."""
    font = face.at(box.smallest)
    ellipsis = "…" if face.draws("…") else "..."
    lines = list(islice(_wrap(font, text, box.width), max(1, box.limit(box.smallest))))
    last = lines[-1]
    while last and font.getlength(last + ellipsis) > box.width:
        last = last[:-1]
    return _Block((*lines[:-1], f"{last.rstrip()}{ellipsis}"), box.smallest)


def _wrap(font: ImageFont.FreeTypeFont, text: str, width: float) -> Iterator[str]:
    for paragraph in text.split("\n"):
        yield from _wrap_words(font, paragraph.split(), width)


def _wrap_words(font: ImageFont.FreeTypeFont, words: list[str], width: float) -> Iterator[str]:
    line = ""
    for word in words:
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) <= width:
            line = joined
            continue
        for piece in _break(font, word, width):
            if line:
                yield line
            line = piece
    if line:
        yield line


def _break(font: ImageFont.FreeTypeFont, word: str, width: float) -> Iterator[str]:
    """Yield a word in pieces that fit, a character at least in each."""
    widths = {character: font.getlength(character) for character in dict.fromkeys(word)}
    start, used = 0, 0.0
    for index, character in enumerate(word):
        used += widths[character]
        if used > width and index > start:
            yield word[start:index]
            start, used = index, widths[character]
    yield word[start:]


@dataclass(frozen=True, slots=True)
class _Card:
    """A card: a bar, the title and the subtitle as one group, and a footer at the bottom."""

    face: _Typeface
    palette: _Palette
    width: int
    height: int
    title: str
    subtitle: str
    footer: str

    def png(self) -> bytes:
        """Return the card as a PNG file."""
        from PIL import ImageDraw

        image = self._ground()
        self._draw(ImageDraw.Draw(image))
        file = BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    def _part(self, share: float, least: int = 1) -> int:
        """Return a length in pixels: a share of the shorter side."""
        return max(least, round(min(self.width, self.height) * share))

    def _ground(self) -> Image.Image:
        """Return the background, a little darker towards the bottom."""
        from PIL import Image

        size = (self.width, self.height)
        image = Image.new("RGB", size, self.palette.background)
        gradient = Image.linear_gradient("L").resize(size)  # pyright: ignore[reportUnknownMemberType]
        image.paste(_shaded(self.palette.background), (0, 0, *size), gradient)
        return image

    def _draw(self, draw: ImageDraw.ImageDraw) -> None:
        margin = self._part(0.1)
        foot = self._footer(draw, margin)
        bar, gap = self._part(0.014), self._part(0.06)
        room = foot - margin - bar - gap
        title, subtitle = self._blocks(self.width - 2 * margin, room)
        between = self._part(0.045) if subtitle.lines else 0
        used = bar + gap + title.height + between + subtitle.height
        top = margin + max(0, (foot - margin - used) // 2)
        self._bar(draw, margin, top, bar)
        self._block(draw, title, margin, top + bar + gap, self.palette.foreground)
        below = top + bar + gap + title.height + between
        self._block(draw, subtitle, margin, below, self.palette.faded(0.25))

    def _blocks(self, width: int, room: int) -> tuple[_Block, _Block]:
        share = 0.62 if self.subtitle else 1.0
        large, small = self._part(0.15, MIN_TEXT), self._part(0.04, MIN_TEXT)
        title = _fit(self.face, self.title, _Box(width, int(room * share), large, small))
        if not self.subtitle:
            return title, _Block((), MIN_TEXT)
        smallest = self._part(0.03, MIN_TEXT)
        largest = max(smallest, min(self._part(0.065), round(title.size * 0.6)))
        remaining_height = room - title.height - self._part(0.045)
        return title, _fit(self.face, self.subtitle, _Box(width, remaining_height, largest, smallest))

    def _footer(self, draw: ImageDraw.ImageDraw, margin: int) -> int:
        """Draw the footer; return where the room above it ends."""
        bottom = self.height - margin
        if not self.footer:
            return bottom
        size = self._part(0.038, MIN_TEXT)
        line = " ".join(self.footer.split())
        box = _Box(self.width - 2 * margin, round(size * LINE_HEIGHT) + 1, size, size)
        block = _fit(self.face, line, box)
        self._block(draw, block, margin, bottom - block.height, self.palette.faded(0.45))
        return bottom - block.height - self._part(0.03)

    def _bar(self, draw: ImageDraw.ImageDraw, margin: int, top: int, thickness: int) -> None:
        length = self._part(0.16)
        left = self.width - margin - length if self._from_right() else margin
        draw.rectangle((left, top, left + length, top + thickness - 1), self.palette.accent)

    def _block(self, draw: ImageDraw.ImageDraw, block: _Block, margin: int, top: int, colour: RGB) -> None:
        right = self._from_right()
        left = self.width - margin if right else margin
        font = self.face.at(block.size)
        for number, line in enumerate(block.lines):
            baseline = top + round((number * LINE_HEIGHT + 0.95) * block.size)
            draw.text((left, baseline), line, colour, font, anchor="rs" if right else "ls")

    def _from_right(self) -> bool:
        """Tell whether the title is written from right to left: by its first letter that says."""
        kinds = (unicodedata.bidirectional(character) for character in self.title)
        return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"
