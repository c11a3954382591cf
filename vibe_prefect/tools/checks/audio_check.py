"""The tool that checks a sound: length, rate, channels, level (extra `media` for all but WAV)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from math import log10
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field

from vibe_prefect.tools.base import ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.checks.verdicts import Check, Report, bounds, check, verdict
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import ToolInputError, tool
from vibe_prefect.tools.media.wav import Wav, WavError, is_wav, peak, read_wav

_MISSING = None if find_spec("mutagen") is not None else "pip install 'vibe-prefect[media]'"

MAX_WAV = 1_000_000_000
"""The largest WAV file whose level is measured, in bytes."""

SILENCE = -120.0
"""Level in dB below full scale that stands for silence and anything softer."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[int, Field(ge=1)]


class AudioReport(Report):
    """Output of `check_audio`."""

    path: str
    """The sound, relative to the run's output folder."""

    format: str
    """Such as `WAV` or `MP3`."""

    seconds: float
    """Duration in seconds, to the millisecond."""

    sample_rate: int
    """Samples a second."""

    channels: int
    """1 is mono, 2 stereo."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """Facts in a file's headers."""

    format: str
    seconds: float
    sample_rate: int
    channels: int
    wav: Wav | None = None


@tool(name="check_audio", category=ToolCategory.ANALYSIS, version="1")
def check_audio(  # noqa: PLR0913 - the tool's inputs
    path: Annotated[str, Field(min_length=1, max_length=1_000, description="A sound that this run has made.")],
    context: ToolContext,
    min_seconds: Annotated[Seconds | None, Field(description="At least so long.")] = None,
    max_seconds: Annotated[Seconds | None, Field(description="At most so long.")] = None,
    min_sample_rate: Annotated[Rate | None, Field(description="Samples a second.")] = None,
    channels: Annotated[Rate | None, Field(description="Exactly so many: 1 is mono, 2 stereo.")] = None,
    formats: Annotated[list[str] | None, Field(min_length=1, description="Allowed ones, such as `WAV`, `MP3`.")] = None,
    min_peak: Annotated[
        float | None,
        Field(
            ge=-120,
            le=0,
            description="The loudest sample, in dB below full scale, such as -40. Only for WAV.",
        ),
    ] = None,
) -> AudioReport | ToolResult:
    """Check a sound's length, rate, channels and level; say what was found and what was expected.

    The length of an MP3 without a header that states it is an estimate from its bit rate.

    Returns:
        The report; as a failed `ToolResult` that carries it when a check did not pass.

    Raises:
        ToolInputError: The level of another format than WAV, or of packed samples, was asked for, or the extra
            `media` is needed and not installed.
        ToolError: There is no such file.
        OutsideRootError: The path leaves the output folder.
    """
    source = workspace_of(context, "check_audio").made(path)
    heard = _listen(source)
    if isinstance(heard, str):
        failed = [check("readable", False, f"{path!r} is not a sound that can be read: {heard}")]
        return verdict(Report(passed=False, checks=failed), failed)
    checks = [
        check("readable", heard.seconds > 0, f"{heard.format}, {heard.seconds:g} seconds"),
        *bounds("seconds", heard.seconds, "seconds", min_seconds, max_seconds),
        *bounds("sample_rate", heard.sample_rate, "samples a second", min_sample_rate, None),
        *([] if channels is None else [_exactly("channels", heard.channels, channels)]),
        *([] if formats is None else [_one_of("formats", heard.format, formats)]),
        *([] if min_peak is None else [_peak_check(source, heard, min_peak)]),
    ]
    report = AudioReport(
        passed=all(outcome["passed"] for outcome in checks),
        checks=checks,
        path=path,
        format=heard.format,
        seconds=heard.seconds,
        sample_rate=heard.sample_rate,
        channels=heard.channels,
    )
    return verdict(report, checks)


check_audio.spec.examples.append({"path": "speech.mp3", "min_seconds": 5, "max_seconds": 60})


def _listen(source: Path) -> _Heard | str:
    """Return what a file's headers say, or why they cannot be read."""
    with source.open("rb") as file:
        start = file.read(12)
    if not is_wav(start):
        return _tagged(source)
    try:
        wav = read_wav(source)
    except WavError as error:
        return str(error)
    return _Heard("WAV", round(wav.seconds, 3), wav.sample_rate, wav.channels, wav)


def _tagged(source: Path) -> _Heard | str:
    if _MISSING is not None:
        raise ToolInputError(f"check_audio needs mutagen for other files than WAV, and it is not installed: {_MISSING}")
    import mutagen

    try:
        tagged = cast("Any", mutagen).File(source)
    except (mutagen.MutagenError, ValueError, ArithmeticError, LookupError) as error:
        return str(error) or type(error).__name__
    if tagged is None or tagged.info is None:
        return "its format is not known"
    length, rate = float(getattr(tagged.info, "length", 0.0)), int(getattr(tagged.info, "sample_rate", 0) or 48_000)
    name = type(tagged).__name__.upper().removeprefix("OGG")
    return _Heard(name.removesuffix("E"), round(length, 3), rate, int(getattr(tagged.info, "channels", 1)))


def _exactly(name: str, value: int, expected: int) -> Check:
    return check(name, value == expected, f"{value}, {expected} expected")


def _one_of(name: str, value: str, allowed: list[str]) -> Check:
    return check(name, value in [entry.upper() for entry in allowed], f"{value}, {' or '.join(allowed)} expected")


def _peak_check(source: Path, heard: _Heard, least: float) -> Check:
    if heard.wav is None or heard.wav.size > MAX_WAV:
        raise ToolInputError(f"check_audio: min_peak is measured of WAV files up to {MAX_WAV:,} bytes only")
    try:
        loudest = peak(source, heard.wav)
    except WavError as error:
        raise ToolInputError(f"check_audio: min_peak cannot be measured: {error}") from error
    level = max(SILENCE, 20 * log10(loudest)) if loudest else SILENCE
    return check("min_peak", level >= least, f"the loudest sample is at {level:.1f} dB, at least {least:g} expected")
