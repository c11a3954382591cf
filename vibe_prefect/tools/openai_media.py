"""Images and speech from any endpoint that speaks OpenAI's protocol, through the `openai` client (extra `media`)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, cast

import anyio
from anyio.to_thread import run_sync
from pydantic import Field

from vibe_prefect.errors import ToolError, did_you_mean, shorten
from vibe_prefect.tools.base import OutputPath, ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import FunctionTool, ToolInputError, tool
from vibe_prefect.tools.http import RETRYABLE, fetch, retry_after
from vibe_prefect.tools.keysources import named_source, no_key
from vibe_prefect.tools.net import FetchConfig
from vibe_prefect.tools.provenance import claim_with_sidecar, provenance_of, write_with_provenance
from vibe_prefect.tools.secrets import scrubbed
from vibe_prefect.tools.workspace import FileRef

if TYPE_CHECKING:
    import openai

_INSTALLED = find_spec("openai") is not None and find_spec("PIL") is not None
MISSING = None if _INSTALLED else "pip install 'vibe-prefect[media]'"
"""The command that installs what the tools lack. `openai` itself is imported by the first call: it takes 0.5 s."""

VERSION = "1"
"""Changes when what the tools make of the same answer does."""

MAX_PIXELS = 80_000_000
"""The largest image that is taken, in pixels: a little less than where Pillow begins to warn."""

MAX_TEXT = 32_000
"""The longest prompt or text to speak, in characters."""

IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Which format a file name asks for, in Pillow's words."""

_AUDIO_SIGNS: dict[str, tuple[str, str, re.Pattern[bytes]]] = {
    ".mp3": ("mp3", "audio/mpeg", re.compile(rb"ID3|\xff[\xe2-\xff]")),
    ".wav": ("wav", "audio/wav", re.compile(rb"RIFF.{4}WAVE", re.DOTALL)),
    ".flac": ("flac", "audio/flac", re.compile(rb"fLaC")),
    ".opus": ("opus", "audio/ogg", re.compile(rb"OggS")),
    ".ogg": ("opus", "audio/ogg", re.compile(rb"OggS")),
    ".aac": ("aac", "audio/aac", re.compile(rb"\xff[\xf0-\xf9]")),
}
"""By suffix: the protocol's word for the format, the media type, and how such a file begins."""

_SPENT = "insufficient_quota"

OPENAI = "https://api.openai.com/v1"
"""Where OpenAI's own protocol begins."""

_PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_"

Path = Annotated[OutputPath, Field(min_length=1, max_length=1_000)]
Model = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class OpenAIEndpoint:
    """A server that speaks OpenAI's protocol, as the operator names it."""

    models: tuple[str, ...]
    """Models that may be asked for; the first one is asked unless a plan names another of them."""

    base_url: str = OPENAI
    """Where the protocol begins."""

    key: Callable[[], str | None] = no_key
    """Returns the key; asked at each call, in a thread, so that no key is held, kept or shown."""

    key_place: str | None = None
    """Where the operator says that the key is, `env:NAME` or `secret:name`; for messages and dry runs."""

    seconds: float = 180.0
    """How long one call may take."""

    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else to send with each call, such as `{"response_format": "b64_json"}` for models that would otherwise
    answer with an address."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a tool: how its errors are worded."""

    tool: str
    endpoint: OpenAIEndpoint

    def error(self, reason: str, *, retryable: bool = True, wait: float | None = None) -> ToolError:
        return ToolError(f"{self.tool}: {reason}", retryable=retryable, retry_after=wait)

    def model(self, asked: str | None) -> str:
        """Return the model to ask.

        Raises:
            ToolInputError: It is none of the operator's.
        """
        known = self.endpoint.models
        if asked is None or asked in known:
            return asked or known[0]
        hint = did_you_mean(asked, known) or f"; allowed: {', '.join(known)}"
        raise ToolInputError(f"{self.tool}: model {asked!r} is not one that the operator allows{hint}")


