from __future__ import annotations

import pytest

from tests.plans import node, plan
from vibe_prefect import UsageError, WorkflowPlan, compile_plan
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.errors import PlanError
from vibe_prefect.llm.provider.model_config import ModelConfig, Prices
from vibe_prefect.llm.provider.pricing import cost_usd
from vibe_prefect.settings.package import VibePrefectSettings
from vibe_prefect.tools.base import tool_version

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "VIBE_PREFECT_MODEL"):
        monkeypatch.delenv(name, raising=False)


def config() -> ModelConfig | None:
    settings = VibePrefectSettings()
    return settings.llm.config(settings.local)


def test_a_key_alone_configures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert config() is None
    assert "llm_generate" not in configured_registry()


def test_a_named_model_and_its_providers_variables_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "openai:tiny")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    found = config()
    assert found is not None
    assert (found.usual, found.base_url) == ("openai:tiny", "http://127.0.0.1:1/v1")
    assert {"llm_generate", "judge"} <= set(configured_registry())


def test_settings_come_before_the_short_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "openai:tiny")
    for name, value in {"MODELS": "ollama:a, ollama:*", "INPUT_PRICE": "1", "OUTPUT_PRICE": "2"}.items():
        monkeypatch.setenv(PREFIX + name, value)
    found = config()
    assert found is not None
    assert found.models == ("ollama:a", "ollama:*")
    assert found.prices == Prices(1.0, 2.0)


def test_what_a_setting_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "gpt")
    with pytest.raises(UsageError, match="VIBE_PREFECT_MODEL or LLM_MODELS is not named as provider:name"):
        config()
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "openai:tiny")
    monkeypatch.setenv(PREFIX + "INPUT_PRICE", "1")
    with pytest.raises(UsageError, match="set both prices"):
        config()


def test_a_missing_key_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "anthropic:claude-haiku-4-5")
    with pytest.raises(PlanError, match=f"set ANTHROPIC_API_KEY, the key for .*, or say in {PREFIX}KEY where it is"):
        compile_plan(plan(node("a")), tools=configured_registry())
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    assert compile_plan(plan(node("a")), tools=configured_registry()).nodes["a"].tool == "llm_generate"


def test_a_schema_that_is_none_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "ollama:a")

    def asking(**schema: str) -> WorkflowPlan:
        inputs = {"prompt": "x", "output_schema": schema}
        return plan(node("a", parameters={"tool": "llm_generate", "tool_inputs": inputs}))

    for bad, said in (
        ("nonsense", ".type: not a JSON Schema: 'nonsense'"),
        ("array", ": expected a JSON Schema of type object"),
    ):
        with pytest.raises(PlanError, match=f"parameters.tool_inputs.output_schema{said}"):
            compile_plan(asking(type=bad), tools=configured_registry())
    assert compile_plan(asking(type="{{ vibe.style }}"), tools=configured_registry()).nodes


def test_another_model_means_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    versions: set[str] = set()
    for model in ("ollama:a", "ollama:b"):
        monkeypatch.setenv("VIBE_PREFECT_MODEL", model)
        tool = configured_registry().get("llm_generate")
        assert tool is not None
        versions.add(tool_version(tool))
    assert len(versions) == 2


def test_the_vibe_is_in_the_keys_of_what_a_model_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "ollama:a")
    tools, one = configured_registry(), plan(node("a"))
    calm = one.model_copy(update={"source_vibe": one.source_vibe.model_copy(update={"style": "calm"})})
    assert compile_plan(one, tools=tools).nodes["a"].key != compile_plan(calm, tools=tools).nodes["a"].key


def test_retries_are_the_tools_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "ollama:a")
    nodes = compile_plan(
        plan(node("a"), node("b", policy={"retries": 0}), node("c", parameters={"tool": "combine"})),
        tools=configured_registry(),
    ).nodes
    assert [one.policy.retries for one in nodes.values()] == [3, 0, 0]


def test_prices_are_the_operators_then_the_public_lists_and_else_unknown() -> None:
    known = ModelConfig(("openai:gpt-4o-mini",))
    assert cost_usd(known, known.usual, 1_000_000, 0) == pytest.approx(0.15)
    assert cost_usd(known, "openai:no-such-model-at-all", 1, 1) is None
    assert cost_usd(ModelConfig(known.models, "http://127.0.0.1:1"), known.usual, 1, 1) is None
    own = ModelConfig(known.models, "http://127.0.0.1:1", prices=Prices(2.0, 4.0))
    assert cost_usd(own, known.usual, 500_000, 250_000) == 2.0
