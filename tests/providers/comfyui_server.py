"""A server on loopback that does what ComfyUI's code does: queue, websocket messages, history, files, node classes.

At the end of a workflow it tells of success; then it unloads models, for which the queue still holds the workflow; then
history and queue change at once; and only then it tells that nothing executes any more.
"""

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

CHOICES = ["sd_xl_base_1.0.safetensors", "v1-5-pruned.safetensors"]

CLASSES: dict[str, Any] = {
    "KSampler": {
        "input": {
            "required": {"seed": ["INT", {"min": 0}], "positive": ["CONDITIONING"]},
            "optional": {"denoise": ["FLOAT", {}], "sampler_name": [["euler", "dpm_2"], {}]},
        },
        "output_node": False,
    },
    "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {}]}}, "output_node": False},
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [CHOICES, {}]}}, "output_node": False},
    "SaveImage": {"input": {"required": {"images": ["IMAGE"]}, "hidden": {"prompt": "PROMPT"}}, "output_node": True},
    "PreviewImage": {"input": {"required": {"images": ["IMAGE"]}}, "output_node": True},
    "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}, "output_node": False},
    "ResizeImage": {
        "input": {
            "required": {"input": ["IMAGE"], "resize_type": ["COMFY_DYNAMICCOMBO_V3", {"options": []}]},
            "optional": {"method": ["COMBO", {"options": ["lanczos", "nearest"]}]},
        },
        "output_node": False,
    },
}
"""Of each class what the server tells, shortened."""

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
    """Whether the ids that clients propose are ignored, and success is not told of: as before 2024."""

    silent: bool = False
    """Whether no message is sent at the end."""

    unloads: float = 0.0
    """Seconds between success and history."""

    keeps_no_history: bool = False
    """Whether the history is emptied at once."""

    stumbles: int = 0
    """How many times the queue and the history are answered with 503."""

    node_errors: dict[str, Any] = field(default_factory=dict[str, Any])
    """What is wrong with outputs that are dropped from an accepted workflow."""

    blocks: str | None = None
    """The node that another one blocks, with a message, while the rest goes on."""

    sends: bytes = b""
    """What the last node sends over the websocket while it works."""

    files: dict[str, bytes] = field(default_factory=lambda: {"ComfyUI_00001_.png": picture()})
    """What the workflow saves, by name, with its subfolder where there is one."""

    outputs: dict[str, Any] | None = None
    """What the nodes have made; by default the last one the files, and another one a preview."""

    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    """Which node of the workflow stands for those that it unfolds into."""

    classes: dict[str, Any] | None = field(default_factory=lambda: CLASSES)
    """The node classes; `None` for a server without that answer."""

    hangs: bool = False
    """Whether it never answers what it is asked about its classes."""

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
                Route("/object_info", self._object_info),
                Route("/object_info/{name:path}", self._object_info),
                Route("/node_replacements", self._replacements),
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
        return JSONResponse({"prompt_id": id, "number": 1, "node_errors": self.node_errors})

    async def _work(self, id: str, client: str, workflow: dict[str, Any]) -> None:
        messages: list[list[Any]] = []

        async def tell(kind: str, *, kept: bool = True, **data: Any) -> None:
            if kept:
                messages.append([kind, {"prompt_id": id, **data}])
            if client in self.sockets:
                await self.sockets[client].send_json({"type": kind, "data": {"prompt_id": id, **data}})

        await tell("execution_start")
        await tell("execution_cached", nodes=["6"])
        await self._foreign(client)
        for node in [node for node in workflow if node != "6"]:
            await tell("executing", node=node, display_node=node)
            self.began.add(node)
            if node == self.drops_at:
                await self._drop(client, id)
                if self.forgets:
                    return
            if not await self._node(id, node, workflow, tell):
                self._end(id, {}, messages, "error")
                return
        if self.sends and client in self.sockets:
            await self.sockets[client].send_bytes(self.sends)
        await self._succeed(id, messages, tell)

    async def _succeed(self, id: str, messages: list[Any], tell: Any) -> None:
        if not self.silent and not self.old:
            await tell("execution_success")
        await asyncio.sleep(self.unloads)
        self._end(id, self._made(), messages, "success")
        if not self.silent:
            await tell("executing", node=None)

    def _made(self) -> dict[str, Any]:
        if self.outputs is not None:
            return self.outputs
        places = [name.rpartition("/")[::2] for name in self.files]
        images = [{"filename": name, "subfolder": folder, "type": "output"} for folder, name in places]
        preview = {"filename": "preview.png", "subfolder": "", "type": "temp"}
        return {"9": {"images": images}, "3": {"images": [preview]}}

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
        if node == self.blocks:
            await tell(
                "execution_error",
                kept=False,
                node_id=node,
                node_type=kind,
                exception_type="ExecutionBlocked",
                exception_message="Execution Blocked: no face was found",
            )
        else:
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
        if not self.keeps_no_history:
            self.history[id] = {"outputs": outputs, "meta": self.meta, "status": done}

    def _stumble(self) -> Response | None:
        if not self.stumbles:
            return None
        self.stumbles -= 1
        return Response("Bad gateway", status_code=503)

    async def _queue(self, request: Request) -> Response:
        if request.method == "POST":
            self.pending = [id for id in self.pending if id not in (await request.json())["delete"]]
            return Response()
        if (stumbled := self._stumble()) is not None:
            return stumbled
        running: list[Any] = [[0, id, {}, {}, []] for id in self.running]
        return JSONResponse({"queue_running": running, "queue_pending": [[1, id, {}, {}, []] for id in self.pending]})

    async def _interrupt(self, request: Request) -> Response:
        self.interrupted.append((await request.json())["prompt_id"])
        return Response()

    async def _history(self, request: Request) -> Response:
        self.asked.append("/history")
        id = request.path_params["id"]
        if (stumbled := self._stumble()) is not None:
            return stumbled
        return JSONResponse({id: self.history[id]} if id in self.history else {})

    async def _view(self, request: Request) -> Response:
        asked = request.query_params
        path = "/".join(filter(None, (asked["subfolder"], asked["filename"])))
        self.asked.append(f"{asked['type']}:{path}")
        return Response(self.files[path]) if path in self.files else Response(status_code=404)

    async def _object_info(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        self.keys.add(request.headers.get("authorization"))
        while self.hangs:  # noqa: ASYNC110 - a test's thread ends it
            await asyncio.sleep(0.01)
        if self.classes is None:
            return Response(status_code=404)
        name = request.path_params.get("name")
        return JSONResponse({key: value for key, value in self.classes.items() if name in (None, key)})

    async def _replacements(self, request: Request) -> Response:
        return JSONResponse({"OldSampler": [{"new_node_id": "KSampler"}]})


@contextmanager
def comfyui(**fields: Any) -> Generator[ComfyUI]:
    server = ComfyUI(**fields)
    with serving(server.app) as server.port:
        yield server
