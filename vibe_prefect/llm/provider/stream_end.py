"""Parts of a stream on OpenAI's chat protocol that client libraries do not pass on: its end mark, all its usage.

A server that cannot stream answers with one JSON object. It is passed on as a stream of one event: the answer is paid.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from vibe_prefect.llm.provider.received import Usage

if TYPE_CHECKING:
    import httpx2

END_MARK = b"[DONE]"

MAX_SHOWN = 1_000
"""Bytes that are kept of an answer that is none."""

MAX_OBJECT_BYTES = 50_000_000
"""The largest answer that is taken as one JSON object."""

_READ = ("prompt_tokens", "input_tokens")
_WRITTEN = ("completion_tokens", "output_tokens")
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")


@dataclass(slots=True)
class StreamNotes:
    """Notes on one stream of server-sent events, made while its bytes pass."""

    watched: bool = False
    """Whether a stream that can be read has begun."""

    ended: bool = False
    """Whether its end mark came."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    """Greatest number of each kind of token; servers that count on in each event never mean a sum."""

    no_stream: str | None = None
    """Beginning of an answer that is neither a stream nor an answer in one piece."""

    _line: bytearray = field(default_factory=bytearray)

    def feed(self, content: bytes) -> None:
        """Read the next bytes."""
        *lines, unfinished_line = content.replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._read(bytes(self._line + line))
            self._line.clear()
        self._line += unfinished_line

    def close(self) -> None:
        """Read a last line that has no end."""
        self._read(bytes(self._line))
        self._line.clear()

    @property
    def usage(self) -> Usage | None:
        """Tokens of the whole call; `None` where no event counts any."""
        input_tokens, output_tokens, cached = (
            max((self.counts.get(name, 0) for name in names), default=0) for names in (_READ, _WRITTEN, _CACHED)
        )
        return (
            Usage(input_tokens, output_tokens, min(cached, input_tokens)) if input_tokens + output_tokens > 0 else None
        )

    def _read(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data.startswith(END_MARK):
            self.ended = True
        elif b'"usage"' in data:
            self._count(data)

    def _count(self, data: bytes) -> None:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return  # the client library reads the same bytes, and says what is wrong with them
        for usage in _usages(event):
            self._keep_greatest(usage)
            self._keep_greatest(_mapping(usage.get("prompt_tokens_details")))

    def _keep_greatest(self, usage: Mapping[str, Any]) -> None:
        for name, value in usage.items():
            if (
                isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
            ):  # 300.0 is a count
                self.counts[name] = max(self.counts.get(name, 0), int(value))


def _usages(event: object) -> list[dict[str, Any]]:
    """Return the usages in an event: its own, its first choice's as Moonshot has it, and that beside it as of Groq."""
    chunk = _mapping(event)
    choices = chunk.get("choices")
    first_choice = cast("list[Any]", choices)[:1] if isinstance(choices, list) else []
    return [_mapping(_mapping(source).get("usage")) for source in (chunk, *first_choice, chunk.get("x_groq"))]


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


CURRENT: ContextVar[StreamNotes | None] = ContextVar("vibe_prefect_stream_notes", default=None)
"""Notes of the call that is under way in this context."""


def watching_client() -> httpx2.AsyncClient:
    """Return an HTTP client whose event streams are noted in `CURRENT`. Its maker closes it."""
    from pydantic_ai.models import create_async_httpx2_client

    client = create_async_httpx2_client()
    client.headers["accept-encoding"] = "identity"  # a compressed stream cannot be read in passing
    client.event_hooks["response"] = [_watch]
    return client


async def _watch(response: httpx2.Response) -> None:
    import httpx2

    notes = CURRENT.get()
    plain = response.headers.get("content-encoding", "identity") == "identity"
    if notes is None or not plain or not response.is_success or not isinstance(response.stream, httpx2.AsyncByteStream):
        return
    notes.watched = True
    response.stream = _passing(response.stream, notes)


def _passing(source: httpx2.AsyncByteStream, notes: StreamNotes) -> httpx2.AsyncByteStream:
    import httpx2

    class Passing(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for content in _as_events(source, notes):
                notes.feed(content)
                yield content
            notes.close()

        async def aclose(self) -> None:
            await source.aclose()

    return Passing()


async def _as_events(source: AsyncIterable[bytes], notes: StreamNotes) -> AsyncIterator[bytes]:
    """Yield a stream's bytes as they come; one JSON object, whatever type is stated, as a stream of one event."""
    buffer = bytearray()
    is_object: bool | None = None  # until something else than white space comes
    async for content in source:
        if is_object is None and content.strip():
            is_object = content.lstrip().startswith(b"{")
        buffer += content
        is_object = is_object if len(buffer) <= MAX_OBJECT_BYTES else False
        if is_object is False:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield _events_of(bytes(buffer), notes) if is_object else bytes(buffer)


def _events_of(body: bytes, notes: StreamNotes) -> bytes:
    """Return an answer in one piece, or an error, as events; a body that is neither stays as it is, and is noted."""
    try:
        answer = _mapping(json.loads(body))
    except (ValueError, RecursionError):
        answer = {}
    choices = answer.get("choices")
    deltas = [_delta(_mapping(choice)) for choice in cast("list[Any]", choices)] if isinstance(choices, list) else []
    if deltas:
        event = json.dumps({**answer, "object": "chat.completion.chunk", "choices": deltas})
        return b"data: %s\n\ndata: %s\n\n" % (event.encode(), END_MARK)
    if answer.get("error"):
        return b"data: %s\n\n" % json.dumps(answer).encode()
    notes.no_stream = body[:MAX_SHOWN].decode(errors="replace").strip()
    return body


def _delta(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice of a whole answer as a stream has it: with a place for each call of a tool."""
    message = _mapping(choice.get("message"))
    calls = message.get("tool_calls")
    listed = cast("list[Any]", calls) if isinstance(calls, list) else []
    placed = [{"index": index, **_mapping(call)} for index, call in enumerate(listed)]
    other_fields = {name: value for name, value in choice.items() if name != "message"}
    return {**other_fields, "delta": {**message, **({"tool_calls": placed} if placed else {})}}