class ImageRef(FileRef):
    """What `image_generate` makes."""

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
    async def image_generate(
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
        call = _Call("image_generate", _configured(endpoint, "image_generate"))
        suffix = _suffix(path, IMAGE_FORMATS, call.tool)
        workspace = workspace_of(context, call.tool)
        claim_with_sidecar(workspace, path)
        chosen = call.model(model)
        asked = {"prompt": prompt, "model": chosen, **_given(size=size, quality=quality)}
        if suffix != ".png":
            asked["output_format"] = IMAGE_FORMATS[suffix].lower()
        image, metadata = await _ask_for_image(call, asked)
        content = await _image_bytes(call, image, fetching)
        width, height = _checked_image(call, content, IMAGE_FORMATS[suffix])
        facts = provenance_of(context, call.tool, VERSION, model=chosen)
        ref = await run_sync(write_with_provenance, workspace, path, content, None, facts)
        return ToolResult(True, ImageRef(**ref, width=width, height=height), metadata=metadata)

    return _told(image_generate, endpoint, f"{_PREFIX}IMAGES")


def speech_tool(endpoint: OpenAIEndpoint | None, voice: str = "alloy") -> FunctionTool:
    """Return the tool `speech_generate`.

    Args:
        endpoint: Whom to ask; `None` where the operator named nobody.
        voice: Who speaks unless a plan says otherwise.
    """

    @tool(name="speech_generate", category=ToolCategory.AUDIO, version=_version(endpoint, voice))
    async def speech_generate(
        text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S", description="What to say.")],
        context: ToolContext,
        path: Annotated[
            Path,
            Field(
                description="Where to write, below the run's output folder; its suffix is the format: `.mp3`, `.wav`, "
                "`.flac`, `.opus`, `.ogg` (Opus too) or `.aac`."
            ),
        ] = "{{ node_id }}.mp3",
        voice: Annotated[str, Field(pattern=r"^[\w.-]{1,100}$", description="Who speaks.")] = voice,
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
        call = _Call("speech_generate", _configured(endpoint, "speech_generate"))
        kind, mime, sign = _AUDIO_SIGNS[_suffix(path, _AUDIO_SIGNS, call.tool)]
        workspace = workspace_of(context, call.tool)
        claim_with_sidecar(workspace, path)
        chosen = call.model(model)
        asked = {"input": text, "model": chosen, "voice": voice, "response_format": kind}
        content = await _ask_for_speech(call, asked | _given(speed=speed, instructions=instructions), sign)
        facts = provenance_of(context, call.tool, VERSION, model=chosen, voice=voice)
        ref = await run_sync(write_with_provenance, workspace, path, content, mime, facts)
        return ToolResult(True, ref, metadata={"model": chosen, "voice": voice, "characters": len(text)})

    return _told(speech_generate, endpoint, f"{_PREFIX}SPEECH")


def _version(endpoint: OpenAIEndpoint | None, *others: str) -> str:
    """Return what enters keys: another default model or voice means another result."""
    return " ".join([VERSION, *(endpoint.models[:1] if endpoint else ()), *others])


def _told(made: FunctionTool, endpoint: OpenAIEndpoint | None, settings: str) -> FunctionTool:
    """Return a tool that says what it lacks.

    Args:
        made: The tool.
        endpoint: Whom it asks.
        settings: How the environment variables of its settings begin.
    """
    made.missing_extra = MISSING
    if endpoint is None:
        made.missing_setting = f"name the models that may be used in {settings}_MODELS"
    elif endpoint.key is no_key and endpoint.base_url.rstrip("/") == OPENAI:
        made.missing_setting = f"say in {settings}_KEY where OpenAI's key is, such as env:OPENAI_API_KEY"
    else:
        made.key_sources = named_source(endpoint.key_place, f"{settings}_KEY")
    return made


def _configured(endpoint: OpenAIEndpoint | None, name: str) -> OpenAIEndpoint:
    if MISSING is not None:
        raise ToolInputError(f"{name} needs openai and Pillow, which are not both installed: {MISSING}")
    if endpoint is None or not endpoint.models:
        raise ToolError(f"{name}: the operator has named no model that may be used", retryable=False)
    return endpoint


def _suffix(path: str, known: dict[str, Any], name: str) -> str:
    for suffix in known:
        if path.lower().endswith(suffix):
            return suffix
    raise ToolInputError(f"{name}: path {path!r} ends with none of {', '.join(known)}")


def _given(**inputs: Any) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if value is not None}


async def _ask_for_image(call: _Call, asked: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the image, as the protocol has it, and what is told about it."""
    async with _client(call) as (client, key):
        answer = cast("Any", await client.images.generate(**{**asked, **call.endpoint.options}))
    images = cast("Any", getattr(answer, "data", None))  # of an answer that is no JSON the client makes text
    if not (images and isinstance(images, list)):
        raise call.error(f"the answer holds no image: {shorten(scrubbed(str(answer), (key,)))}")
    return cast("Any", images[0]), _metadata(asked["model"], answer, key)


async def _image_bytes(call: _Call, image: Any, fetching: FetchConfig) -> bytes:
    packed, url = getattr(image, "b64_json", None), getattr(image, "url", None)
    if isinstance(packed, str):
        try:
            return base64.b64decode(packed, validate=True)
        except binascii.Error as error:
            raise call.error(f"the answer's image is no base64: {error}") from error
    if isinstance(url, str):
        return (await fetch(url, fetching, named=False)).content
    raise call.error("the answer holds neither an image nor its address")


def _checked_image(call: _Call, content: bytes, expected: str) -> tuple[int, int]:
    """Return the width and height of an image that is whole and of the format expected."""
    from PIL import Image

    try:
        with Image.open(BytesIO(content)) as image:
            found, (width, height) = image.format, image.size
            if width * height > MAX_PIXELS:
                raise call.error(f"the image has {width} x {height} pixels; at most {MAX_PIXELS:,} are taken")
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise call.error(f"the answer is no image that can be read: {error}") from error
    if found != expected:
        reason = f"the answer is a {found} image, and the path asks for {expected}; name the file by the model's format"
        raise call.error(reason, retryable=False)
    return width, height


def _metadata(model: str, answer: Any, key: str | None) -> dict[str, Any]:
    usage, revised = getattr(answer, "usage", None), getattr(answer.data[0], "revised_prompt", None)
    facts: dict[str, Any] = {"model": model}
    if usage is not None:
        facts["usage"] = usage.model_dump(mode="json", exclude_none=True)
    if isinstance(revised, str):
        facts["revised_prompt"] = scrubbed(revised, (key,))
    return facts


async def _ask_for_speech(call: _Call, asked: dict[str, Any], sign: re.Pattern[bytes]) -> bytes:
    """Return the audio; one that does not begin as it must is an error."""
    async with _client(call) as (client, key):
        answer = await client.audio.speech.create(**{**asked, **call.endpoint.options})
    if sign.match(answer.content):
        return answer.content
    # Hidden before it is cut: a cut in the middle of the key would leave a part that is not found any more.
    said = scrubbed(answer.content[:MAX_TEXT].decode("latin-1"), (key,)).encode("latin-1")
    raise call.error(f"the answer is no {asked['response_format']} file; it begins with {shorten(said[:40])}")


@asynccontextmanager
async def _client(call: _Call) -> AsyncGenerator[tuple[openai.AsyncOpenAI, str | None]]:
    """Yield a client for one call with its key, and turn what goes wrong into a `ToolError` without the key.

    It neither tries again, which is for the run's own policy, nor follows redirects, which could carry the key away.
    """
    import openai

    key = await run_sync(call.endpoint.key)
    try:
        with anyio.fail_after(call.endpoint.seconds):
            async with openai.AsyncOpenAI(
                api_key=key or "none",
                base_url=call.endpoint.base_url,
                max_retries=0,
                timeout=call.endpoint.seconds,
                http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
            ) as client:
                yield client, key
    except (TimeoutError, openai.OpenAIError, ValueError) as error:
        # Not `from error`: the client's own text may hold the key, and a traceback would show it.
        raise _tool_error(call, error, key) from None


def _tool_error(call: _Call, error: Exception, key: str | None) -> ToolError:
    import openai

    match error:
        case openai.APITimeoutError() | TimeoutError():
            return call.error(f"no answer within {call.endpoint.seconds:g} s")
        case openai.APIConnectionError():
            cause = scrubbed(str(error.__cause__ or error), (key,))
            return call.error(f"{call.endpoint.base_url} could not be reached: {cause}")
        case openai.APIStatusError():
            return _status_error(call, error, key)
        case ValueError():
            return call.error(f"the answer is no JSON as it should be: {scrubbed(str(error), (key,))}")
        case _:
            return call.error(scrubbed(str(error), (key,)))


def _status_error(call: _Call, error: openai.APIStatusError, key: str | None) -> ToolError:
    status = error.status_code
    retryable = (status in RETRYABLE or status >= 500) and error.code != _SPENT
    # Hidden before it is cut: a cut in the middle of the key would leave a part that is not found any more.
    said = shorten(scrubbed(error.message, (key,)), 500)
    wait = retry_after(cast("Any", error.response.headers))
    return call.error(f"the server answered {status}: {said}", retryable=retryable, wait=wait)
