"""Client of a ComfyUI server: HTTP to submit and fetch, a websocket to follow.

The server's routes and messages are those of its documentation: https://docs.comfy.org/development/comfyui-server.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping
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
from vibe_prefect.tools.comfyui.endpoint import NAME, ComfyServer, Workflow
from vibe_prefect.tools.comfyui.made_files import Outputs, SavedFile, read_outputs
from vibe_prefect.tools.fetch.http import RETRYABLE
from vibe_prefect.tools.secrecy.key_sources import obtained
from vibe_prefect.tools.secrecy.known import scrubbed
from vibe_prefect.tools.waits import asks_to_wait, patiently, retry_after

MAX_MESSAGE = 64_000_000
"""The largest message of the websocket, in bytes: previews come that way."""

FIRST_PAUSE = 0.05
"""Seconds after the first request for a workflow's state; the time doubles from request to request."""

PAUSE = 0.5
"""Seconds between two such requests at most."""

GRACE = 10.0
"""Seconds for which a workflow that succeeded may be in neither queue nor history."""

PATIENCE = 60
"""Requests in a row that may fail before the server counts as lost."""

WITHDRAWAL = 5.0
"""Seconds that a cancelled run may take to withdraw its workflow."""

BAD_REQUEST = 400

SENDS_IMAGES = "SaveImageWebsocket"
"""The node class whose images come over the websocket and are saved nowhere."""

logger = logging.getLogger(__name__)

_PNG_MESSAGE = struct.pack(">II", 1, 2)
"""Beginning of a message with an image in PNG: event 1, format 2."""

_BLOCKED = "ExecutionBlocked"
"""Exception of a node that is blocked by a node before it, while the others run."""


@dataclass(frozen=True, slots=True)
class Made:
    """Files and texts that a workflow made."""

    files: list[tuple[SavedFile, bytes]]
    """The files with their content, by node in the workflow's order."""

    texts: Mapping[str, list[str]]
    """The texts that its nodes show, by node."""

    facts: dict[str, Any]
    """Facts about the run, for the result's metadata."""


class _BusyError(ToolError):
    """An answer such as 503, after which the next may be a right one."""


async def execute(
    server: ComfyServer,
    workflow: Workflow,
    outputs: list[str] | None,
    label: str,
    context: ToolContext | None = None,
) -> Made:
    """Run a workflow and fetch what it made.

    Args:
        server: Where it runs.
        workflow: What runs.
        outputs: The ids of the nodes whose files and texts are wanted, previews included; each must have made
            something. `None` for all that is saved, and all texts.
        label: What the log calls it.
        context: The tool's context, to report waits to that a proxy before the server asks for.

    Raises:
        ToolError: The server refused it, or dropped an output that is wanted; a node of it failed; it made nothing;
            or the server was lost.
    """
    key = await run_sync(obtained, server.key, server.url)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(60.0, read=min(server.seconds, 300.0))
    try:
        with anyio.fail_after(server.seconds):
            async with _PatientClient(context, base_url=server.url, headers=headers, timeout=timeout) as http:
                run = _Run(server, http, headers, workflow, outputs, label)
                return await run.made(await run.follow())
    except TimeoutError as error:
        raise ToolError(f"{NAME}: the workflow took longer than {server.seconds:g} s") from error
    except httpx.HTTPError as error:
        raise ToolError(f"{NAME}: {server.url} could not be reached: {type(error).__name__}: {error}") from error


