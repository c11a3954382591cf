"""A server on loopback that speaks the part of OpenAI's protocol that is about images and speech."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import wave
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.providers.loopback import serving

KEY = "sk-test-0123456789"


def picture(format: str = "PNG", colour: str = "navy", size: tuple[int, int] = (32, 16)) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format)
    return buffer.getvalue()


def sound(seconds: float = 0.5, rate: int = 8_000, value: int = 8_000) -> bytes:
    """A WAV file: 16 bit, one channel, a square wave of that height."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        up, down = value.to_bytes(2, "little", signed=True), (-value).to_bytes(2, "little", signed=True)
        file.writeframes((up * 10 + down * 10) * int(rate * seconds / 20))
    return buffer.getvalue()


def _rate_limited(seconds: float | None) -> Response:
    headers = {} if seconds is None else {"retry-after-ms": str(int(seconds * 1_000))}
    body = {"error": {"message": "too many images", "code": "rate_limit_exceeded"}}
    return JSONResponse(body, status_code=429, headers=headers)


class CutError(Exception):
    """Ends a connection in the middle of an answer."""


async def _cut() -> AsyncGenerator[bytes]:
    yield b'{"data": [{"b64_json": "AA'
    await asyncio.sleep(0.05)
    raise CutError


class MediaServer:
    """What it does next is set by tests; what it was asked, it notes."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []
        self.next: Response | None = None
        self.image: dict[str, Any] = {"b64_json": base64.b64encode(picture()).decode()}
        self.audio = sound()
        self.usage: dict[str, Any] | None = {
            "input_tokens": 5,
            "output_tokens": 100,
            "total_tokens": 105,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 5},
        }
        """What each answer says of tokens."""
        self.limit: tuple[int, float] | None = None
        """How many calls are answered in so many seconds; further ones are asked to wait."""
        self.says_when = True
        """Whether it is said then for how long."""
        self.refused = 0
        self._window = (0.0, 0)
        self.delay = 0.0
        self.cut = False
        """Whether the connection ends in the middle of an answer."""
        self.echoes = False
        """Whether each answer is an error that repeats the key."""
        self.port = 0
        self.app = Starlette(
            routes=[
                Route("/v1/images/generations", self._answer, methods=["POST"]),
                Route("/v1/audio/speech", self._answer, methods=["POST"]),
                Route("/files/{name}", self._file),
            ]
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> int:
        return len(self.asked)

    def error(self, status: int, message: str = "no", code: str | None = None, **headers: str) -> None:
        body = {"error": {"message": message, "type": "server_error", "code": code}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.next = JSONResponse(body, status_code=status, headers=named)

    async def _answer(self, request: Request) -> Response:
        self.asked.append((request.url.path, json.loads(await request.body())))
        self.keys.append(request.headers["authorization"])
        await asyncio.sleep(self.delay)
        if self.cut:
            return StreamingResponse(_cut(), headers={"content-length": "1000"})
        if self.echoes:
            self.error(400, f"bad request with Authorization: {self.keys[-1]}")
        if self._over_limit():
            self.refused += 1
            return _rate_limited(self.limit[1] if self.limit and self.says_when else None)
        if self.next is not None:
            return self.next
        if request.url.path.endswith("speech"):
            return Response(self.audio, media_type="audio/wav")
        usage = {} if self.usage is None else {"usage": self.usage}
        return JSONResponse({"created": 1, "data": [self.image], **usage})

    def _over_limit(self) -> bool:
        if self.limit is None:
            return False
        (count, seconds), (begun, used), now = self.limit, self._window, time.monotonic()
        self._window = (now, 1) if now - begun >= seconds else (begun, used + 1)
        return self._window[1] > count

    async def _file(self, request: Request) -> Response:
        self.asked.append((request.url.path, {}))
        return Response(picture(), media_type="image/png")


@contextmanager
def media_server() -> Generator[MediaServer]:
    server = MediaServer()
    with serving(server.app) as server.port:
        yield server
