"""Streams on Anthropic's protocol, through the real client."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.providers.anthropic_server import (
    END,
    KEY,
    PING,
    AnthropicServer,
    anthropic_server,
    counting,
    opening,
    text_block,
    thinking_block,
    tool_block,
)
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.provider.model_client import Answer, Question
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.llm.provider.provider import ProviderClient

MODEL = "anthropic:claude-haiku-4-5"
TEXT = "Green tea is not fermented."


@pytest.fixture(scope="module")
def anthropic() -> Generator[AnthropicServer]:
    with anthropic_server() as server:
        yield server


async def ask(server: AnthropicServer, *events: dict[str, Any], schema: dict[str, Any] | None = None) -> Answer:
    server.events = events
    config = ModelConfig((MODEL,), server.base_url, lambda: KEY, seconds=20.0, structure="tool")
    return await ProviderClient(config).ask(Question(MODEL, "", "Write.", schema), lambda _: None)


async def test_a_text_with_counts_that_grow(anthropic: AnthropicServer) -> None:
    """Each count of written tokens is the whole so far; cached tokens are part of those read."""
    answer = await ask(
        anthropic,
        opening(cache_read_input_tokens=80),
        PING,
        *text_block(0, TEXT[:10], TEXT[10:]),
        counting(None, 12),
        counting("end_turn", 20),
        END,
    )
    assert answer.text == TEXT
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (180, 20, 80)


async def test_thinking_and_foreign_tool_calls_are_no_text(anthropic: AnthropicServer) -> None:
    blocks = [*thinking_block(0, "hm"), *text_block(1, TEXT), *tool_block(2, "web_search", '{"q": 1}')]
    assert (await ask(anthropic, opening(), *blocks, counting("tool_use", 20), END)).text == TEXT


async def test_with_a_schema_the_call_named_answer_counts(anthropic: AnthropicServer) -> None:
    blocks = [*text_block(0, "Here."), *tool_block(1, "answer", '{"a"', ": 1}")]
    answer = await ask(anthropic, opening(), *blocks, counting("tool_use", 20), END, schema={"type": "object"})
    assert answer.text == '{"a": 1}'


@pytest.mark.parametrize(
    ("events", "said", "retryable"),
    [
        ([], "the connection ended in the middle", True),
        ([counting(None, 5)], "the connection ended in the middle", True),
        ([counting("max_tokens", 5), END], "cut at 4,096 tokens", False),
        ([counting("model_context_window_exceeded", 5), END], "cut at 4,096 tokens", False),
        ([counting("refusal", 5), END], "content filter stopped", False),
        ([{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}], "Overloaded", True),
    ],
)
async def test_half_a_text_is_no_answer(
    anthropic: AnthropicServer, events: list[dict[str, Any]], said: str, retryable: bool
) -> None:
    with pytest.raises(ToolError, match=said) as caught:
        await ask(anthropic, opening(), *text_block(0, "Green tea is not fer"), *events)
    assert caught.value.retryable is retryable


@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence"])
async def test_a_text_that_ended_is_whole(anthropic: AnthropicServer, reason: str) -> None:
    assert (await ask(anthropic, opening(), *text_block(0, TEXT), counting(reason, 5), END)).text == TEXT
