"""What speaks to a ComfyUI server: HTTP to submit and fetch, a websocket to follow.

The server's routes and messages are those of its documentation: https://docs.comfy.org/development/comfyui-server.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import anyio
import httpx
from anyio.to_thread import run_sync
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.tools.base import ToolContext
from vibe_prefect.tools.comfy_server import NAME, ComfyServer, Workflow
from vibe_prefect.tools.http import RETRYABLE
from vibe_prefect.tools.secrets import scrubbed
from vibe_prefect.tools.waits import asks_to_wait, patiently, retry_after

MAX_MESSAGE = 64_000_000
"""The largest message of the websocket, in bytes: previews come that way."""

PAUSE = 0.5
"""Seconds between two looks at a server whose websocket was lost."""

PATIENCE = 60
"""How many looks in a row may fail before the server counts as lost."""

WITHDRAWAL = 5.0
"""How long a cancelled run may take to withdraw its workflow, in seconds."""

BAD_REQUEST = 400

logger = logging.getLogger(__name__)

_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file that a workflow saved, on the server."""

    node: str
    """The id of the workflow's node that saved it."""

    name: str
    """Its name there."""

    subfolder: str
    """Its folder there."""

    kind: str
    """Whether it is an `output`, an `input` or `temp`."""

    @property
    def suffix(self) -> str:
        """The end of its name, as far as it is a plain one: nothing else of the name becomes part of a path."""
        dot, end = self.name.rpartition(".")[1:]
        suffix = f"{dot}{end}".lower()
        return suffix if _SUFFIX.fullmatch(suffix) else ".bin"


@dataclass(frozen=True, slots=True)
class Made:
    """What a workflow made."""

    files: list[tuple[SavedFile, bytes]]
    """The files with their content, by node in the workflow's order."""

    facts: dict[str, Any]
    """How the run went."""


