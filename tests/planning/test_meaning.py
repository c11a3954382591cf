from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planning.answers import answer
from tests.providers.openai_server import KEY, TOKENS, OpenAIServer, openai_server
from vibe_prefect import MetaPlanner, PlanningError, UsageError, Vibe
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.llm.provider.model_config import ModelConfig, Prices
from vibe_prefect.planning import meaning as meaning_module

TEA = Vibe(description="Infusions of dried leaves for cold evenings")


def meaning(text: str) -> list[float]:
    """Vectors of a model that knows what tea is."""
    return [1.0, 0.1] if "leaves" in text or "tea" in text else [0.0, 1.0]


def plan_text(body: dict[str, Any]) -> str:
    return answer()


def config(server: OpenAIServer, embedding: str | None = "openai:near", **fields: Any) -> ModelConfig:
    prices = Prices(1_000.0, 1_000.0)
    known: dict[str, Any] = {"prices": prices, "embedding": embedding} | fields
    return ModelConfig(("openai:ok",), server.base_url, lambda: KEY, structure="native", **known)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning_module, "PAUSES", (0.0, 0.0))


@pytest.fixture
def notes(folder: Path) -> None:
    (folder / "tea.md").write_text("---\nwhen: a new tea\n---\nTea heals nobody.\n")
    (folder / "cars.md").write_text("---\nwhen: cars\n---\nCars are fast.\n")
    (folder / "general.md").write_text("We never shout.\n")


async def plan_with(models: ModelConfig, **options: Any) -> tuple[MetaPlanner, WorkflowPlan]:
    planner = MetaPlanner(models, knowledge=["*.md"], **options)
    return planner, await planner.plan(TEA)


@pytest.mark.usefixtures("notes")
async def test_knowledge_is_chosen_by_meaning_where_an_embedding_model_is_configured() -> None:
    with openai_server(reply=plan_text, embedding=meaning) as server:
        _, by_words = await plan_with(config(server, None))
        planner, by_meaning = await plan_with(config(server))
        asked = next(call.body for call in server.calls if "input" in call.body)
    assert by_words.source_vibe.metadata == {"knowledge": ["general.md"]}
    assert by_meaning.source_vibe.metadata == {"knowledge": ["tea.md", "general.md"]}
    assert asked["input"][0] == TEA.description
    assert "a new tea\nTea heals nobody." in asked["input"]
    assert planner.last_planned is not None
    assert planner.last_planned.spent.tokens == TOKENS[0] + sum(TOKENS), "comparing counts as planning"


@pytest.mark.usefixtures("notes")
async def test_a_provider_that_fails_is_asked_for_the_comparison_again() -> None:
    with openai_server(reply=plan_text, embedding=meaning, troubles=2) as server:
        _, plan = await plan_with(config(server, "openai:down"))
    assert plan.source_vibe.metadata == {"knowledge": ["tea.md", "general.md"]}
    assert sum("input" in call.body for call in server.calls) == 3


@pytest.mark.usefixtures("notes")
async def test_similarity_from_which_knowledge_fits_is_a_setting() -> None:
    with openai_server(reply=plan_text, embedding=meaning) as server:
        _, strict = await plan_with(config(server, embedding_similarity=0.99))
        _, lax = await plan_with(config(server, embedding_similarity=-1.0))
    assert "tea.md" in strict.source_vibe.metadata["knowledge"], "its vector is that of the vibe"
    assert lax.source_vibe.metadata["knowledge"] == ["tea.md", "general.md", "cars.md"]


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    ("embedding", "options", "message"),
    [
        ("openai:down", {}, "the knowledge could not be compared with the vibe: openai:down: the provider failed"),
        ("opennai:x", {}, "pydantic-ai knows no provider 'opennai'"),
        ("openai:near", {"budget_usd": 0.001}, "stopped before the next paid call"),
    ],
)
async def test_a_comparison_that_cannot_be_made_ends_planning(
    embedding: str, options: dict[str, Any], message: str
) -> None:
    with openai_server(reply=plan_text) as server, pytest.raises(PlanningError) as caught:
        await plan_with(config(server, embedding), **options)
    assert message in str(caught.value)
    assert caught.value.over_budget == bool(options)
    assert KEY not in str(caught.value)
    assert not any("messages" in call.body for call in server.calls), "no model was asked for a plan"


@pytest.mark.usefixtures("notes")
async def test_an_embedding_model_without_a_key_is_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CO_API_KEY", raising=False)
    with openai_server(reply=plan_text) as server, pytest.raises(UsageError, match="CO_API_KEY"):
        await plan_with(config(server, "cohere:embed-v4.0"))
    assert not server.calls


@pytest.mark.usefixtures("notes")
async def test_vectors_of_several_lengths_are_refused() -> None:
    def uneven(text: str) -> list[float]:
        return [1.0] * (2 if "leaves" in text else 3)

    with openai_server(embedding=uneven) as server, pytest.raises(PlanningError, match="vectors of one length"):
        await plan_with(config(server))
