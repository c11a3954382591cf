"""What a model's provider lacks is known before a run, from its own class and without a call."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.plans import node, plan
from vibe_prefect import PlanError, compile_plan
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.provider.connect import connect, provider_lack
from vibe_prefect.llm.provider.model_config import ModelConfig, model_key
from vibe_prefect.plan.preflight import call_problems
from vibe_prefect.tools.secrecy.known import scrubbed
from vibe_prefect.tools.workspace import Workspace

VALUE = "sk-canary-0c44a1d2"
LIBRARIES = {
    "anthropic": "anthropic",
    "cohere": "cohere",
    "google": "google.genai",
    "groq": "groq",
    "huggingface": "huggingface_hub",
    "mistral": "mistralai",
    "xai": "xai_sdk",
}
"""Packages that providers need other than OpenAI's."""

KEYED = {
    "alibaba": "ALIBABA_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
    "cohere": "CO_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
    "google": "GOOGLE_API_KEY",
    "groq": "GROQ_API_KEY",
    "huggingface": "HF_TOKEN",
    "mistral": "MISTRAL_API_KEY",
    "moonshotai": "MOONSHOTAI_API_KEY",
    "nebius": "NEBIUS_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "ovhcloud": "OVHCLOUD_API_KEY",
    "sambanova": "SAMBANOVA_API_KEY",
    "together": "TOGETHER_API_KEY",
    "vercel": "VERCEL_AI_GATEWAY_API_KEY",
    "xai": "XAI_API_KEY",
    "zai": "ZAI_API_KEY",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith(("_KEY", "_TOKEN", "_BASE_URL", "_ENDPOINT"))]:
        monkeypatch.delenv(name)


def is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # of a package around it, such as `google`
        return False


def lack(provider: str, base_url: str | None = None) -> str | None:
    config = ModelConfig((f"{provider}:{'openai/' if provider == 'openrouter' else ''}a-model",), base_url)
    return provider_lack(config, config.usual)