async def execute(
    server: ComfyServer,
    workflow: Workflow,
    outputs: list[str] | None,
    label: str,
    context: ToolContext | None = None,
) -> Made:
    """Run a workflow and fetch what it saved.

    Args:
        server: Where it runs.
        workflow: What runs.
        outputs: The ids of the nodes whose files are fetched; `None` for all.
        label: What the log calls it.
        context: The tool's context, to report waits to that a proxy before the server asks for.

    Raises:
        ToolError: The server refused it, a node of it failed, it saved nothing, or the server was lost.
    """
    key = await run_sync(server.key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(60.0, read=min(server.seconds, 300.0))
    try:
        with anyio.fail_after(server.seconds):
            async with _PatientClient(context, base_url=server.url, headers=headers, timeout=timeout) as http:
                run = _Run(server, http, headers, workflow, label, key)
                await run.follow()
                files = [file for file in await run.files() if outputs is None or file.node in outputs]
                return Made(await run.fetch(files), run.facts())
    except TimeoutError as error:
        raise ToolError(f"{NAME}: the workflow took longer than {server.seconds:g} s") from error
    except httpx.HTTPError as error:
        raise ToolError(f"{NAME}: {server.url} could not be reached: {type(error).__name__}: {error}") from error


class _PatientClient(httpx.AsyncClient):
    """A client that waits as it is asked to, request by request: a workflow under way goes on meanwhile."""

    def __init__(self, context: ToolContext | None, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request, again where a proxy answers 429, or 503 with a time."""
        send = super().send

        async def once() -> httpx.Response:
            response = await send(request, **options)
            wait = retry_after(response.headers)
            if asks_to_wait(response.status_code, wait):
                await response.aclose()
                reason = f"{NAME}: {request.url.path} answered {response.status_code}"
                raise ToolError(reason, retry_after=wait, asks_to_wait=True)
            return response

        return await patiently(str(self.base_url), once, self._context)


@dataclass(slots=True)
class _Run:
    """One workflow on its way through the server."""

    server: ComfyServer
    http: httpx.AsyncClient
    headers: dict[str, str]
    workflow: Workflow
    label: str
    key: str | None
    id: str = field(default_factory=lambda: str(uuid4()))
    client: str = field(default_factory=lambda: uuid4().hex)
    over: bool = False
    cached: list[str] = field(default_factory=list[str])
    executed: list[str] = field(default_factory=list[str])
    steps: int = 0
    reconnects: int = 0

    async def follow(self) -> None:
        """Submit the workflow and wait for its end; it is withdrawn when that is given up."""
        submitted = False
        try:
            async with self._socket() as socket:
                submitted = True
                await self._submit()
                await self._listen(socket)
            await self._look_again()
        except (OSError, WebSocketException) as error:
            raise ToolError(f"{NAME}: the websocket of {self.server.url} could not be opened: {error}") from error
        finally:
            if submitted and not self.over:
                await self._withdraw()

    @asynccontextmanager
    async def _socket(self) -> AsyncGenerator[ClientConnection]:
        base = str(self.http.base_url.copy_with(query=None)).rstrip("/")
        url = f"ws{base.removeprefix('http')}/ws?clientId={self.client}"
        async with connect(url, additional_headers=self.headers, max_size=MAX_MESSAGE) as socket:
            yield socket

    async def _submit(self) -> None:
        body = {"prompt": self.workflow, "client_id": self.client, "prompt_id": self.id}
        response = await self.http.post("/prompt", json=body)
        if response.status_code == BAD_REQUEST:
            self.over = True
            reason = _refusal(self._said(response.text))
            raise ToolError(f"{NAME}: the server refuses the workflow: {reason}", retryable=False)
        self.id = str(self._data(response).get("prompt_id", self.id))

    async def _listen(self, socket: ClientConnection) -> None:
        """Read messages until the workflow is over, or the connection."""
        try:
            async for message in socket:
                if isinstance(message, str):  # bytes are previews
                    self._note(_message(self._said(message)))
                if self.over:
                    return
        except ConnectionClosed:
            logger.info("%s: lost the websocket, looking at the history instead", self.label)

    def _note(self, message: dict[str, Any]) -> None:
        data = cast("dict[str, Any]", message.get("data") or {})
        if data.get("prompt_id") != self.id:
            return
        match message.get("type"):
            case "execution_cached":
                self.cached = [str(node) for node in cast("list[Any]", data.get("nodes") or ())]
            case "executing" if data.get("node") is not None:
                self._begin(str(data["node"]))
            case "progress":
                self.steps += 1
                logger.debug("%s: node %s, step %s of %s", self.label, *map(data.get, ("node", "value", "max")))
            case "execution_success" | "executing":
                self.over = True
            case "execution_error" | "execution_interrupted" as kind:
                self.over = True
                raise self._failure(kind, data)
            case _:
                pass

    def _begin(self, node: str) -> None:
        self.executed.append(node)
        done, total = len({*self.cached, *self.executed}), len(self.workflow)
        logger.info("%s: node %s (%s), %d of %d", self.label, node, self._class(node), done, total)

    def _class(self, node: str) -> str:
        return str(cast("dict[str, Any]", self.workflow.get(node, {})).get("class_type", "unknown"))

    def _failure(self, kind: str, data: dict[str, Any]) -> ToolError:
        node = str(data.get("node_id"))
        place = f"node {node!r} ({data.get('node_type') or self._class(node)})"
        if kind == "execution_interrupted":
            return ToolError(f"{NAME}: the workflow was interrupted on the server, in {place}")
        reason = f"{data.get('exception_type')}: {data.get('exception_message')}".strip()
        return ToolError(f"{NAME}: {place} failed: {shorten(reason, 500)}")

    async def _look_again(self) -> None:
        """Wait for the end without a websocket, or with another one."""
        failures = 0
        while not self.over:
            try:
                await self._look()
                failures = 0
                if not self.over:
                    await self._listen_again()
            except (httpx.TransportError, OSError, WebSocketException) as error:
                failures += 1
                if failures >= PATIENCE:
                    raise ToolError(f"{NAME}: {self.server.url} was lost: {error}") from error
            if not self.over:
                await anyio.sleep(PAUSE)

    async def _listen_again(self) -> None:
        async with self._socket() as socket:
            self.reconnects += 1
            await self._look()  # it may have ended before this connection
            if not self.over:
                await self._listen(socket)

    async def _look(self) -> None:
        """Look whether the workflow is over.

        Raises:
            ToolError: It failed, or the server no longer knows it.
        """
        if await self._ended() or await self._place() or await self._ended():
            return
        self.over = True
        raise ToolError(f"{NAME}: the server no longer knows the workflow; it was restarted or its queue was cleared")

    async def _ended(self) -> bool:
        entry = await self._history()
        if entry is None:
            return False
        self.over = True
        status = cast("dict[str, Any]", entry.get("status") or {})
        for kind, data in cast("list[Any]", status.get("messages") or ()):
            if kind in ("execution_error", "execution_interrupted"):
                raise self._failure(kind, data)
        return True

    async def _history(self) -> dict[str, Any] | None:
        return self._data(await self.http.get(f"/history/{self.id}")).get(self.id)

    async def _place(self) -> str | None:
        """Return which of the server's queues holds the workflow."""
        queues = self._data(await self.http.get("/queue"))
        for name in ("queue_running", "queue_pending"):
            if any(self.id in entry[1:2] for entry in cast("list[Any]", queues.get(name) or ())):
                return name
        return None

    def _said(self, text: str) -> str:
        """Return what the server says without the key, before anything cuts it, shows it or keeps it."""
        return scrubbed(text, (self.key,))

    def _data(self, response: httpx.Response) -> dict[str, Any]:
        _check_status(response)
        try:
            found = json.loads(self._said(response.text))
        except ValueError as error:
            raise ToolError(f"{NAME}: {response.url.path} answered with what is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ToolError(f"{NAME}: {response.url.path} answered with {shorten(found)}, expected an object")
        return cast("dict[str, Any]", found)

    async def _withdraw(self) -> None:
        """Take the workflow out of the queue; where it runs already, stop it, and nobody else's."""
        with anyio.move_on_after(WITHDRAWAL, shield=True):
            try:
                await self.http.post("/queue", json={"delete": [self.id]})
                if await self._place() == "queue_running":
                    await self.http.post("/interrupt", json={"prompt_id": self.id})
            except (httpx.HTTPError, ToolError) as error:
                logger.warning("%s: workflow %s could not be withdrawn: %s", self.label, self.id, error)

    async def files(self) -> list[SavedFile]:
        """Return the files that the workflow saved.

        Raises:
            ToolError: The server has no record of it.
        """
        entry = await self._history()
        if entry is None:
            raise ToolError(f"{NAME}: the workflow ended, and the server has no history of it")
        outputs = cast("dict[str, Any]", entry.get("outputs") or {})
        found = [file for node in self.workflow if node in outputs for file in _files(node, outputs[node])]
        return [file for file in found if file.kind == "output"]

    async def fetch(self, files: list[SavedFile]) -> list[tuple[SavedFile, bytes]]:
        """Fetch files.

        Raises:
            ToolError: There are none, or too many bytes.
        """
        if not files:
            raise ToolError(f"{NAME}: the workflow saved no file; it needs a node such as SaveImage", retryable=False)
        left = self.server.max_bytes
        fetched: list[tuple[SavedFile, bytes]] = []
        for file in files:
            content = await self._fetch(file, left)
            left -= len(content)
            fetched.append((file, content))
        return fetched

    async def _fetch(self, file: SavedFile, limit: int) -> bytes:
        query = {"filename": file.name, "subfolder": file.subfolder, "type": file.kind}
        content = bytearray()
        async with self.http.stream("GET", "/view", params=query) as response:
            _check_status(response)
            async for part in response.aiter_bytes():
                content += part
                if len(content) > limit:
                    reason = f"the files have more than {self.server.max_bytes:,} bytes, the operator's limit"
                    raise ToolError(f"{NAME}: {reason}", retryable=False)
        return bytes(content)

    def facts(self) -> dict[str, Any]:
        """Return how the run went."""
        return {
            "prompt_id": self.id,
            "executed": self.executed,
            "cached": self.cached,
            "progress_steps": self.steps,
            "reconnects": self.reconnects,
        }


def _message(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ToolError(f"{NAME}: the websocket sent what is no JSON: {shorten(text)}") from error
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _check_status(response: httpx.Response) -> None:
    if not response.is_success:
        raise ToolError(
            f"{NAME}: {response.url.path} answered {response.status_code}",
            retryable=response.status_code in RETRYABLE,
            retry_after=retry_after(response.headers),
        )


def _refusal(text: str) -> str:
    """Return what the server finds wrong with a workflow: the whole, then node by node."""
    try:
        found = cast("dict[str, Any]", json.loads(text))
        error, nodes = found.get("error"), cast("dict[str, Any]", found.get("node_errors") or {})
        parts = [
            f"node {id!r} ({node.get('class_type')}): {problem.get('message')} ({problem.get('details')})"
            for id, node in nodes.items()
            for problem in node.get("errors", ())
        ]
        return "; ".join([str(cast("Any", error)["message"]), *parts])[:2_000]
    except (ValueError, AttributeError, LookupError, TypeError):  # not as documented: shown as it is
        return shorten(text, 500)


def _files(node: str, output: Any) -> Iterator[SavedFile]:
    """Yield the files in a node's output: `{"images": [{"filename": ..., "subfolder": ..., "type": ...}], ...}`."""
    lists = cast("dict[str, Any]", output).values() if isinstance(output, dict) else ()
    for entries in lists:
        for entry in cast("list[Any]", entries) if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(cast("dict[str, Any]", entry).get("filename"), str):
                found = cast("dict[str, Any]", entry)
                yield SavedFile(
                    node, found["filename"], str(found.get("subfolder", "")), str(found.get("type", "output"))
                )