class _PatientClient(httpx.AsyncClient):
    """Client that waits as it is asked to, request by request, while the workflow runs."""

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
    wanted: list[str] | None
    label: str
    id: str = field(default_factory=lambda: str(uuid4()))
    client: str = field(default_factory=lambda: uuid4().hex)
    over: bool = False
    entry: dict[str, Any] | None = None
    missed: float | None = None
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    received: list[tuple[SavedFile, bytes]] = field(default_factory=list[tuple[SavedFile, bytes]])
    cached: list[str] = field(default_factory=list[str])
    executed: list[str] = field(default_factory=list[str])
    steps: int = 0
    reconnects: int = 0

    async def follow(self) -> Outputs:
        """Submit the workflow, wait for its end, and return what it made; it is withdrawn when that is given up."""
        submitted = False
        try:
            async with self._socket() as socket:
                submitted = True
                await self._submit()
                await self._listen(socket)
            return read_outputs(await self._settled(), self.workflow)
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
            reason = _refusal(scrubbed(response.text))
            raise ToolError(f"{NAME}: the server refuses the workflow: {reason}", retryable=False)
        answer = self._data(response)
        self.id = str(answer.get("prompt_id", self.id))
        self._leave_out(_dropped(answer.get("node_errors")))

    def _leave_out(self, reasons: Mapping[str, str]) -> None:
        """Note outputs that the server leaves out of an accepted workflow.

        Raises:
            ToolError: One of them is wanted.
        """
        self.left_out |= reasons
        for node, reason in reasons.items():
            logger.warning("%s: the server leaves out node %s: %s", self.label, node, reason)
        missing = [reason for node, reason in reasons.items() if node in (self.wanted or ())]
        if missing:
            raise ToolError(f"{NAME}: the server drops what outputs name: {'; '.join(missing)}", retryable=False)

    async def _listen(self, socket: ClientConnection) -> None:
        """Read messages until the workflow is over, or the connection."""
        try:
            async for message in socket:
                if isinstance(message, str):
                    self._note(_message(scrubbed(message)))
                else:
                    self._receive(message)
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
                self._begin(str(data.get("display_node") or data["node"]))
            case "progress":
                self.steps += 1
                logger.debug("%s: node %s, step %s of %s", self.label, *map(data.get, ("node", "value", "max")))
            case "execution_success" | "executing":
                self.over = True
            case "execution_error" if data.get("exception_type") == _BLOCKED:
                node = str(data.get("node_id"))
                self._leave_out({node: f"node {node!r} ({self._class(node)}): {data.get('exception_message')}"})
            case "execution_error" | "execution_interrupted" as kind:
                self.over = True
                raise self._failure(kind, data)
            case _:
                pass

    def _receive(self, message: bytes) -> None:
        """Keep an image that is an output; others are previews of a node's progress."""
        node = self.executed[-1] if self.executed else ""
        if self._class(node) != SENDS_IMAGES or not message.startswith(_PNG_MESSAGE):
            return
        image = message[len(_PNG_MESSAGE) :]
        self.received.append((SavedFile(node, "image.png", "", "websocket"), image))
        if sum(len(content) for _, content in self.received) > self.server.max_bytes:
            raise self._too_large()

    def _begin(self, node: str) -> None:
        if node in self.executed[-1:]:  # a node that waits for something is begun again
            return
        self.executed.append(node)
        done, total = len({*self.cached, *self.executed}), len(self.workflow)
        logger.info("%s: node %s (%s), %d of %d", self.label, node, self._class(node), done, total)

    def _class(self, node: str) -> str:
        return str(cast("dict[str, Any]", self.workflow.get(node, {})).get("class_type", "unknown"))

    def _failure(self, kind: str, data: dict[str, Any]) -> ToolError:
        node = str(data.get("node_id"))
        label = f"node {node!r} ({data.get('node_type') or self._class(node)})"
        if kind == "execution_interrupted":
            return ToolError(f"{NAME}: the workflow was interrupted on the server, in {label}")
        reason = f"{data.get('exception_type')}: {data.get('exception_message')}".strip()
        return ToolError(f"{NAME}: {label} failed: {shorten(reason, 500)}")

    async def _settled(self) -> dict[str, Any]:
        """Return the history's entry once it is there: some time after the server tells of success.

        Where there is no websocket any more, another one is opened meanwhile.
        """
        failures, pause = 0, FIRST_PAUSE
        while self.entry is None:
            try:
                await self._look()
                failures = 0
                if not self.over:
                    await self._listen_again()
            except (httpx.TransportError, OSError, WebSocketException, _BusyError) as error:
                failures += 1
                if failures >= PATIENCE:
                    raise ToolError(f"{NAME}: {self.server.url} was lost: {error}") from error
            if self.entry is None:
                await anyio.sleep(pause)
                pause = min(PAUSE, 2 * pause)
        return self.entry

    async def _listen_again(self) -> None:
        async with self._socket() as socket:
            self.reconnects += 1
            await self._look()  # it may have ended before this connection
            if not self.over:
                await self._listen(socket)

    async def _look(self) -> None:
        """Look whether the history has the workflow, or else a queue.

        Raises:
            ToolError: It failed, or the server no longer knows it.
        """
        if await self._ended() or await self._place() or await self._ended():
            self.missed = None
            return
        if not self.over:
            self.over = True
            reason = "the server no longer knows the workflow; it was restarted or its queue was cleared"
            raise ToolError(f"{NAME}: {reason}")
        self.missed = anyio.current_time() if self.missed is None else self.missed
        if anyio.current_time() - self.missed > GRACE:
            raise ToolError(f"{NAME}: the workflow ended, and the server has no history of it")

    async def _ended(self) -> bool:
        entry = self._data(await self.http.get(f"/history/{self.id}")).get(self.id)
        if entry is None:
            return False
        self.over = True
        status = cast("dict[str, Any]", entry.get("status") or {})
        for kind, data in cast("list[Any]", status.get("messages") or ()):
            if kind in ("execution_error", "execution_interrupted"):
                raise self._failure(kind, data)
        if status.get("status_str") == "error":
            raise ToolError(f"{NAME}: the workflow failed on the server, which does not say why")
        self.entry = entry
        return True

    async def _place(self) -> str | None:
        """Return which of the server's queues holds the workflow."""
        queues = self._data(await self.http.get("/queue"))
        for name in ("queue_running", "queue_pending"):
            if any(self.id in entry[1:2] for entry in cast("list[Any]", queues.get(name) or ())):
                return name
        return None

    def _data(self, response: httpx.Response) -> dict[str, Any]:
        _check_status(response)
        try:
            data = json.loads(scrubbed(response.text))
        except ValueError as error:
            raise ToolError(f"{NAME}: {response.url.path} answered with invalid JSON: {error}") from error
        if not isinstance(data, dict):
            raise ToolError(f"{NAME}: {response.url.path} answered with {shorten(data)}, expected an object")
        return cast("dict[str, Any]", data)

    async def _withdraw(self) -> None:
        """Take the workflow out of the queue; where it runs already, stop it, and nobody else's."""
        with anyio.move_on_after(WITHDRAWAL, shield=True):
            try:
                await self.http.post("/queue", json={"delete": [self.id]})
                if await self._place() == "queue_running":
                    await self.http.post("/interrupt", json={"prompt_id": self.id})
            except (httpx.HTTPError, ToolError) as error:
                logger.warning("%s: workflow %s could not be withdrawn: %s", self.label, self.id, error)

    async def made(self, outputs: Outputs) -> Made:
        """Fetch what is wanted of what was made.

        Raises:
            ToolError: A node that is wanted made nothing, nothing was made at all, or there are too many bytes.
        """
        selected = outputs.of(self.wanted)
        streamed = [entry for entry in self.received if self.wanted is None or entry[0].node in self.wanted]
        producers = {*selected.nodes, *(file.node for file, _ in streamed)}
        for node in self.wanted or ():
            if node not in producers:
                raise self._nothing(f"node {node!r} ({self._class(node)}), which outputs name, made nothing")
        if not producers:
            previews = ", ".join(dict.fromkeys(repr(file.node) for file in outputs.files))
            hint = f"; outputs may name nodes that made previews: {previews}" if previews else ""
            raise self._nothing(f"the workflow saved no file; it needs a node such as SaveImage{hint}")
        order = {node: index for index, node in enumerate(self.workflow)}
        files = [*streamed, *await self._fetched(selected.files)]
        files.sort(key=lambda entry: order.get(entry[0].node, len(order)))
        return Made(files, selected.texts, self._facts())

    def _nothing(self, reason: str) -> ToolError:
        left_out = "; ".join(self.left_out.values())
        return ToolError(f"{NAME}: {reason}{f'; left out: {left_out}' if left_out else ''}", retryable=False)

    async def _fetched(self, files: tuple[SavedFile, ...]) -> list[tuple[SavedFile, bytes]]:
        remaining_bytes = self.server.max_bytes - sum(len(content) for _, content in self.received)
        fetched: list[tuple[SavedFile, bytes]] = []
        for file in files:
            content = await self._fetch(file, remaining_bytes)
            if not content:
                raise ToolError(f"{NAME}: the file {file.name!r} of node {file.node!r} has no bytes on the server")
            remaining_bytes -= len(content)
            fetched.append((file, content))
        return fetched

    async def _fetch(self, file: SavedFile, limit: int) -> bytes:
        query = {"filename": file.name, "subfolder": file.subfolder, "type": file.kind}
        content = bytearray()
        async with self.http.stream("GET", "/view", params=query) as response:
            _check_status(response)
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > limit:
                    raise self._too_large()
        return bytes(content)

    def _too_large(self) -> ToolError:
        limit = f"{self.server.max_bytes:,} bytes, the operator's limit"
        return ToolError(f"{NAME}: the files have more than {limit}", retryable=False)

    def _facts(self) -> dict[str, Any]:
        return {
            "prompt_id": self.id,
            "executed": self.executed,
            "cached": self.cached,
            "progress_steps": self.steps,
            "reconnects": self.reconnects,
            **({"left_out": self.left_out} if self.left_out else {}),
        }


