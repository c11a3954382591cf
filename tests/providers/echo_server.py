"""A server on loopback that repeats the key it was sent, in a form and a way that tests choose."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.providers.loopback import serving
from tests.providers.media_server import CutError, picture, sound

WAIT = "wait"
"""The way to repeat a key in a request to wait."""

WAYS = (
    "json error",
    "error fields",
    "text error",
    "header",
    "redirect",
    "not json",
    "cut",
    "answer",
    "usage",
    "content",
    WAIT,
)
"""The ways to repeat a key: in refusals, in answers that are none, and in answers that are fine otherwise."""


class EchoServer:
    """Speaks as much of OpenAI's, ComfyUI's and plain HTTP as it takes to repeat a key."""

    def __init__(self, key: str) -> None:
        self.key = key
        """The key that is repeated where a request brings none."""
        self.form: Callable[[str], str] = str
        self.way = WAYS[0]
        self.asked: list[str] = []
        self.port = 0
        self._submitted = asyncio.Event()
        self._prompt_id = ""
        methods = ["GET", "POST"]
        self.app = Starlette(
            routes=[
                WebSocketRoute("/ws", self._socket),
                Route("/prompt", self._prompt, methods=methods),
                Route("/{path:path}", self._any, methods=methods),
            ]
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _any(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        said = self.form(sent or self.key)
        refusal = self._refusal(said)
        if refusal is not None:
            return refusal
        if path.endswith("completions"):
            return StreamingResponse(self._chunks(said), media_type="text/event-stream")
        if path.endswith("generations"):
            return JSONResponse(self._images(said))
        if path.endswith("speech"):
            return Response(sound() + (said.encode() if self.way == "content" else b""), media_type="audio/wav")
        return PlainTextResponse(f"the answer {said}")

    def _refusal(self, said: str) -> Response | None:
        line = " ".join(said.split()).encode("ascii", "replace").decode()
        message = f"bad request with Authorization: Bearer {said} failed"
        match self.way:
            case "json error":
                error: dict[str, Any] = {"message": message, "type": "x", "code": "y"}
                return JSONResponse({"error": error}, 401)
            case "error fields":
                return JSONResponse(
                    {"error": {"message": {said: [said]}, "type": said, "code": said, "param": said}}, 400
                )
            case "text error":
                return PlainTextResponse(f"{'x' * 470} {message}", 503)
            case "header":
                return Response("", 403, {"retry-after": line, "x-request-id": line, "www-authenticate": line})
            case "wait":
                return JSONResponse({"error": {"message": message}}, 429, {"retry-after": line})
            case "redirect":
                return Response("", 307, {"location": f"http://{line}@127.0.0.1:1/{line}?key={line}"})
            case "not json":
                return Response(f'{{"data": [{{"{said}', 200, media_type="application/json")
            case "cut":
                return StreamingResponse(_cut(said), headers={"content-length": "100000"})
            case _:
                return None

    async def _chunks(self, said: str) -> AsyncGenerator[str]:
        head = {"id": said, "object": "chat.completion.chunk", "created": 1, "model": said}
        text = f"The text, with {said} in it."
        for start in range(0, len(text), 7):
            choice = {"index": 0, "delta": {"role": "assistant", "content": text[start : start + 7]}}
            yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
        end: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "note": said}
        yield f"data: {json.dumps({**head, 'choices': [end], 'usage': usage})}\n\ndata: [DONE]\n\n"

    def _images(self, said: str) -> dict[str, Any]:
        image = {"b64_json": base64.b64encode(picture()).decode(), "revised_prompt": f"a cat with {said}"}
        if self.way == "content":
            image = {"url": f"http://127.0.0.1:1/{said}?key={said}"}
        return {"created": 1, "data": [image], "usage": {"input_tokens": 1, "note": said, said: {"a": [said]}}}

    async def _prompt(self, request: Request) -> Response:
        self.asked.append("/prompt")
        said = self.form(request.headers.get("authorization", "").removeprefix("Bearer "))
        if self.way in ("answer", "usage"):
            self._prompt_id = (await request.json())["prompt_id"]
            self._submitted.set()
            return JSONResponse({"prompt_id": self._prompt_id, "note": said})
        if self.way == "content":
            problem = {"type": said, "message": said, "details": said}
            errors = {"9": {"errors": [problem], "class_type": said}}
            return JSONResponse({"error": {"message": said}, "node_errors": errors}, 400)
        return self._refusal(said) or Response()

    async def _socket(self, socket: WebSocket) -> None:
        said = self.form(socket.headers.get("authorization", "").removeprefix("Bearer "))
        if self.way == "header":
            await socket.close(1008, " ".join(said.split())[:100])
            return
        await socket.accept()
        with suppress(WebSocketDisconnect, RuntimeError):
            if self.way == "not json":
                await socket.send_text(f"no json {said}")
            if self.way in ("answer", "usage"):
                await self._submitted.wait()
                self._submitted.clear()
            if self.way == "usage":
                failure = {"prompt_id": self._prompt_id, "node_id": said, "exception_message": said}
                await socket.send_json({"type": "execution_error", "data": failure})
            if self.way == "answer":
                await socket.close(1011, " ".join(said.split())[:100])
            await socket.receive_text()


async def _cut(said: str) -> AsyncGenerator[bytes]:
    yield f'{{"data": "{said}'.encode()
    await asyncio.sleep(0.01)
    raise CutError


@contextmanager
def echo_server(key: str) -> Generator[EchoServer]:
    server = EchoServer(key)
    with serving(server.app) as server.port:
        yield server
