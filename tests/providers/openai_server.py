"""A server on loopback that speaks OpenAI's chat protocol: scripted by the model's name, or by a function."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.providers.loopback import serving

KEY = "sk-canary-7d1c9b52aa"
"""The key that the server takes; tests look for it where it must not be."""

TOKENS = (100, 20)
"""Input and output tokens that each answer says it used."""

Reply = Callable[[dict[str, Any]], str]


class CutError(Exception):
    """Ends a connection in the middle of an answer."""


@dataclass(frozen=True)
class Call:
    """One request, as it came."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    """When it came, by the monotonic clock."""

    @property
    def system(self) -> str:
        return "\n".join(str(m["content"]) for m in self.body["messages"] if m["role"] in ("system", "developer"))

    @property
    def prompt(self) -> str:
        return "\n".join(str(m["content"]) for m in self.body["messages"] if m["role"] == "user")


@dataclass
class OpenAIServer:
    """A model named `ok` answers; the other names say what goes wrong, the first `troubles` times."""

    reply: Reply = field(default=lambda body: "A fine text, made for the test.")
    """Makes an answer from a request's body."""

    troubles: int = 1_000_000
    """How often a model goes wrong before it answers."""

    retry_after: str = "1"
    pause: float = 0.0
    """Seconds before each answer."""

    usage: bool = True
    """Whether answers say what they used."""

    events: Sequence[str] | None = None
    """What the server streams instead of a usual answer, as it stands, before it ends the response properly. Make it
    with `chunk`, `counted` and `DONE`."""

    embedding: Callable[[str], list[float]] = field(default=lambda text: [1.0, 0.0])
    """Makes the vector of a text."""

    calls: list[Call] = field(default_factory=list[Call])
    most_at_once: int = 0
    answered: int = 0
    port: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    """Lets answers of the model `slow` end."""

    def __post_init__(self) -> None:
        self._now = 0
        self._troubled = 0
        chat = Route("/v1/chat/completions", self._chat, methods=["POST"])
        responses = Route("/v1/responses", self._responses, methods=["POST"])
        self.app = Starlette(routes=[chat, responses, Route("/v1/embeddings", self._embeddings, methods=["POST"])])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.calls.append(Call(body, dict(request.headers), time.monotonic()))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self.pause:
                await asyncio.sleep(self.pause)
            return await self._answer(body) if self.events is None else _stream("".join(self.events))
        finally:
            self._now -= 1

    async def _responses(self, request: Request) -> Response:
        """Stream `events` on OpenAI's newer protocol; without any, this server knows nothing of it."""
        body = await request.json()
        self.calls.append(Call(body, dict(request.headers), time.monotonic()))
        missing = _error(404, "Unknown request URL.", "unknown_url")
        return missing if self.events is None else _stream("".join(self.events))

    async def _embeddings(self, request: Request) -> Response:
        """Answer in base64 where it is asked for, as OpenAI's own client does."""
        body = await request.json()
        self.calls.append(Call(body, dict(request.headers), time.monotonic()))
        if body["model"] == "down" and self._troubled < self.troubles:
            self._troubled += 1
            return self._trouble("down", body)
        vectors = [self.embedding(text) for text in body["input"]]
        encode = base64.b64encode if body.get("encoding_format") == "base64" else None
        items = [
            {
                "object": "embedding",
                "index": index,
                "embedding": encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if encode else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": TOKENS[0], "total_tokens": TOKENS[0]}
        return JSONResponse({"object": "list", "data": items, "model": body["model"], "usage": usage})

    async def _answer(self, body: dict[str, Any]) -> Response:
        model = body["model"]
        key = self.calls[-1].headers.get("authorization", "").removeprefix("Bearer ")
        if model == "echo-key":
            return _error(500, f"internal: request with Authorization: Bearer {key} failed", "server_error")
        if key != KEY:
            return _error(401, f"Incorrect API key provided: {key}.", "invalid_api_key")
        if model != "ok" and self._troubled < self.troubles:
            self._troubled += 1
            return self._trouble(model, body)
        return self._good(body)

    def _trouble(self, model: str, body: dict[str, Any]) -> Response:
        refusals: dict[str, Response] = {
            "busy": _error(429, "Slow down.", "rate_limit_exceeded", {"retry-after": self.retry_after}),
            "broke": _error(429, "You exceeded your current quota.", "insufficient_quota"),
            "down": _error(500, "The server had an error.", "server_error"),
            "refuse": _error(400, "Unsupported value.", "invalid_value"),
        }
        missing = _error(404, f"The model {model!r} does not exist.", "model_not_found")
        return refusals.get(model) or self._bad(model, body) or missing

    def _bad(self, model: str, body: dict[str, Any]) -> Response | None:
        """Return an answer that begins well."""
        match model:
            case "malformed":
                return _stream("data: {this is no JSON\n\n")
            case "cut":
                return _stream(self._cut(body))
            case "slow":
                return _stream(self._slow(body))
            case "silent":
                return self._good(body, "")
            case "filtered":
                return self._good(body, "Half a sen", "content_filter")
            case "long":
                return self._good(body, "Half a sen", "length")
            case _:
                return None

    def _good(self, body: dict[str, Any], text: str | None = None, finish: str = "stop") -> Response:
        self.answered += 1
        text = self.reply(body) if text is None else text
        if body.get("stream"):
            return _stream(self._chunks(body, text, finish))
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return JSONResponse({**_head(body, "chat.completion"), "choices": [choice], "usage": _usage()})

    async def _chunks(self, body: dict[str, Any], text: str, finish: str) -> AsyncGenerator[str]:
        step = max(7, len(text) // 1_000)
        for start in range(0, len(text), step):
            yield _chunk(body, {"content": text[start : start + step]})
        yield _chunk(body, {}, finish)
        if self.usage:
            yield f"data: {json.dumps({**_head(body), 'choices': [], 'usage': _usage()})}\n\n"
        yield "data: [DONE]\n\n"

    async def _cut(self, body: dict[str, Any]) -> AsyncGenerator[str]:
        yield _chunk(body, {"content": "The begin"})
        await asyncio.sleep(0.05)
        raise CutError

    async def _slow(self, body: dict[str, Any]) -> AsyncGenerator[str]:
        count = 0
        while not self.release.is_set():
            count += 1
            yield _chunk(body, {"content": f"word {count} "})
            await asyncio.sleep(0.02)
        yield _chunk(body, {}, "stop")
        yield "data: [DONE]\n\n"


DONE = "data: [DONE]\n\n"
"""The end mark of a stream."""


def event(data: Any) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(data)}\n\n"


def chunk(content: str | None = None, finish: str | None = None, **fields: Any) -> str:
    """Return a chunk with a piece of text.

    Args:
        content: The piece.
        finish: Why the answer ends with it.
        **fields: More fields of its delta, such as `reasoning_content` or `tool_calls`; `usage` is the chunk's own.
    """
    usage = {"usage": fields.pop("usage")} if "usage" in fields else {}
    delta = fields if content is None else {"content": content, **fields}
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
    return event({**_head({"model": "ok"}), "choices": [choice], **usage})


def counted(read: int, written: int, **fields: Any) -> dict[str, Any]:
    """Return a usage as chunks tell it."""
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written, **fields}


def usage_chunk(usage: Any) -> str:
    """Return a chunk that holds nothing but the usage."""
    return event({**_head({"model": "ok"}), "choices": [], "usage": usage})


def tool_call(name: str | None, arguments: str, index: int = 0) -> dict[str, Any]:
    """Return a delta's fields for a piece of a tool call."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    call = {"index": index, "type": "function", "function": function}
    return {"tool_calls": [call if name is None else {"id": f"call-{index}", **call}]}


def _stream(content: Any) -> Response:
    kind = Response if isinstance(content, str) else StreamingResponse
    return kind(content, media_type="text/event-stream")


def _head(body: dict[str, Any], kind: str = "chat.completion.chunk") -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": body["model"]}


def _chunk(body: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
    return f"data: {json.dumps({**_head(body), 'choices': [choice]})}\n\n"


def _usage() -> dict[str, int]:
    read, written = TOKENS
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _error(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> Response:
    error = {"message": message, "type": code, "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


@contextmanager
def openai_server(**fields: Any) -> Generator[OpenAIServer]:
    server = OpenAIServer(**fields)
    with serving(server.app) as server.port:
        try:
            yield server
        finally:
            server.release.set()
