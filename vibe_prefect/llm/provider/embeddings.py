"""Embeddings of texts by a configured model: vectors whose angles tell how near the meanings are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from anyio.to_thread import run_sync

from vibe_prefect.core.budget import Budget, Spending, estimate_tokens, paid_call
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.provider.connect import Access, access_to, embedding_client
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.llm.provider.pricing import cost_usd
from vibe_prefect.llm.provider.provider_failures import tool_error
from vibe_prefect.llm.provider.stream_end import watching_client
from vibe_prefect.tools.waits import patiently

BATCH = 100
"""Texts of one call, at most."""

Vector = Sequence[float]


@dataclass(frozen=True)
class Embedded:
    """Embeddings of texts."""

    vectors: tuple[Vector, ...]
    """One for each text, in their order."""

    spent: Spending
    """Tokens and US dollars of the calls."""


async def embed(config: ModelConfig, model: str, texts: Sequence[str], budget: Budget | None = None) -> Embedded:
    """Return the embeddings of texts.

    Args:
        config: The operator's configuration.
        model: The embedding model, `provider:name`.
        texts: The texts.
        budget: Budget of the calls; `None` for no limit.

    Raises:
        BudgetExceededError: The budget does not allow a call.
        ToolError: There is no key, or the provider failed.
    """
    access = await run_sync(access_to, config, model)
    done = Embedded((), Spending())
    for start in range(0, len(texts), BATCH):
        batch = list(texts[start : start + BATCH])
        more = await patiently(f"embeddings {model}", lambda batch=batch: _call(config, model, access, batch, budget))
        done = Embedded(done.vectors + more.vectors, done.spent + more.spent)
    return done


async def _call(config: ModelConfig, model: str, access: Access, texts: list[str], budget: Budget | None) -> Embedded:
    estimated = sum(map(estimate_tokens, texts))
    most = Spending(estimated, cost_usd(config, model, estimated, 0))
    async with paid_call(budget, most) as charge:
        vectors, tokens = await _vectors(config, model, access, texts)
        charge.used = Spending(tokens or estimated, cost_usd(config, model, tokens or estimated, 0))
    return Embedded(vectors, charge.used)


async def _vectors(config: ModelConfig, model: str, access: Access, texts: list[str]) -> tuple[tuple[Vector, ...], int]:
    """Return the vectors of texts, and the tokens that the provider counted; 0 where it counts none."""
    http = watching_client()
    try:
        client = embedding_client(model, access.base_url, access.key, http)
        async with asyncio.timeout(config.seconds):
            result = await client.embed(texts, input_type="document")
    except ToolError:
        raise
    except Exception as error:  # noqa: BLE001 - each provider's library has its own
        raise tool_error(error, model, config.seconds) from None  # what it raised may hold the key
    finally:
        await http.aclose()
    vectors = tuple(result.embeddings)
    if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) != 1:
        raise ToolError(f"{model}: expected {len(texts)} vectors of one length for as many texts", retryable=False)
    return vectors, result.usage.input_tokens


def similarity(one: Vector, other: Vector) -> float:
    """Return the cosine of the angle between two vectors, -1 to 1; 0 where one of them has no length."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0
