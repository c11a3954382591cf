"""A hunt for keys that servers repeat: none is left in results, logs, files, records, or on the Prefect server.

The small hunt is part of every run of the suite; the whole one has the marker `storm`.
"""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prefect.logging.handlers import APILogHandler

from tests.plans import node, plan
from tests.providers.comfyui_server import WORKFLOW
from tests.providers.echo_server import WAIT, WAYS, EchoServer, echo_server
from tests.secret_forms import forms_of
from vibe_prefect import WorkflowExecutor, WorkflowPlan
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.testing import run_offline
from vibe_prefect.tools import waits
from vibe_prefect.tools.builtin.media_tools import MediaConfig
from vibe_prefect.tools.comfyui.endpoint import ComfyServer
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.media.openai_media import OpenAIEndpoint
from vibe_prefect.tools.registry import ToolRegistry

KEY = "sk/9f3A7c21+De&4b60-xyzw7"
NEEDLE = "9f3A7c21"
"""A part of the key that every form of it holds, in the same form; but for the end of a key that was cut."""


def needles() -> list[str]:
    """What is left of a key in each of its forms."""
    raw = NEEDLE.encode()
    packed = [base64.b64encode(bytes(offset) + raw).decode()[-(-offset * 8 // 6) :] for offset in range(3)]
    cores = [text[: (offset + len(raw)) * 8 // 6 - -(-offset * 8 // 6)] for offset, text in enumerate(packed)]
    escaped = [
        "".join(f"%{byte:02x}" for byte in raw),
        "".join(f"&#{byte};" for byte in raw),
        "".join(f"\\u{byte:04X}" for byte in raw),
    ]
    return [NEEDLE, *cores, *escaped, " ".join(NEEDLE)]


FOUND = needles()


def leaks(text: str) -> list[str]:
    return [needle for needle in FOUND if needle in text]


def test_the_hunt_finds_what_it_looks_for() -> None:
    forms = {name: form.replace("\n", "") for name, form in forms_of(KEY).items() if name != "its end"}
    missed = [name for name, form in forms.items() if not leaks(form)]
    assert missed == [], "each form of the key is seen where it is not hidden"


class Listener(logging.Handler):
    """Keeps every log record as it would be shown."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def load_nothing(*_: object, **__: object) -> None:
    """Stand in for the loading of certificate authorities."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that a server asks to wait give up soon; no client loads certificates, since nothing here speaks TLS."""
    monkeypatch.setattr(waits, "MAX_WAITING", 0.05)
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load_nothing)


@pytest.fixture
def heard() -> Generator[list[str]]:
    """What the package logs."""
    listener, logger = Listener(), logging.getLogger("vibe_prefect")
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    yield listener.lines
    logger.setLevel(level)
    logger.removeHandler(listener)


def tools_of(server: EchoServer) -> ToolRegistry:
    """Every tool that sends a key, and the one that fetches."""
    address = f"{server.url}/v1"
    endpoint = OpenAIEndpoint(("m",), address, key=lambda: f" {KEY}\n", seconds=20)
    comfy = ComfyServer(server.url, key=lambda: f"{KEY}\r\n", seconds=20)
    fetch = FetchConfig(allow=(f"127.0.0.1:{server.port}",), allow_private=(f"127.0.0.1:{server.port}",))
    media = MediaConfig(images=endpoint, speech=endpoint, comfyui=comfy, fetch=fetch)
    return equipped_registry(fetch, media, ModelConfig(("openai:m",), address, lambda: f"{KEY}\n", seconds=20))


def everything(server: EchoServer) -> WorkflowPlan:
    calls: dict[str, dict[str, Any]] = {
        "text": {"tool": "llm_generate"},
        "judge": {"tool": "judge", "tool_inputs": {"text": "a text", "criteria": ["is short"]}},
        "image": {"tool": "image_generate", "tool_inputs": {"prompt": "a cat"}},
        "speech": {"tool": "speech_generate", "tool_inputs": {"text": "hi", "path": "a.wav"}},
        "comfy": {"tool": "comfyui_run", "tool_inputs": {"workflow": WORKFLOW}},
        "fetch": {"tool": "http_fetch", "tool_inputs": {"url": f"{server.url}/text"}},
        "file": {"tool": "http_fetch", "tool_inputs": {"url": f"{server.url}/text", "path": "fetched.txt"}},
    }
    nodes = [node(id, parameters=parameters) for id, parameters in calls.items()]
    return plan(*nodes, policy={"retries": 0}, id="hunt")


def texts_in(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for name, one in cast("dict[str, Any]", value).items():
                yield name
                yield from texts_in(one)
        case list():
            for one in cast("list[Any]", value):
                yield from texts_in(one)
        case _:
            yield str(value)


def in_files(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if leaks(path.read_bytes().decode("latin-1"))]


def repeating(form: str) -> Callable[[str], str]:
    """Return what a server makes of the key that it is sent."""

    def said(key: str) -> str:
        return form if key == KEY else f"unexpected {key!r}"

    return said


def fields_of(value: Any) -> dict[str, Any]:
    """What a value holds, also one with slots."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else dict(vars(value))


async def hunt(forms: Collection[str], way: str, folder: Path, heard: list[str]) -> int:
    """Let every tool be told the key in each form in one way, and look at all that comes of it."""
    made = 0
    with echo_server(KEY) as server:
        tools, calls = tools_of(server), everything(server)
        for name in forms:
            server.way, server.form = way, repeating(forms_of(KEY)[name])
            server.asked.clear()
            result = await run_offline(calls, tools, input_root=folder, output=folder / f"{made}")
            shown = [*texts_in(json.loads(json.dumps(result, default=fields_of))), *heard]
            assert leaks("\0".join(shown)) == [], (way, name)
            assert "unexpected" not in "\0".join(shown), "the key is sent without the white space around it"
            expected = 3 if way == WAIT else 6  # a call to an endpoint that asks to wait holds the others back
            assert len(server.asked) >= expected, (way, name, server.asked)
            heard.clear()
            made += 1
    assert in_files(folder) == []
    return made


SMALL = ("plain", "json", "html", "wrapped", "basic")


@pytest.mark.parametrize("way", WAYS)
async def test_no_tool_lets_a_key_out_that_a_server_repeats(
    way: str, folder: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTED_KEY", KEY)
    forms = SMALL if way in ("json error", "answer") else ("plain",)
    assert await hunt(forms, way, folder, heard) == len(forms)


@pytest.mark.storm
@pytest.mark.parametrize("way", WAYS)
async def test_no_tool_lets_a_key_out_in_any_form(
    way: str, folder: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTED_KEY", KEY)
    assert await hunt(forms_of(KEY), way, folder, heard) == len(forms_of(KEY))


QUESTIONS = ("flow_runs", "task_runs", "artifacts", "logs", "events")


@pytest.mark.storm
@pytest.mark.server
async def test_no_key_is_left_on_the_prefect_server(
    prefect_server: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with echo_server(KEY) as server:
        for way in WAYS:
            for form in ("plain", "json", "wrapped", "basic"):
                server.way, server.form = way, repeating(forms_of(KEY)[form])
                server.asked.clear()
                executor = WorkflowExecutor(
                    tool_registry=tools_of(server), storage=folder / "records", output=folder / "made", simulate="never"
                )
                result = await executor.execute_plan(everything(server))
                assert leaks("\0".join(texts_in(json.loads(json.dumps(result, default=fields_of))))) == [], (way, form)
                assert len(server.asked) >= 3, (way, form, server.asked)
    await APILogHandler.aflush()
    told = ""
    async with httpx.AsyncClient(base_url=prefect_server) as client:
        for name in QUESTIONS:
            answer = await client.post(f"/{name}/filter", json={"limit": 50} if name == "events" else {})
            assert answer.is_success, (name, answer.text)
            assert leaks(answer.text) == [], name
            told += answer.text
    assert "Authorization: Bearer ***" in told, "the server knows what the providers said"
    databases = list(tmp_path_factory.getbasetemp().rglob("prefect.db*"))
    assert databases
    assert [path for path in databases if leaks(path.read_bytes().decode("latin-1"))] == []
    assert in_files(folder) == []
