"""The tool that checks an image: size, shape, format, colours (extra `images`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from vibe_prefect.tools.base import ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.checks.colours import RGB, contrast, difference, hexadecimal
from vibe_prefect.tools.checks.verdicts import Check, Report, bounds, check, verdict
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import ToolInputError, tool

if TYPE_CHECKING:
    from PIL import Image

    from vibe_prefect.tools.media.pictures import Picture

_MISSING = None if find_spec("PIL") is not None else "pip install 'vibe-prefect[images]'"

DOMINANT = 16
"""Number of colours that an image is reduced to."""

SAMPLE = 256
"""The longer side, in pixels, of the reduced image whose colours are counted."""

MIN_SHARE = 0.0005
"""The smallest part of an image that makes a colour count: the accent of a title card has a thousandth."""

FLAT = 2.0
"""The standard deviation, of 255, up to which an image counts as blank."""

Size = Annotated[int, Field(ge=1)]
Colour = Annotated[str, Field(min_length=1, max_length=100)]


class ImageReport(Report):
    """Output of `check_image`."""

    path: str
    """The image, relative to the run's output folder."""

    width: int
    """Pixels, as the image is shown: EXIF orientation is obeyed."""

    height: int
    """Pixels, likewise."""

    format: str
    """Such as `PNG`."""

    mode: str
    """Such as `RGB`."""

    colours: list[str]
    """Its dominant colours as `#rrggbb`, the most frequent first."""


@tool(name="check_image", category=ToolCategory.ANALYSIS, version="2", missing_extra=_MISSING)
def check_image(  # noqa: PLR0913 - the tool's inputs
    path: Annotated[str, Field(min_length=1, max_length=1_000, description="An image that this run has made.")],
    context: ToolContext,
    min_width: Annotated[Size | None, Field(description="Pixels.")] = None,
    max_width: Annotated[Size | None, Field(description="Pixels.")] = None,
    min_height: Annotated[Size | None, Field(description="Pixels.")] = None,
    max_height: Annotated[Size | None, Field(description="Pixels.")] = None,
    aspect: Annotated[
        str | None,
        Field(pattern=r"^[1-9]\d{0,4}:[1-9]\d{0,4}$", description="Width to height, such as `16:9`; 1 % off."),
    ] = None,
    formats: Annotated[list[str] | None, Field(min_length=1, description="Allowed ones, such as `PNG`.")] = None,
    modes: Annotated[list[str] | None, Field(min_length=1, description="Allowed ones, such as `RGB`.")] = None,
    max_bytes: Annotated[Size | None, Field(description="The largest file, in bytes.")] = None,
    colours: Annotated[
        list[Colour] | None, Field(max_length=50, description="Each must be near one of the dominant colours.")
    ] = None,
    palette: Annotated[
        list[Colour] | None,
        Field(min_length=1, max_length=50, description="Nearly all of the image must be near one of these."),
    ] = None,
    palette_share: Annotated[float, Field(gt=0, le=1, description="How much of it: 0.9 is nine tenths.")] = 0.9,
    tolerance: Annotated[
        float, Field(ge=0, le=150, description="How far off is still near, as delta E: 2 can just be seen.")
    ] = 20.0,
    min_contrast: Annotated[
        float | None, Field(ge=1, le=21, description="Between its lightest and darkest dominant colour (WCAG ratio).")
    ] = None,
    not_blank: Annotated[bool, Field(description="Whether an image of one colour fails.")] = True,
) -> ImageReport | ToolResult:
    """Check an image's size, shape, format and colours; say what was found and what was expected.

    What is measured is what is shown: the first frame, turned as its EXIF orientation says, in eight bits a channel,
    on white where it is transparent.

    Returns:
        The report; as a failed `ToolResult` that carries it when a check did not pass.

    Raises:
        ToolInputError: Pillow is not installed, or a colour is not one.
        ToolError: There is no such file.
        OutsideRootError: The path leaves the output folder.
    """
    if _MISSING is not None:
        raise ToolInputError(f"check_image needs Pillow, which is not installed: {_MISSING}")
    named_colours, allowed = _parsed("colours", colours), _parsed("palette", palette)
    source = workspace_of(context, "check_image").made(path)
    image = _look(source)
    if isinstance(image, str):
        failed = [check("readable", False, f"{path!r} is not an image that can be read: {image}")]
        return verdict(Report(passed=False, checks=failed), failed)
    checks = [
        *bounds("width", image.width, "pixels", min_width, max_width),
        *bounds("height", image.height, "pixels", min_height, max_height),
        *bounds("bytes", source.stat().st_size, "bytes", None, max_bytes),
        *_shape(image, aspect),
        *_member("formats", image.format, formats),
        *_member("modes", image.mode, modes),
        *_near("colours", named_colours, image, tolerance),
        *_within(allowed, image, tolerance, palette_share),
        *_contrast(image, min_contrast),
        *(
            [check("not_blank", image.spread > FLAT, f"its values differ by {image.spread:.1f} of 255")]
            if not_blank
            else []
        ),
    ]
    if not checks:
        raise ToolInputError("check_image: there is nothing to check; give at least one input besides path")
    report = ImageReport(
        passed=all(outcome["passed"] for outcome in checks),
        checks=checks,
        path=path,
        width=image.width,
        height=image.height,
        format=image.format,
        mode=image.mode,
        colours=[hexadecimal(colour) for colour in image.dominant],
    )
    return verdict(report, checks)


