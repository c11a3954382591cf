"""Images and speech from any endpoint that speaks OpenAI's protocol, through the `openai` client (extra `media`).

A picture that was paid for is taken in whatever form it comes. One of another format than the path names is converted;
where that would lose something, it is kept under a name that fits. An answer that cannot be used is kept, too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field

from vibe_prefect.core.budget import Spending
from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.templates.texts import walk_templates
from vibe_prefect.tools.base import PAID_POLICY, OutputPath, ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.fetch.http import fetch
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import FunctionTool, ToolInputError, tool
from vibe_prefect.tools.media.openai_endpoint import OPENAI, Answer, MediaCall, OpenAIEndpoint
from vibe_prefect.tools.media.packed import is_address, packed_in, revised_prompt_in, unpacked
from vibe_prefect.tools.media.picture_files import (
    IMAGE_FORMATS,
    PictureFile,
    PictureFileError,
    converted,
    kept_as_it_is,
    read_picture_file,
)
from vibe_prefect.tools.media.sounds import AUDIO_FORMATS, AUDIO_TYPES, kind_of, sound_in
from vibe_prefect.tools.provenance import claim_with_sidecar, provenance_of, write_with_provenance
from vibe_prefect.tools.secrecy.key_sources import named_source, no_key
from vibe_prefect.tools.workspace import FileRef, Workspace

if TYPE_CHECKING:
    import openai

__all__ = ["OPENAI", "OpenAIEndpoint", "image_tool", "speech_tool"]

_INSTALLED = find_spec("openai") is not None and find_spec("PIL") is not None
MISSING = None if _INSTALLED else "pip install 'vibe-prefect[media]'"
"""The command that installs what the tools lack. `openai` itself is imported by the first call: it takes 0.5 s."""

VERSION = "1"
"""Changes when what the tools make of the same answer does."""

MAX_TEXT = 32_000
"""The longest prompt or text to speak, in characters."""

PRICED_CHARACTERS = 1_000
"""Characters of speech that a price is for."""

_PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_"
_IMAGES, _SPEECH = f"{_PREFIX}IMAGES", f"{_PREFIX}SPEECH"

Path = Annotated[OutputPath, Field(min_length=1, max_length=1_000)]
Model = Annotated[str, Field(min_length=1, max_length=200)]

logger = logging.getLogger(__name__)


class ImageRef(FileRef):
    """Output of `image_generate`."""

    width: int
    """Pixels."""

    height: int
    """Pixels."""


def image_tool(endpoint: OpenAIEndpoint | None, fetching: FetchConfig) -> FunctionTool:
    """Return the tool `image_generate`.

    Args:
        endpoint: Whom to ask; `None` where the operator named nobody.
        fetching: Where an image may be fetched from, when the answer is an address and no image.
    """

    @tool(name="image_generate", category=ToolCategory.IMAGE, version=_version(endpoint))
    async def image_generate(  # noqa: PLR0913 - the tool's inputs
        prompt: Annotated[
            str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S", description="What the image shows.")
        ],
        context: ToolContext,
        path: Annotated[
            Path,
            Field(
                description="Where to write, below the run's output folder; ends with `.png`, `.jpg`, `.jpeg` or "
                "`.webp`."
            ),
        ] = "{{ node_id }}.png",
        size: Annotated[
            str | None,
            Field(pattern=r"^(auto|\d{2,4}x\d{2,4})$", description="Such as `1024x1024`; the model decides."),
        ] = None,
        quality: Annotated[str | None, Field(pattern=r"^[a-z]{1,20}$", description="In the model's own words.")] = None,
        model: Annotated[Model | None, Field(description="One of the models that the operator allows.")] = None,
    ) -> ImageRef | ToolResult:
        """Make an image from a description, with a model that the operator chose.

        Raises:
            ToolInputError: The path has another suffix, or the model is not allowed.
            ToolError: The server refused, failed, or answered with something else than such an image.
            OutsideRootError: The path leaves the output folder.
            PathTakenError: Another node of the run has written the file.
        """
        from anyio.to_thread import run_sync

        call = MediaCall("image_generate", _configured(endpoint, "image_generate"), f"{_IMAGES}_PRICE")
        suffix = _suffix(path, IMAGE_FORMATS, call.tool)
        workspace = workspace_of(context, call.tool)
        claim_with_sidecar(workspace, path)
        chosen = call.model(model)
        request = {"prompt": prompt, "model": chosen, **_given(size=size, quality=quality)}
        if suffix != ".png":
            request["output_format"] = IMAGE_FORMATS[suffix].lower()
        async with call.paid(context, request, 1, _draw) as answer:
            content = await _image_bytes(call, answer, _Target(workspace, path), fetching, context)
            facts = provenance_of(context, call.tool, VERSION, model=chosen)
            destination = _Target(workspace, path, facts)
            ref, changes = await run_sync(_write_picture, call, content, destination, IMAGE_FORMATS[suffix])
        return ToolResult(True, ref, metadata=_metadata(answer) | changes)

    def most_cost(inputs: Mapping[str, Any]) -> Spending:
        return Spending(0, _price(endpoint, inputs, 1))

    image_generate.state(most_cost=most_cost)
    return _equipped(image_generate, endpoint, _IMAGES)


def speech_tool(endpoint: OpenAIEndpoint | None, voice: str = "alloy") -> FunctionTool:
    """Return the tool `speech_generate`.

    Args:
        endpoint: Whom to ask; `None` where the operator named nobody.
        voice: Who speaks unless a plan says otherwise.
    """

    @tool(name="speech_generate", category=ToolCategory.AUDIO, version=_version(endpoint, voice))
    async def speech_generate(  # noqa: PLR0913 - the tool's inputs
        text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S", description="What to say.")],
        context: ToolContext,
        path: Annotated[
            Path,
            Field(
                description="Where to write, below the run's output folder; its suffix is the format: `.mp3`, `.wav`, "
                "`.flac`, `.opus`, `.ogg` (Opus too) or `.aac`."
            ),
        ] = "{{ node_id }}.mp3",
        voice: Annotated[str, Field(max_length=100, pattern=r"^[\w.-]+$", description="Who speaks.")] = voice,
        speed: Annotated[float | None, Field(ge=0.25, le=4.0, description="1 is the voice's own.")] = None,
        instructions: Annotated[str | None, Field(max_length=4_000, description="How to say it.")] = None,
        model: Annotated[Model | None, Field(description="One of the models that the operator allows.")] = None,
    ) -> FileRef | ToolResult:
        """Say a text, with a model that the operator chose.

        Raises:
            ToolInputError: The path has another suffix, or the model is not allowed.
            ToolError: The server refused, failed, or answered with something else than such audio.
            OutsideRootError: The path leaves the output folder.
            PathTakenError: Another node of the run has written the file.
        """
        from anyio.to_thread import run_sync

        call = MediaCall("speech_generate", _configured(endpoint, "speech_generate"), f"{_SPEECH}_PRICE")
        kind = AUDIO_FORMATS[_suffix(path, AUDIO_FORMATS, call.tool)]
        workspace = workspace_of(context, call.tool)
        claim_with_sidecar(workspace, path)
        chosen = call.model(model)
        request = {"input": text, "model": chosen, "voice": voice, "response_format": kind}
        request |= _given(speed=speed, instructions=instructions)
        async with call.paid(context, request, len(text) / PRICED_CHARACTERS, _speak) as answer:
            facts = provenance_of(context, call.tool, VERSION, model=chosen, voice=voice)
            ref, changes = await run_sync(_write_sound, call, answer, _Target(workspace, path, facts), kind)
        call_facts = {"model": chosen, "voice": voice, "characters": len(text), "usage": answer.usage}
        return ToolResult(True, ref, metadata=call_facts | changes)

    def most_cost(inputs: Mapping[str, Any]) -> Spending:
        text = inputs.get("text")
        is_literal = isinstance(text, str) and not walk_templates(text)
        return Spending(0, _price(endpoint, inputs, (len(str(text)) if is_literal else MAX_TEXT) / PRICED_CHARACTERS))

    speech_generate.state(most_cost=most_cost)
    return _equipped(speech_generate, endpoint, _SPEECH)


def _version(endpoint: OpenAIEndpoint | None, *others: str) -> str:
    """Return what enters keys: another default model or voice means another result."""
    return " ".join([VERSION, *(endpoint.models[:1] if endpoint else ()), *others])


def _price(endpoint: OpenAIEndpoint | None, inputs: Mapping[str, Any], amount: float) -> float | None:
    """Return what so much of it costs by the model that the inputs name; `None` where the price is not known."""
    if endpoint is None:
        return None
    price = endpoint.price(str(inputs.get("model") or endpoint.models[0]))
    return None if price is None else price * amount


def _equipped(tool: FunctionTool, endpoint: OpenAIEndpoint | None, settings: str) -> FunctionTool:
    """Return a tool that says what it lacks, with the policy of paid calls.

    Args:
        tool: The tool.
        endpoint: Whom it asks.
        settings: How the environment variables of its settings begin.
    """
    tool.state(missing_extra=MISSING, default_policy=PAID_POLICY, price_setting=f"{settings}_PRICE")
    if endpoint is None:
        tool.state(missing_setting=f"name the models that may be used in {settings}_MODELS")
    elif endpoint.key is no_key and endpoint.base_url.rstrip("/") == OPENAI:
        tool.state(missing_setting=f"say in {settings}_KEY where OpenAI's key is, such as env:OPENAI_API_KEY")
    else:
        tool.state(key_sources=named_source(endpoint.key_place, f"{settings}_KEY"))
    return tool


def _configured(endpoint: OpenAIEndpoint | None, name: str) -> OpenAIEndpoint:
    if MISSING is not None:
        raise ToolInputError(f"{name} needs openai and Pillow, which are not both installed: {MISSING}")
    if endpoint is None or not endpoint.models:
        raise ToolError(f"{name}: the operator has named no model that may be used", retryable=False)
    return endpoint


def _suffix(path: str, formats: dict[str, Any], name: str) -> str:
    for suffix in formats:
        if path.lower().endswith(suffix):
            return suffix
    raise ToolInputError(f"{name}: path {path!r} ends with none of {', '.join(formats)}")


def _given(**inputs: Any) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if value is not None}


async def _draw(client: openai.AsyncOpenAI, request: dict[str, Any]) -> Any:
    return await cast("Any", client.images.with_raw_response).generate(**request)


async def _speak(client: openai.AsyncOpenAI, request: dict[str, Any]) -> Any:
    return await cast("Any", client.audio.speech.with_raw_response).create(**request)


@dataclass(frozen=True, slots=True)
class _Target:
    """Destination of a file, with its provenance."""

    workspace: Workspace
    path: str
    facts: Mapping[str, str] | None = None

    def write(self, content: bytes, suffix: str | None, mime: str | None) -> FileRef:
        """Write a file with its provenance; with another suffix where one is given."""
        path = str(PurePosixPath(self.path).with_suffix(suffix)) if suffix else self.path
        return write_with_provenance(self.workspace, path, content, mime, self.facts or {})


async def _image_bytes(
    call: MediaCall, answer: Answer, target: _Target, fetching: FetchConfig, context: ToolContext
) -> bytes:
    """Return the picture in an answer: packed in its JSON, at the address that stands there, or the answer itself."""
    body = answer.body
    if body is None and not _is_text(answer.content):
        return answer.content
    packed = packed_in(body)
    if packed is None:
        json_note = "is no JSON, and " if body is None else ""
        raise call.error(f"the answer {json_note}holds no image: {shorten(answer.content.decode(errors='replace'))}")
    if is_address(packed):
        return (await fetch(packed.strip(), fetching, named=False, context=context)).content
    try:
        return unpacked(packed)
    except ValueError as error:
        reason = f"the answer's image cannot be unpacked: {error}"
        raise call.rejected(target.workspace, target.path, packed.encode(), reason, ".txt") from error


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _write_picture(call: MediaCall, content: bytes, target: _Target, expected: str) -> tuple[ImageRef, dict[str, Any]]:
    """Write a picture, in the format that its path names where that loses nothing; return what was changed, too."""
    try:
        picture = read_picture_file(content)
        reason_kept = None if picture.format == expected else kept_as_it_is(picture, expected)
        result = picture if reason_kept or picture.format == expected else converted(picture, expected)
        ref = target.write(result.content, picture.suffix if reason_kept else None, None)
    except (PictureFileError, ToolError) as error:
        raise call.rejected(target.workspace, target.path, content, str(error), ".bin") from error
    return ImageRef(**ref, width=result.width, height=result.height), _changed(picture, result, ref, reason_kept)


def _changed(picture: PictureFile, result: PictureFile, ref: FileRef, reason_kept: str | None) -> dict[str, Any]:
    if reason_kept is not None:
        logger.warning(
            "The server answered with a %s image; it is kept as %r: %s", picture.format, ref["path"], reason_kept
        )
        return {"answered_format": picture.format, "kept_under_own_suffix": reason_kept}
    if result is not picture:
        logger.info("The server answered with a %s image; it was converted for %r", picture.format, ref["path"])
        return {"answered_format": picture.format, "converted_to": result.format}
    return {}


def _write_sound(call: MediaCall, answer: Answer, target: _Target, expected: str) -> tuple[FileRef, dict[str, Any]]:
    """Write a sound; one of another format than its path names is kept under a suffix that fits."""
    content = sound_in(answer.content)
    if content is None:
        begin = shorten(answer.content[:40])
        reason = f"the answer is not a {expected} file, nor another that is known; it begins with {begin}"
        raise call.rejected(target.workspace, target.path, answer.content, reason, ".bin")
    kind = kind_of(content)
    assert kind is not None
    if kind == expected:
        return target.write(content, None, AUDIO_TYPES[kind]), {}
    ref = target.write(content, f".{kind}", AUDIO_TYPES[kind])
    logger.warning("The server answered with %s in place of %s; it is kept as %r", kind, expected, ref["path"])
    reason = f"the server answered with {kind} in place of {expected}, which is not converted"
    return ref, {"answered_format": kind, "kept_under_own_suffix": reason}


def _metadata(answer: Answer) -> dict[str, Any]:
    facts: dict[str, Any] = {"model": answer.usage["model"], "usage": answer.usage}
    revised = revised_prompt_in(answer.body)
    return facts | ({"revised_prompt": revised} if revised else {})
