"""Models on the loopback provider, through the real client library."""

from __future__ import annotations

from typing import Any

from tests.providers.openai_server import KEY, OpenAIServer
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_config import ModelConfig, Prices
from vibe_prefect.llm.toolset import model_tools
from vibe_prefect.tools import ToolRegistry, default_registry

PRICES = Prices(input=1.0, output=10.0)
COST = 100 / 1e6 + 200 / 1e6
"""US dollars that each answer of the loopback provider costs."""


def config(server: OpenAIServer, model: str = "ok", **fields: Any) -> ModelConfig:
    given: dict[str, Any] = {"base_url": server.base_url, "key": lambda: KEY, "prices": PRICES, "seconds": 10.0}
    given |= fields
    return ModelConfig((f"openai:{model}", "openai:*"), **given)


def models(server: OpenAIServer, model: str = "ok", **fields: Any) -> Models:
    return Models.of(config(server, model, **fields))


def registry(server: OpenAIServer, model: str = "ok", **fields: Any) -> ToolRegistry:
    found = default_registry()
    for one in model_tools(models(server, model, **fields)):
        found.register(one)
    return found
