"""`image_card`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFont

from vibe_prefect.errors import OutsideRootError
from vibe_prefect.tools import ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.base import ToolTraits
from vibe_prefect.tools.builtin.title_card import image_card

BACKGROUND = (0, 0, 0)


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    (tmp_path / "in").mkdir()
    return ToolContext(workspace=Workspace(tmp_path / "in", tmp_path / "out"), node_id="card")


async def draw(context: ToolContext, **inputs: Any) -> ToolResult:
    return await image_card.execute(inputs, context)


def ink(path: Path) -> tuple[int, int, int, int]:
    """Return the box around everything that is not background, which must be black."""
    with Image.open(path) as image:
        box = image.convert("L").getbbox()
    assert box is not None
    return box


async def test_a_card_is_a_png_of_the_size_asked_for(context: ToolContext, tmp_path: Path) -> None:
    result = await draw(context, title="Release 1.0", width=400, height=210, path="a/card.png")
    content = (tmp_path / "out" / "a" / "card.png").read_bytes()
    assert result.success
    assert result.metadata == {}
    assert {**result.output, "sha256": ""} == {
        "path": "a/card.png",
        "mime": "image/png",
        "sha256": "",
        "bytes": len(content),
        "width": 400,
        "height": 210,
    }
    with Image.open(BytesIO(content)) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (400, 210), "RGB")


async def test_the_same_inputs_give_the_same_bytes(context: ToolContext) -> None:
    first = await draw(context, title="Same", subtitle="again", path="1.png")
    second = await draw(context, title="Same", subtitle="again", path="2.png")
    other = await draw(context, title="Other", subtitle="again", path="3.png")
    assert first.output["sha256"] == second.output["sha256"] != other.output["sha256"]


async def test_the_colours_are_those_asked_for(context: ToolContext, tmp_path: Path) -> None:
    await draw(context, title="H", background="black", foreground="#0f0", accent="rgb(255, 0, 0)")
    with Image.open(tmp_path / "out" / "card.png") as image:
        colours = image.getcolors(100_000)
    assert colours is not None
    assert {BACKGROUND, (0, 255, 0), (255, 0, 0)} <= {colour for _, colour in colours}


@pytest.mark.parametrize(
    "texts",
    [
        {"title": "Hi"},
        {"title": "word " * 2_000},
        {"title": "W" * 10_000},
        {"title": "line\n" * 500},
        {"title": "A title", "subtitle": "sub " * 2_500},
        {"title": "W" * 10_000, "subtitle": "W" * 10_000, "footer": "W" * 2_000},
    ],
    ids=["short", "long", "one-word", "lines", "subtitle", "all"],
)
@pytest.mark.parametrize("size", [(1200, 630), (1080, 1920), (64, 64), (64, 1000), (1000, 64)])
async def test_text_never_reaches_the_margin(
    context: ToolContext, tmp_path: Path, texts: dict[str, str], size: tuple[int, int]
) -> None:
    width, height = size
    await draw(context, width=width, height=height, background="black", **texts)
    left, top, right, bottom = ink(tmp_path / "out" / "card.png")
    margin = round(min(size) * 0.1) * 0.6  # letters may lean over their box a little
    assert left >= margin
    assert top >= margin
    assert right <= width - margin
    assert bottom <= height - margin


async def test_a_short_title_is_larger_than_a_long_one(context: ToolContext, tmp_path: Path) -> None:
    heights: list[int] = []
    for title in ("Hi", "A title of very many words that must become smaller " * 12):
        await draw(context, title=title, background="black", accent="black")
        with Image.open(tmp_path / "out" / "card.png") as image:
            grey = image.convert("L")
        inked = [grey.crop((0, row, grey.width, row + 1)).getbbox() is not None for row in range(grey.height)]
        start = inked.index(True)
        heights.append(inked[start:].index(False))
    assert heights[0] > 1.5 * heights[1]


@pytest.mark.parametrize(
    ("title", "metadata"),
    [
        ("Plain ASCII & such", {}),
        ("Zo\u00eb", {"respelled": ["ë"]}),
        ("Zoe\u0308", {"respelled": ["ë"]}),
        ("a \u2014 b \u2022 c", {"respelled": ["\u2014", "\u2022"]}),
        ("Straße Łódź", {"respelled": ["ß", "Ł", "ó", "ź"]}),
        ("Launch 🚀🚀", {"dropped": ["🚀"]}),
        ("👩\u200d💻 code", {"dropped": ["👩", "\u200d", "💻"]}),
        ("\u202eabc\x00", {"dropped": ["\u202e", "\x00"]}),
    ],
)
async def test_what_the_font_lacks_is_respelled_or_dropped_and_named(
    context: ToolContext, title: str, metadata: dict[str, list[str]]
) -> None:
    assert (await draw(context, title=title)).metadata == metadata


async def test_a_respelled_title_looks_like_its_plain_form(context: ToolContext) -> None:
    accented = await draw(context, title="Zoë 🚀")
    plain = await draw(context, title="Zoe")
    assert accented.output["sha256"] == plain.output["sha256"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"title": "日本語"}, "the font has no glyphs for these letters of title: 日 本 語; give"),
        ({"title": "x", "subtitle": "שלום"}, "the font has no glyphs for these letters of sub"),
        ({"title": "".join(map(chr, range(0x4E00, 0x4E40)))}, "the font has no glyphs for"),
        ({"title": "🚀"}, "title '🚀' has nothing that can be drawn"),
        ({"title": " \n\t"}, "title ' \\n\\t' has nothing that can be drawn"),
        ({"title": ""}, "title: "),
        ({"title": "x" * 20_001}, "title: "),
        ({"title": "x", "background": "nope"}, "background 'nope' is not a colour; write it as"),
        ({"title": "x", "foreground": "#12"}, "foreground '#12' is not a colour"),
        ({"title": "x", "accent": "#" * 101}, "accent: "),
        ({"title": "x", "foreground": "#102A43"}, "foreground '#102A43' and background '#102a43'"),
        ({"title": "x", "width": 63}, "width: "),
        ({"title": "x", "height": 8193}, "height: "),
        ({"title": "x", "width": 8192, "height": 8192}, "8192 x 8192 is 67.1 megapixels; at most"),
        ({"title": "x", "path": "card.jpg"}, "path 'card.jpg' does not end with .png"),
        ({"title": "x", "font": "none.ttf"}, "font 'none.ttf' cannot be used: "),
        ({"title": "x", "font": "fake.ttf"}, "font 'fake.ttf' cannot be used: "),
    ],
)
async def test_what_cannot_be_drawn_is_refused(
    context: ToolContext, tmp_path: Path, inputs: dict[str, Any], message: str
) -> None:
    (tmp_path / "in" / "fake.ttf").write_text("not a font")
    with pytest.raises(ToolInputError) as caught:
        await draw(context, **inputs)
    assert str(caught.value).startswith(f"image_card: {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inputs", [{"path": "../card.png"}, {"font": "/etc/hostname"}])
async def test_nothing_outside_the_roots_is_touched(
    context: ToolContext, tmp_path: Path, inputs: dict[str, str]
) -> None:
    with pytest.raises(OutsideRootError):
        await draw(context, title="x", **inputs)
    assert not (tmp_path / "card.png").exists()


async def test_a_font_of_ones_own_is_used(context: ToolContext, tmp_path: Path) -> None:
    bundled = ImageFont.load_default(size=10)
    assert isinstance(bundled, ImageFont.FreeTypeFont)
    (tmp_path / "in" / "mine.ttf").write_bytes(bundled.font_bytes)
    assert (await draw(context, title="Mine", font="mine.ttf")).success


def test_the_tool_can_run_here() -> None:
    assert ToolTraits.of(image_card).missing_extra is None


WITHOUT_PILLOW = """
import asyncio, sys
sys.modules["PIL"] = None
from vibe_prefect.tools import default_registry
card = default_registry().get("image_card")
print(card.missing_extra)
try:
    asyncio.run(card.execute({"title": "x"}))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_without_pillow_the_tool_is_listed_and_says_what_to_install() -> None:
    python = shutil.which(sys.executable) or sys.executable
    ran = subprocess.run([python, "-c", WITHOUT_PILLOW], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "pip install 'vibe-prefect[images]'",
        "ToolInputError image_card needs Pillow, which is not installed: pip install 'vibe-prefect[images]'",
    ]
