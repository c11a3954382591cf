"""Where keys are: told by tools, checked before anything runs, listed by the dry run, and never read for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.system import Secret

from tests.cli.command import FEATURE, call, write_plan
from tests.cli.command import node as raw
from tests.plans import node, plan
from tests.providers.media_server import MediaServer, media_server
from vibe_prefect import PlanError, UsageError, WorkflowExecutor, compile_plan
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.tools.registry import ToolRegistry

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
NOWHERE = "http://127.0.0.1:9/api"
COVER: dict[str, Any] = {"tool": "image_generate", "tool_inputs": {"prompt": "a cat"}}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith((PREFIX, "OPENAI_", "ANTHROPIC_", "VIBE_PREFECT_"))]:
        monkeypatch.delenv(name)


def configured(monkeypatch: pytest.MonkeyPatch, **settings: str) -> ToolRegistry:
    for name, value in settings.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    return configured_registry()


@pytest.mark.parametrize(
    ("settings", "tool", "said"),
    [
        (
            {"LLM_MODELS": "openai:x", "LLM_KEY": "env:NO_KEY"},
            {},
            f"the tool 'llm_generate' needs a key: set NO_KEY, where {PREFIX}LLM_KEY says that the key is",
        ),
        (
            {"LLM_MODELS": "openai:x"},
            {},
            f"set OPENAI_API_KEY, the key for openai:x, or say in {PREFIX}LLM_KEY where it is",
        ),
        (
            {"LLM_MODELS": "anthropic:x", "LLM_URL": "http://127.0.0.1:1"},
            {},
            "set ANTHROPIC_API_KEY, the key for anthropic:x",
        ),
        (
            {"LLM_MODELS": "ollama:x", "LLM_JUDGE": "anthropic:y"},
            {"tool": "judge"},
            "the tool 'judge' needs a key: set ANTHROPIC_API_KEY, the key for anthropic:y",
        ),
        (
            {"MEDIA_IMAGES_MODELS": "m", "MEDIA_IMAGES_KEY": "env:NO_KEY"},
            COVER,
            f"the tool 'image_generate' needs a key: set NO_KEY, where {PREFIX}MEDIA_IMAGES_KEY says",
        ),
        (
            {"MEDIA_IMAGES_MODELS": "m"},
            COVER,
            f"say in {PREFIX}MEDIA_IMAGES_KEY where OpenAI's key is, such as env:OPENAI_API_KEY",
        ),
        (
            {"MEDIA_SPEECH_MODELS": "m", "MEDIA_SPEECH_KEY": "env:NO_KEY"},
            {"tool": "speech_generate", "tool_inputs": {"text": "hi"}},
            f"set NO_KEY, where {PREFIX}MEDIA_SPEECH_KEY says",
        ),
        (
            {"MEDIA_COMFYUI_URL": "http://127.0.0.1:1", "MEDIA_COMFYUI_KEY": "env:NO_KEY"},
            {"tool": "comfyui_run", "tool_inputs": {"workflow_file": "x"}},
            f"set NO_KEY, where {PREFIX}MEDIA_COMFYUI_KEY says",
        ),
    ],
)
def test_a_key_that_is_not_there_is_told_before_the_run(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], tool: dict[str, Any], said: str
) -> None:
    subject = plan(node("a", "generate", parameters=tool))
    tools = configured(monkeypatch, **settings)
    with pytest.raises(PlanError) as caught:
        compile_plan(subject, tools=tools)
    assert said in str(caught.value)
    assert compile_plan(subject, tools=tools, simulate="all").nodes
    for name in ("NO_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "sk-0123456789")
    if "such as env:OPENAI_API_KEY" in said:
        tools = configured(monkeypatch, MEDIA_IMAGES_KEY="env:OPENAI_API_KEY")
    assert compile_plan(subject, tools=tools).nodes


def test_without_a_model_the_command_says_what_to_set_and_asks_nobody(folder: Path) -> None:
    seen = call("run", FEATURE, cwd=folder, extra={"PREFECT_API_URL": NOWHERE})
    assert (seen.code, seen.lines) == (2, [f"plan     {FEATURE}"])
    assert f"configure a model (set VIBE_PREFECT_MODEL or {PREFIX}LLM_MODELS, such as openai:gpt-5-mini" in seen.err
    assert list(folder.iterdir()) == []


def test_a_server_of_ones_own_may_need_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "http://127.0.0.1:1/v1"
    tools = configured(monkeypatch, LLM_MODELS="openai:x", LLM_URL=here, MEDIA_IMAGES_MODELS="m", MEDIA_IMAGES_URL=here)
    assert compile_plan(plan(node("a"), node("b", parameters=COVER)), tools=tools).nodes


def on_media(server: MediaServer, place: str) -> dict[str, str]:
    return {"MEDIA_IMAGES_MODELS": "m", "MEDIA_IMAGES_URL": server.base_url, "MEDIA_IMAGES_KEY": place}


@pytest.mark.server
async def test_a_secret_block_that_is_not_there_stops_the_run_before_its_first_node(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = node("note", parameters={"tool": "write_file", "tool_inputs": {"path": "a.txt", "content": "x"}})
    with media_server() as server:
        tools = configured(monkeypatch, **on_media(server, "secret:none-such"))
        executor = WorkflowExecutor(tool_registry=tools)
        with pytest.raises(UsageError) as caught:
            await executor.execute_plan(plan(note, node("cover", parameters=COVER)))
        assert server.calls == 0
    assert str(caught.value) == (
        "nothing was run: the tool image_generate needs a key: save the Secret block 'none-such' on the Prefect "
        f"server, where {PREFIX}MEDIA_IMAGES_KEY says that the key is"
    )
    assert not list(folder.rglob("a.txt"))


@pytest.mark.server
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "opnai:x",
            "opnai:x: pydantic-ai knows no provider 'opnai'; did you mean 'openai'?; set VIBE_PREFECT_MODEL or",
        ),
        ("groq:x", "groq:x: Please install the `groq` package"),
    ],
)
async def test_a_provider_that_cannot_be_used_stops_the_run_before_its_first_node(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch, model: str, said: str
) -> None:
    note = node("note", parameters={"tool": "write_file", "tool_inputs": {"path": "a.txt", "content": "x"}})
    monkeypatch.setenv("GROQ_API_KEY", "sk-0123456789")
    executor = WorkflowExecutor(tool_registry=configured(monkeypatch, LLM_MODELS=model))
    with pytest.raises(UsageError) as caught:
        await executor.execute_plan(plan(note, node("text"), node("gate", "validate", needs=["text"])))
    assert str(caught.value).startswith(f"nothing was run: the tools judge, llm_generate need more: {said}")
    assert not list(folder.rglob("a.txt"))


@pytest.mark.parametrize(
    "names", [["LLM_KEY"], ["MEDIA_IMAGES_KEY", "MEDIA_SPEECH_KEY", "MEDIA_COMFYUI_KEY"]], ids=["texts", "media"]
)
@pytest.mark.parametrize("command", [["run", FEATURE], ["config"], ["tools"]], ids=["run", "config", "tools"])
def test_a_key_in_place_of_its_place_is_refused_and_not_shown(
    folder: Path, command: list[str], names: list[str]
) -> None:
    seen = call(*command, cwd=folder, extra={f"{PREFIX}{name}": "sk-canary-11cc22dd33" for name in names})
    assert (seen.code, seen.lines) == (2, [f"plan     {FEATURE}"] if "run" in command else [])
    for name in names:
        assert f"{PREFIX}{name}: expected where the key is, env:NAME or secret:block, and never the" in seen.err
    assert "canary" not in seen.err


@pytest.mark.server
def test_the_dry_run_lists_the_keys_and_whether_they_are_there(prefect_server: str, folder: Path) -> None:
    Secret(value="sk-canary-99aa88bb77").save("image-key", overwrite=True, _sync=True)  # pyright: ignore
    path = write_plan(
        folder, [raw("text"), raw("cover", parameters=COVER), raw("both", parameters={"tool": "combine"})]
    )
    with media_server() as server:
        settings = {f"{PREFIX}{name}": value for name, value in on_media(server, "secret:image-key").items()}
        settings |= {
            f"{PREFIX}LLM_MODELS": "openai:x",
            f"{PREFIX}LLM_URL": server.base_url,
            f"{PREFIX}LLM_KEY": "env:TEXT_KEY",
            "TEXT_KEY": "sk-canary-11cc22dd33",
            "PREFECT_API_URL": prefect_server,
        }
        told = call("run", path, "--dry-run", "--json", cwd=folder, extra=settings)
        keys = {name: tool["keys"] for name, tool in told.json["tools"].items()}
        assert keys == {
            "combine": [],
            "image_generate": [{"place": "secret:image-key", "set": True, "needed": True}],
            "llm_generate": [{"place": "env:TEXT_KEY", "set": True, "needed": True}],
        }

        missing = settings | {f"{PREFIX}MEDIA_IMAGES_KEY": "secret:none-such"}
        seen = call("run", path, "--dry-run", cwd=folder, extra=missing)
        assert "env:TEXT_KEY for llm_generate: set" in seen.out
        assert "secret:none-such for image_generate: not set; save the Secret block 'none-such'" in seen.out
        assert "canary" not in seen.out + seen.err + told.out + told.err

        away = call("run", path, "--dry-run", "--json", cwd=folder, extra=settings | {"PREFECT_API_URL": NOWHERE})
        assert away.json["tools"]["image_generate"]["keys"][0]["set"] is None
        assert away.json["not_looked_up"] == f"cannot reach the Prefect server at {NOWHERE}"

        own = {name: value for name, value in settings.items() if name != f"{PREFIX}LLM_KEY"}
        told = call("run", path, "--dry-run", "--json", cwd=folder, extra=own)
        (key,) = told.json["tools"]["llm_generate"]["keys"]
        assert (key["place"], key["needed"]) == ("env:OPENAI_API_KEY", False)
        assert server.calls == 0


@pytest.mark.parametrize(
    ("absent", "settings", "parameters", "said"),
    [
        ("pydantic_ai", {"LLM_MODELS": "openai:x", "LLM_KEY": "env:PATH"}, {}, "pip install 'vibe-prefect[llm]'"),
        (
            "openai",
            {"MEDIA_IMAGES_MODELS": "m", "MEDIA_IMAGES_KEY": "env:PATH"},
            COVER,
            "pip install 'vibe-prefect[media]'",
        ),
    ],
)
def test_without_the_extra_a_plan_is_refused_with_the_command_that_installs_it(
    folder: Path, absent: str, settings: dict[str, str], parameters: dict[str, Any], said: str
) -> None:
    """The library is hidden from the whole process, as if it had never been installed."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{absent!r}] = None\n")
    path = write_plan(folder, [raw("a", parameters=parameters)])
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    named = {f"{PREFIX}{name}": value for name, value in settings.items()}
    for dry in ([], ["--dry-run"]):
        seen = call("run", path, *dry, cwd=folder, extra={**named, "PYTHONPATH": paths, "PREFECT_API_URL": NOWHERE})
        assert (seen.code, seen.lines) == (2, [] if dry else [f"plan     {path}"])
        assert f"needs more than is installed: {said}" in seen.err
