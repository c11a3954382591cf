"""The name `local` in settings and plans, on its way to limits, prices, keys and refusals. No model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import PlanError, UsageError, compile_plan
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.llm import toolset
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.llm.provider.pricing import cost_usd
from vibe_prefect.settings.package import load_settings
from vibe_prefect.testing import run_offline

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
GGUF = f"{PREFIX}LOCAL_GGUF"


@pytest.fixture(autouse=True)
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that begins as a model does, as the setting has it; the library counts as installed."""
    path = tmp_path / "Tiny.gguf"
    path.write_bytes(b"GGUF of a test")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(toolset, "MISSING_LOCAL", None)
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "local")
    monkeypatch.setenv(GGUF, str(path))
    return path


def config() -> ModelConfig:
    settings = load_settings()
    found = settings.llm.config(settings.local)
    assert found is not None
    return found


def test_local_stands_for_the_model_of_a_file_wherever_models_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = config().usual
    assert name.startswith("local:Tiny-")
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "openai:tiny, local, openai:*")
    monkeypatch.setenv(f"{PREFIX}LLM_JUDGE", "local")
    found = config()
    assert (found.models, found.judge) == (("openai:tiny", name, "openai:*"), name)
    assert found.chosen("local") == found.chosen(name) == name
    assert found.chosen("openai:other") == "openai:other"


def test_limits_that_are_not_set_are_those_of_the_local_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits() -> tuple[float, ...]:
        found = config()
        return found.max_tokens, found.context_tokens, found.seconds

    assert limits() == (1_024, 4_096 - 1_024 - 64, 900)
    monkeypatch.setenv(f"{PREFIX}LOCAL_CONTEXT", "8192")
    monkeypatch.setenv(f"{PREFIX}LLM_MAX_TOKENS", "200")
    assert limits() == (200, 8_192 - 200 - 64, 900)
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "openai:tiny, local")
    assert limits() == (200, 24_000, 180)


def test_a_local_model_costs_nothing_unless_the_operator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = config()
    assert cost_usd(found, found.usual, 1_000_000, 1_000_000) == 0.0
    for name in ("INPUT_PRICE", "OUTPUT_PRICE"):
        monkeypatch.setenv(f"{PREFIX}LLM_{name}", "0.5")
    found = config()
    assert cost_usd(found, found.usual, 1_000_000, 1_000_000) == 1.0


@pytest.mark.parametrize("models", ["local", "openai:tiny,local"])
def test_keys_hold_the_file_of_the_local_model(monkeypatch: pytest.MonkeyPatch, gguf: Path, models: str) -> None:
    def key() -> str:
        subject = plan(node("a", "generate", parameters={"tool": "llm_generate", "tool_inputs": {"model": "local"}}))
        return compile_plan(subject, tools=configured_registry()).nodes["a"].key

    monkeypatch.setenv("VIBE_PREFECT_MODEL", models)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    first = key()
    assert key() == first
    gguf.write_bytes(b"GGUF of another test")
    assert key() != first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {GGUF: "none.gguf"},
            f"needs a setting: set {GGUF} to the path of a GGUF file: there is no file '.*none.gguf'",
        ),
        ({GGUF: __file__}, "is not a GGUF file"),
        ({GGUF: None}, f"needs a setting: set {GGUF} to the path of a GGUF file"),
    ],
)
@pytest.mark.parametrize("named", [{}, {"tool": "llm_generate", "tool_inputs": {"model": "local"}}])
def test_a_model_without_its_file_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str | None], message: str, named: dict[str, Any]
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    if named:
        monkeypatch.setenv("VIBE_PREFECT_MODEL", "openai:tiny, local")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    with pytest.raises(PlanError, match=message):
        compile_plan(plan(node("a", "generate", parameters=named)), tools=configured_registry())


def test_a_model_without_its_library_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolset, "MISSING_LOCAL", "pip install 'vibe-prefect[llm,local]'")
    with pytest.raises(PlanError, match=r"needs more than is installed: pip install 'vibe-prefect\[llm,local\]'"):
        compile_plan(plan(node("a", "generate")), tools=configured_registry())


@pytest.mark.parametrize("name", ["URL", "KEY"])
def test_a_local_model_has_no_other_address_and_no_key(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"{PREFIX}LLM_{name}", {"URL": "http://127.0.0.1:1/v1", "KEY": "env:SOME"}[name])
    with pytest.raises(UsageError, match="leave LLM_URL and LLM_KEY out"):
        config()


async def test_no_node_may_fetch_from_the_address_of_a_local_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the program's own: what plans may fetch is another matter, and loopback addresses are not public."""
    monkeypatch.setenv(f"{PREFIX}FETCH_ALLOW", "*:8080")
    fetch = node("a", "analyze", parameters={"tool": "http_fetch", "tool_inputs": {"url": "http://127.0.0.1:8080/v1"}})
    result = await run_offline(plan(fetch), configured_registry(), output=tmp_path)
    assert "is not a public address" in str(result.node_results["a"].error)