def _message(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise ToolError(f"{NAME}: the websocket sent invalid JSON: {shorten(text)}") from error
    return cast("dict[str, Any]", message) if isinstance(message, dict) else {}


def _check_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    message = f"{NAME}: {response.url.path} answered {response.status_code}"
    if response.status_code in RETRYABLE:
        raise _BusyError(message, retry_after=retry_after(response.headers))
    raise ToolError(message, retryable=False)


def _refusal(text: str) -> str:
    """Return what the server finds wrong with a workflow: the whole, then node by node."""
    try:
        refusal = cast("dict[str, Any]", json.loads(text))
        parts = [reason for _, reason in _reasons(refusal.get("node_errors"))]
        return "; ".join([str(refusal["error"]["message"]), *parts])[:2_000]
    except (ValueError, AttributeError, LookupError, TypeError):  # not as documented: shown as it is
        return shorten(text, 500)


def _dropped(errors: object) -> dict[str, str]:
    """Return the outputs that an accepted workflow is executed without, with the reasons."""
    reasons: dict[str, str] = {}
    for node, reason in _reasons(errors):
        stated = cast("dict[str, Any]", errors)[node].get("dependent_outputs") or [node]
        for output in map(str, cast("list[Any]", stated)):
            reasons[output] = f"{reasons[output]}; {reason}" if output in reasons else reason
    return reasons


def _reasons(errors: object) -> Iterator[tuple[str, str]]:
    """Yield what the server finds wrong, by node: `{"12": {"class_type": ..., "errors": [{"message": ...}]}}`."""
    for node, report in cast("dict[str, Any]", errors).items() if isinstance(errors, dict) else ():
        for problem in cast("dict[str, Any]", report).get("errors", ()):
            details = f"{problem.get('message')} ({problem.get('details')})"
            yield str(node), f"node {str(node)!r} ({report.get('class_type')}): {details}"
