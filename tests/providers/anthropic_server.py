"""A server on loopback that speaks Anthropic's messages protocol: it streams the events that a test gives it."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.providers.loopback import serving

KEY = "sk-ant-canary-51f09b2e"
"""The key that the server takes."""


@dataclass
class AnthropicServer:
    """Answers each request with `events`, and then ends the response properly."""

    events: Sequence[dict[str, Any]] = ()
    """Make them with `opening`, `text_block`, `closing` and so on."""

    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The body of each request."""

    port: int = 0

    def __post_init__(self) -> None:
        self.app = Starlette(routes=[Route("/v1/messages", self._messages, methods=["POST"])])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _messages(self, request: Request) -> Response:
        self.calls.append(await request.json())
        if KEY not in (
            request.headers.get("x-api-key"),
            request.headers.get("authorization", "").removeprefix("Bearer "),
        ):
            error = {"type": "authentication_error", "message": "invalid x-api-key"}
            return JSONResponse({"type": "error", "error": error}, status_code=401)
        content = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in self.events)
        return Response(content, media_type="text/event-stream")


def opening(**usage: int) -> dict[str, Any]:
    """Return the event that begins a message; it counts what was read, and the first tokens written."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 1, **usage},
    }
    return {"type": "message_start", "message": message}


def text_block(index: int, *pieces: str) -> list[dict[str, Any]]:
    """Return the events of a block of text."""
    return _block(index, {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces])


def thinking_block(index: int, *pieces: str) -> list[dict[str, Any]]:
    """Return the events of a block of thinking."""
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    return _block(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)


def tool_block(index: int, name: str, *pieces: str) -> list[dict[str, Any]]:
    """Return the events of a block that calls a tool with the JSON that the pieces make."""
    block: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
    return _block(index, block, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces])


def counting(reason: str | None, written: int) -> dict[str, Any]:
    """Return an event that tells how many tokens were written so far, and why the message ended, if it did."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": written}}


END: dict[str, Any] = {"type": "message_stop"}
PING: dict[str, Any] = {"type": "ping"}


def _block(index: int, block: dict[str, Any], deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


@contextmanager
def anthropic_server() -> Generator[AnthropicServer]:
    server = AnthropicServer()
    with serving(server.app) as server.port:
        yield server
