"""The tools that make images, speech and whatever a ComfyUI makes, as the operator set them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.comfyui.endpoint import ComfyServer
from vibe_prefect.tools.comfyui.workflow_tool import comfyui_tool
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.media.openai_media import OpenAIEndpoint, image_tool, speech_tool


@dataclass(frozen=True)
class MediaConfig:
    """Endpoints that the media tools may call. By default: none."""

    images: OpenAIEndpoint | None = None
    """Endpoint for `image_generate`."""

    speech: OpenAIEndpoint | None = None
    """Endpoint for `speech_generate`."""

    voice: str = "alloy"
    """Voice, unless a plan names another one."""

    comfyui: ComfyServer | None = None
    """Server for `comfyui_run`."""

    fetch: FetchConfig = field(default_factory=FetchConfig)
    """Hosts to fetch an image from, when an endpoint answers with an address instead of an image."""


_MAKERS: Mapping[str, Callable[[MediaConfig], Tool]] = {
    "comfyui_run": lambda media: comfyui_tool(media.comfyui),
    "image_generate": lambda media: image_tool(media.images, media.fetch),
    "speech_generate": lambda media: speech_tool(media.speech, media.voice),
}


def media_tool(name: str, config: MediaConfig | None = None) -> Tool:
    """Return the media tool of a name; see `media_tools`."""
    return _MAKERS[name](config or MediaConfig())


def media_tools(config: MediaConfig | None = None) -> tuple[Tool, ...]:
    """Return the media tools, sorted by name.

    A tool without an endpoint is among them: its `missing_setting` says what to set, and a plan that names the tool
    is refused with that text.
    """
    return tuple(media_tool(name, config) for name in _MAKERS)
