"""The tools that make images, speech and whatever a ComfyUI makes, as the operator set them up."""

from __future__ import annotations

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


def media_tools(config: MediaConfig | None = None) -> tuple[Tool, ...]:
    """Return the media tools, sorted by name.

    A tool without an endpoint is among them: its `missing_setting` says what to set, and a plan that names the tool
    is refused with that text.
    """
    media = config or MediaConfig()
    return (
        comfyui_tool(media.comfyui),
        image_tool(media.images, media.fetch),
        speech_tool(media.speech, media.voice),
    )