check_image.spec.examples.append({"path": "card.png", "min_width": 1200, "aspect": "40:21"})


@dataclass(frozen=True, slots=True)
class _Seen:
    """Size, format and colours of an image."""

    width: int
    height: int
    format: str
    mode: str
    dominant: dict[RGB, float]
    spread: float


def _parsed(name: str, colours: list[str] | None) -> list[RGB]:
    return [_colour(f"{name}[{index}]", colour) for index, colour in enumerate(colours or ())]


def _colour(field: str, value: str) -> RGB:
    from PIL import ImageColor  # here and below: a plan is checked without Pillow, which takes long to import

    try:
        red, green, blue = ImageColor.getrgb(value)[:3]
    except ValueError:
        raise ToolInputError(
            f"check_image: {field} {value!r} is not a colour; write it as '#102a43' or as a CSS name such as 'navy'"
        ) from None
    return red, green, blue


def _look(source: Path) -> _Seen | str:
    """Return what an image shows, or why it cannot be read."""
    from vibe_prefect.tools.media.pictures import PictureError, read_picture

    try:
        return _seen(read_picture(source))
    except PictureError as error:
        return str(error)


def _seen(picture: Picture) -> _Seen:
    from PIL import Image, ImageStat

    flat = picture.on_white()
    width, height = flat.size
    spread = max(ImageStat.Stat(flat).stddev)
    flat.thumbnail((SAMPLE, SAMPLE), Image.Resampling.NEAREST)  # any other would mix colours that are not there
    return _Seen(width, height, picture.format, picture.mode, _dominant(flat), spread)


def _dominant(image: Image.Image) -> dict[RGB, float]:
    """Return an image's colours with their shares, the most frequent first."""
    from PIL import Image

    # Not the default, median cut, which spends all colours on a large gradient and none on the text before it.
    reduced = image.quantize(DOMINANT, method=Image.Quantize.FASTOCTREE).convert("RGB")
    counts = cast("list[tuple[int, RGB]]", reduced.getcolors(DOMINANT * 2) or [])
    total = image.width * image.height
    shares = {colour: count / total for count, colour in sorted(counts, reverse=True)}
    return {colour: share for colour, share in shares.items() if share >= MIN_SHARE}


def _shape(image: _Seen, aspect: str | None) -> Iterator[Check]:
    if aspect is not None:
        width, height = map(int, aspect.split(":"))
        off = abs(image.width / image.height / (width / height) - 1)
        yield check("aspect", off <= 0.01, f"{image.width} x {image.height} pixels, {aspect} expected")


def _member(name: str, value: str, allowed: list[str] | None) -> Iterator[Check]:
    if allowed is not None:
        fits = value.upper() in [entry.upper() for entry in allowed]
        yield check(name, fits, f"{value}, {' or '.join(allowed)} expected")


def _near(name: str, colours: list[RGB], image: _Seen, tolerance: float) -> Iterator[Check]:
    for colour in colours:
        nearest = min(image.dominant, key=lambda dominant: difference(dominant, colour))
        off = difference(nearest, colour)
        detail = f"{hexadecimal(colour)}: the nearest is {hexadecimal(nearest)}, {off:.0f} off, at most {tolerance:g}"
        yield check(name, off <= tolerance, detail)


def _within(allowed: list[RGB], image: _Seen, tolerance: float, least: float) -> Iterator[Check]:
    if not allowed:
        return
    distant = {
        colour: share
        for colour, share in image.dominant.items()
        if min(difference(colour, palette_colour) for palette_colour in allowed) > tolerance
    }
    share = 1 - sum(distant.values()) / sum(image.dominant.values())
    note = f"; not {', '.join(map(hexadecimal, distant))}" if distant else ""
    yield check("palette", share >= least, f"{share:.0%} is near the palette, at least {least:.0%} expected{note}")


def _contrast(image: _Seen, least: float | None) -> Iterator[Check]:
    if least is not None:
        greatest = max(contrast(light, dark) for light in image.dominant for dark in image.dominant)
        yield check("min_contrast", greatest >= least, f"contrast {greatest:.1f}, at least {least:g} expected")