@pytest.mark.parametrize(("provider", "variable"), KEYED.items(), ids=KEYED)
def test_a_missing_key_is_named_by_us_as_by_the_providers_class(
    provider: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = ModelConfig((f"{provider}:a-model",)).key_sources(f"{provider}:a-model")
    assert source.place == f"env:{variable}"
    assert f"set {variable}" in str(source.lack)
    said = lack(provider)
    assert said is not None
    if not is_installed(LIBRARIES.get(provider, "openai")):
        assert "install" in said
    else:
        assert variable in said
        monkeypatch.setenv(variable, VALUE)
        assert lack(provider) is None
    monkeypatch.setenv(variable, VALUE)
    assert source.lack is None


@pytest.mark.parametrize(
    ("provider", "address"),
    [("ollama", "OLLAMA_BASE_URL"), ("vllm", "VLLM_BASE_URL"), ("azure", "AZURE_OPENAI_ENDPOINT")],
)
def test_a_missing_address_is_named(provider: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", VALUE)
    said = str(lack(provider))
    assert address in said
    assert VALUE not in said
    monkeypatch.setenv(address, "https://127.0.0.1:9/openai/v1")
    assert lack(provider) is None


def test_the_settings_address_reaches_providers_under_their_own_name_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", VALUE)
    for provider in ("azure", "litellm", "ollama", "vllm"):
        assert lack(provider, base_url="https://127.0.0.1:9/openai/v1") is None


def test_a_provider_that_takes_no_address_says_so() -> None:
    with pytest.raises(ToolError, match=r"deepseek:x: its provider takes no address; leave .*_LLM_URL out"):
        connect("deepseek:x", "http://127.0.0.1:9", VALUE)


def test_a_key_that_a_setting_names_is_not_read_for_it() -> None:
    def unread() -> str:
        raise AssertionError("nobody reads the key before the run")

    config = ModelConfig(("openrouter:openai/a",), key=unread)
    assert provider_lack(config, config.usual) is None


@pytest.mark.parametrize("provider", ["bedrock", "google-cloud"])
def test_a_login_in_the_cloud_is_not_looked_for(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a search asks the machine's metadata service, over the network."""

    def none(*_: object, **__: object) -> object:
        raise AssertionError("it was asked")

    monkeypatch.setattr("socket.socket.connect", none)
    said = lack(provider)
    assert said is None or "install" in said


@pytest.mark.parametrize("value", ["", " ", "\n"])
@pytest.mark.parametrize("address", [None, "http://127.0.0.1:9/v1"])
def test_a_variable_that_holds_nothing_is_told_before_the_run(
    monkeypatch: pytest.MonkeyPatch, value: str, address: str | None
) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "openai:a")
    monkeypatch.setenv("OPENAI_API_KEY", value)
    if address is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(PlanError, match=r"set OPENAI_API_KEY, .*; that variable is there, but it is empty"):
        compile_plan(plan(node("a")), tools=configured_registry())


def test_the_key_of_a_model_that_a_node_names_is_looked_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS", "openai:a,openrouter:*")
    monkeypatch.setenv("OPENAI_API_KEY", VALUE)
    inputs = {"prompt": "Write.", "model": "openrouter:openai/gpt-5-mini"}
    one = plan(node("a", parameters={"tool": "llm_generate", "tool_inputs": inputs}))
    with pytest.raises(PlanError, match=r"tool_inputs.model: the model needs a key: set OPENROUTER_API_KEY"):
        compile_plan(one, tools=configured_registry())
    monkeypatch.setenv("OPENROUTER_API_KEY", VALUE)
    assert compile_plan(one, tools=configured_registry()).nodes
    inputs["model"] = "openrouter-typo:*"
    with pytest.raises(PlanError, match=r"tool_inputs.model: model 'openrouter-typo:\*' is not one that the op"):
        compile_plan(one.model_copy(deep=True), tools=configured_registry())


async def test_the_preflight_of_a_run_asks_the_providers_of_all_models_that_it_will_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS", "openai:a,ollama:*")
    monkeypatch.setenv("OPENAI_API_KEY", VALUE)
    tools = configured_registry()
    named = {"tool": "llm_generate", "tool_inputs": {"prompt": "Write.", "model": "ollama:b"}}
    compiled = compile_plan(plan(node("a", "generate"), node("b", parameters=named)), tools=tools)
    workspace = Workspace(tmp_path, tmp_path)
    assert not await call_problems(compiled, ["a"], tools, workspace)
    ((lack, names),) = (await call_problems(compiled, ["a", "b"], tools, workspace)).items()
    assert "OLLAMA_BASE_URL" in lack
    assert names == ("llm_generate",)


OTHERS = {"alibaba": "DASHSCOPE_API_KEY", "google": "GEMINI_API_KEY", "openai-chat": "OPENAI_API_KEY"}


@pytest.mark.parametrize(("provider", "variable"), [*KEYED.items(), *OTHERS.items()])
def test_a_key_of_any_provider_is_stripped_checked_and_hidden(
    monkeypatch: pytest.MonkeyPatch, provider: str, variable: str
) -> None:
    model = f"{provider}:m"
    config = ModelConfig(("openai:gpt-5-mini", model))
    key = f"canary/of {variable.lower()}"
    monkeypatch.setenv(variable, f"\t{key}\r\n")
    assert model_key(config, model) == key
    monkeypatch.delenv(variable)
    assert model_key(config, model) is None
    assert scrubbed(f"it was {key}") == "it was ***", "it is known from now on"
    monkeypatch.setenv(variable, f"{key}\nX: y")
    with pytest.raises(ToolError, match=f"environment variable {variable} holds a line break"):
        model_key(config, model)
    said = provider_lack(config, model)
    assert said is not None
    assert f"{variable} holds a line break" in said
    assert key not in said


def test_a_key_reaches_a_provider_whose_class_is_deprecated() -> None:
    with pytest.warns(match="is deprecated"):
        assert connect("github:openai/gpt-4o", None, VALUE) is not None
