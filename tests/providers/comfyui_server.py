"""A server on loopback that follows ComfyUI's documented API: queue, websocket messages, history, files."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.providers.loopback import serving
from tests.providers.media_server import picture

WORKFLOW: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["6", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
}


@dataclass
class ComfyUI:
    """One worker; what goes wrong is set by tests."""

    fails_in: str | None = None
    """The node that raises."""

    says: str = "Allocation on device"
    """What it says then."""

    drops_at: str | None = None
    """The node at whose begin every websocket is closed."""

    refuses_sockets: bool = False
    """Whether no further websocket is taken after that."""

    forgets: bool = False
    """Whether the queue and the history are lost then, as by a restart."""

    waits_in: str | None = None
    """The node that goes on only once it is interrupted."""

    busy: bool = False
    """Whether another one's workflow runs, so that ours stays in the queue."""

    old: bool = False
    """Whether the ids that clients propose are ignored."""

    silent: bool = False
    """Whether no message is sent at the end."""

    files: dict[str, bytes] = field(default_factory=lambda: {"ComfyUI_00001_.png": picture()})
    """What the workflow saves, by name."""

    asked: list[str] = field(default_factory=list[str])
    submitted: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    sockets: dict[str, WebSocket] = field(default_factory=dict[str, WebSocket])
    running: list[str] = field(default_factory=list[str])
    pending: list[str] = field(default_factory=list[str])
    history: dict[str, Any] = field(default_factory=dict[str, Any])
    interrupted: list[str] = field(default_factory=list[str])
    connects: int = 0
    keys: set[str | None] = field(default_factory=set[str | None])
    began: set[str] = field(default_factory=set[str])
    port: int = 0

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.app = Starlette(
            routes=[
                WebSocketRoute("/ws", self._ws),
                Route("/prompt", self._prompt, methods=["POST"]),
                Route("/queue", self._queue, methods=["GET", "POST"]),
                Route("/interrupt", self._interrupt, methods=["POST"]),
                Route("/history/{id}", self._history),
                Route("/view", self._view),
            ]
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _ws(self, socket: WebSocket) -> None:
        self.keys.add(socket.headers.get("authorization"))
        if self.refuses_sockets and self.connects:
            await socket.close()
            return
        self.connects += 1
        await socket.accept()
        client = socket.query_params["clientId"]
        self.sockets[client] = socket
        await socket.send_json({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}})
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            if self.sockets.get(client) is socket:
                del self.sockets[client]

    async def _prompt(self, request: Request) -> Response:
        self.asked.append("/prompt")
        self.keys.add(request.headers.get("authorization"))
        body = await request.json()
        self.submitted.append(body)
        workflow = body["prompt"]
        unknown = {id: node for id, node in workflow.items() if node["class_type"] == "Unknown"}
        if unknown:
            problem = {"type": "value_not_in_list", "message": "Value not in list", "details": "ckpt_name: 'x'"}
            errors = {id: {"errors": [problem], "class_type": "Unknown"} for id in unknown}
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return JSONResponse({"error": error, "node_errors": errors}, status_code=400)
        id = str(uuid4()) if self.old else body["prompt_id"]
        (self.pending if self.busy else self.running).append(id)
        if not self.busy:
            task = asyncio.create_task(self._work(id, body["client_id"], workflow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return JSONResponse({"prompt_id": id, "number": 1, "node_errors": {}})

    async def _work(self, id: str, client: str, workflow: dict[str, Any]) -> None:
        messages: list[list[Any]] = []

        async def tell(kind: str, **data: Any) -> None:
            messages.append([kind, {"prompt_id": id, **data}])
            if client in self.sockets:
                await self.sockets[client].send_json({"type": kind, "data": {"prompt_id": id, **data}})

        await tell("execution_start")
        await tell("execution_cached", nodes=["6"])
        await self._foreign(client)
        outputs: dict[str, Any] = {}
        for node in [node for node in workflow if node != "6"]:
            await tell("executing", node=node)
            self.began.add(node)
            if node == self.drops_at:
                await self._drop(client, id)
                if self.forgets:
                    return
            if not await self._node(id, node, workflow, tell):
                self._end(id, outputs, messages, "error")
                return
        outputs["9"] = {"images": [{"filename": name, "subfolder": "", "type": "output"} for name in self.files]}
        outputs["3"] = {"images": [{"filename": "preview.png", "subfolder": "", "type": "temp"}]}
        self._end(id, outputs, messages, "success")
        if not self.silent:
            await tell("execution_success")

    async def _node(self, id: str, node: str, workflow: dict[str, Any], tell: Any) -> bool:
        kind = workflow[node]["class_type"]
        for step in range(1, 4):
            await tell("progress", node=node, value=step, max=3)
        while node == self.waits_in:
            await asyncio.sleep(0.01)
            if id in self.interrupted:
                await tell("execution_interrupted", node_id=node, node_type=kind, executed=[])
                return False
        if node == self.fails_in:
            await tell(
                "execution_error",
                node_id=node,
                node_type=kind,
                exception_type="torch.OutOfMemoryError",
                exception_message=self.says,
                traceback=["..."],
            )
            return False
        await tell("executed", node=node, output={})
        return True

    async def _foreign(self, client: str) -> None:
        """Send what is not for this workflow: a preview, and another one's failure."""
        if client in self.sockets:
            await self.sockets[client].send_bytes(b"\0\0\0\1\0\0\0\1preview")
            other = {"type": "execution_error", "data": {"prompt_id": "other", "node_id": "1"}}
            await self.sockets[client].send_json(other)

    async def _drop(self, client: str, id: str) -> None:
        socket = self.sockets.pop(client)
        await socket.close(1012)
        if self.forgets:
            self.running.remove(id)

    def _end(self, id: str, outputs: dict[str, Any], messages: list[Any], status: str) -> None:
        self.running.remove(id)
        done = {"status_str": status, "completed": status == "success", "messages": messages}
        self.history[id] = {"outputs": outputs, "status": done}

    async def _queue(self, request: Request) -> Response:
        if request.method == "POST":
            self.pending = [id for id in self.pending if id not in (await request.json())["delete"]]
            return Response()
        running: list[Any] = [[0, id, {}, {}, []] for id in self.running]
        return JSONResponse({"queue_running": running, "queue_pending": [[1, id, {}, {}, []] for id in self.pending]})

    async def _interrupt(self, request: Request) -> Response:
        self.interrupted.append((await request.json())["prompt_id"])
        return Response()

    async def _history(self, request: Request) -> Response:
        self.asked.append("/history")
        id = request.path_params["id"]
        return JSONResponse({id: self.history[id]} if id in self.history else {})

    async def _view(self, request: Request) -> Response:
        assert request.query_params["type"] == "output"
        return Response(self.files[request.query_params["filename"]])


@contextmanager
def comfyui(**fields: Any) -> Generator[ComfyUI]:
    server = ComfyUI(**fields)
    with serving(server.app) as server.port:
        yield server
