"""Streams as servers on OpenAI's protocol send them, through the real client: what becomes of each."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from tests.llm.models import config, registry
from tests.providers.openai_server import (
    DONE,
    OpenAIServer,
    chunk,
    counted,
    event,
    openai_server,
    tool_call,
    usage_chunk,
)
from vibe_prefect import ToolContext
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.provider.model_client import Answer, Question
from vibe_prefect.llm.provider.model_config import Structure
from vibe_prefect.llm.provider.pricing import cost_usd
from vibe_prefect.llm.provider.provider import ProviderClient
from vibe_prefect.tools.base import ToolResult

QUESTION = Question("openai:ok", "", "Write.")
SCHEMA = {"type": "object", "required": ["titles"], "properties": {"titles": {"type": "array"}}}
GOOD = '{"titles": ["One"]}'


@pytest.fixture(scope="module")
def provider() -> Generator[OpenAIServer]:
    with openai_server() as server:
        yield server


async def ask(server: OpenAIServer, events: list[str], question: Question = QUESTION, **fields: Any) -> Answer:
    server.events = events
    client = ProviderClient(replace(config(server), **fields))
    return await client.ask(question, lambda _: None)


async def refused(server: OpenAIServer, events: list[str], **fields: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await ask(server, events, **fields)
    return caught.value


async def data(server: OpenAIServer, events: list[str], structure: Structure = "tool") -> Any:
    server.events = events
    tool: Any = registry(server, structure=structure).get("llm_generate")
    result: ToolResult = await tool.execute({"prompt": "Write.", "output_schema": SCHEMA}, ToolContext())
    return result.output


WHOLE = {
    "a usual end": [chunk("Whole."), chunk(finish="stop"), DONE],
    "an end mark without a reason": [chunk("Whole."), DONE],
    "an end mark without its blank line": [chunk("Whole."), "data: [DONE]"],
    "an end mark without a space": [chunk("Whole."), "data:[DONE]\n\n"],
    "a reason without an end mark": [chunk("Whole."), chunk(finish="stop")],
    "the reason on the last piece": [chunk("Who"), chunk("le.", "stop"), DONE],
    "an empty reason before the mark": [chunk("Whole.", ""), DONE],
    "a reason by TGI": [chunk("Whole."), chunk(finish="eos_token"), DONE],
    "a stop sequence": [chunk("Whole."), chunk(finish="stop_sequence")],
    "a reason of old functions": [chunk("Whole."), chunk(finish="function_call"), DONE],
    "comments to keep the line open": [": PROCESSING\n\n", chunk("Whole."), ": ping\n\n", chunk(finish="stop"), DONE],
    "carriage returns": [one.replace("\n", "\r\n") for one in (chunk("Whole."), DONE)],
}


@pytest.mark.parametrize("events", WHOLE.values(), ids=WHOLE)
async def test_a_stream_that_ends_as_servers_end_it_is_whole(provider: OpenAIServer, events: list[str]) -> None:
    assert (await ask(provider, events)).text == "Whole."


CUT = "Green tea is not fer"
BROKEN_OFF = {
    "in the text": [chunk(CUT)],
    "with an empty reason": [chunk(CUT, "")],
    "after the usage": [chunk(CUT), usage_chunk(counted(100, 5))],
    "in a tool call": [chunk(None, **tool_call("answer", '{"titles": ["On'))],
}


@pytest.mark.parametrize("events", BROKEN_OFF.values(), ids=BROKEN_OFF)
async def test_a_stream_with_neither_reason_nor_end_mark_is_asked_for_again(
    provider: OpenAIServer, events: list[str]
) -> None:
    error = await refused(provider, events)
    assert "the connection ended in the middle of the answer" in str(error)
    assert error.retryable


async def test_an_operator_can_say_that_a_server_sends_no_end(provider: OpenAIServer) -> None:
    answer = await ask(provider, [chunk("Whole, on such a server.")], require_stream_end=False)
    assert answer.text == "Whole, on such a server."


@pytest.mark.parametrize(
    ("reason", "said", "retryable"),
    [
        ("length", "cut at 4,096 tokens", False),
        ("max_tokens", "cut at 4,096 tokens", False),
        ("MAX_TOKENS", "cut at 4,096 tokens", False),
        ("content_filter", "content filter stopped", False),
        ("SAFETY", "content filter stopped", False),
        ("error", "broke off the answer with the finish reason 'error'", True),
        ("abort", "broke off the answer with the finish reason 'abort'", True),
        ("insufficient_system_resource", "broke off the answer", True),
    ],
)
async def test_a_reason_that_means_no_whole_answer(
    provider: OpenAIServer, reason: str, said: str, retryable: bool
) -> None:
    error = await refused(provider, [chunk("Half a sen"), chunk(finish=reason), DONE])
    assert said in str(error)
    assert error.retryable is retryable


EACH = [chunk(f"word {count} ", usage=counted(300, count)) for count in range(1, 101)]
CACHED = {"prompt_tokens_details": {"cached_tokens": 80}}
COUNTED: dict[str, tuple[list[str], tuple[int | None, int | None, int]]] = {
    "at the end": ([chunk("w", "stop"), usage_chunk(counted(300, 100))], (300, 100, 0)),
    "with the reason": ([chunk("w"), chunk(finish="stop", usage=counted(300, 100))], (300, 100, 0)),
    "twice": (
        [chunk("w"), chunk(finish="stop", usage=counted(300, 100)), usage_chunk(counted(300, 100))],
        (300, 100, 0),
    ),
    "with each piece": ([*EACH, chunk(finish="stop", usage=counted(300, 100))], (300, 100, 0)),
    "null until the end": (
        [chunk("w", usage=None), chunk(finish="stop", usage=None), usage_chunk(counted(3, 1))],
        (3, 1, 0),
    ),
    "with zeros at the end": (
        [chunk("w", usage=counted(300, 100)), chunk(finish="stop", usage=counted(0, 0))],
        (300, 100, 0),
    ),
    "read first, written later": (
        [chunk("w", usage=counted(300, 0)), chunk(finish="stop", usage=counted(0, 100))],
        (300, 100, 0),
    ),
    "with cached tokens": ([chunk("w", "stop"), usage_chunk(counted(100, 5, **CACHED))], (100, 5, 80)),
    "in the choice": (
        [event({"id": "1", "choices": [{"index": 0, "delta": {"content": "w"}, "usage": counted(300, 100)}]})],
        (300, 100, 0),
    ),
    "in a field of the server's own": (
        [chunk("w", "stop"), event({"id": "1", "choices": [], "x_groq": {"usage": counted(300, 100)}})],
        (300, 100, 0),
    ),
    "never": ([chunk("w", "stop")], (None, None, 0)),
    "null": ([chunk("w", "stop", usage=None), usage_chunk(None)], (None, None, 0)),
}


@pytest.mark.parametrize(("events", "expected"), COUNTED.values(), ids=COUNTED)
async def test_usage_is_the_greatest_of_each_number_and_never_a_sum(
    provider: OpenAIServer, events: list[str], expected: tuple[int | None, int | None, int]
) -> None:
    answer = await ask(provider, [*events, DONE])
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == expected


async def test_usage_of_a_stream_that_broke_off_is_what_it_said_until_then(provider: OpenAIServer) -> None:
    error = await refused(provider, [*EACH, event({"error": {"message": "overloaded", "code": 502}})])
    assert error.usage is not None
    assert (error.usage["input_tokens"], error.usage["output_tokens"]) == (300, 100)


def test_cached_tokens_cost_what_the_public_list_says() -> None:
    known = replace(config(OpenAIServer()), models=("openai:gpt-4o-mini",), base_url=None, prices=None)
    full, cheaper = (cost_usd(known, known.usual, 1_000_000, 0, cached) for cached in (0, 1_000_000))
    assert full == pytest.approx(0.15)
    assert cheaper == pytest.approx(0.075)


PARAGRAPH = "A fine paragraph on tea."
SEARCH = tool_call("web_search", '{"query": "tea"}')


@pytest.mark.parametrize(
    "events",
    [
        [chunk(PARAGRAPH), chunk(None, **SEARCH), chunk(finish="tool_calls"), DONE],
        [chunk(None, **SEARCH), chunk(PARAGRAPH), chunk(finish="stop"), DONE],
        [chunk(PARAGRAPH), chunk(None, **tool_call("answer", GOOD)), chunk(finish="tool_calls"), DONE],
        [chunk(PARAGRAPH[:6]), chunk(None, **SEARCH), chunk(PARAGRAPH[6:]), chunk(finish="tool_calls"), DONE],
    ],
)
async def test_a_tool_call_that_nobody_asked_for_does_not_replace_the_text(
    provider: OpenAIServer, events: list[str]
) -> None:
    assert (await ask(provider, events)).text == PARAGRAPH


async def test_a_tool_call_alone_is_no_answer(provider: OpenAIServer) -> None:
    error = await refused(provider, [chunk(None, **SEARCH), chunk(finish="tool_calls"), DONE])
    assert "the answer is a call of" in str(error)
    assert "web_search" in str(error)
    assert error.retryable


CALLS = {
    "one call": [chunk(None, **tool_call("answer", GOOD))],
    "in pieces": [chunk(None, **tool_call("answer", GOOD[:9])), chunk(None, **tool_call(None, GOOD[9:]))],
    "beside another tool": [chunk(None, **SEARCH), chunk(None, **tool_call("answer", GOOD, 1))],
    "beside a text": [chunk("Here it is."), chunk(None, **tool_call("answer", GOOD))],
    "twice": [chunk(None, **tool_call("answer", GOOD)), chunk(None, **tool_call("answer", GOOD, 1))],
    "after one that was cut": [
        chunk(None, **tool_call("answer", '{"titles": ["On')),
        chunk(None, **tool_call("answer", GOOD, 1)),
    ],
    "as text": [chunk(f"```json\n{GOOD}\n```")],
}


@pytest.mark.parametrize("events", CALLS.values(), ids=CALLS)
async def test_with_a_schema_the_call_named_answer_counts(provider: OpenAIServer, events: list[str]) -> None:
    output = await data(provider, [*events, chunk(finish="tool_calls"), DONE])
    assert output == {"text": GOOD, "data": {"titles": ["One"]}}


@pytest.mark.parametrize(
    "events",
    [
        [chunk(None, **tool_call("web_search", GOOD))],
        [chunk(None, **tool_call("answer", '{"titles": ["On'))],
        [chunk(None, **tool_call("answer", ""))],
    ],
)
async def test_with_a_schema_another_call_and_cut_arguments_are_no_answer(
    provider: OpenAIServer, events: list[str]
) -> None:
    with pytest.raises(ToolError) as caught:
        await data(provider, [*events, chunk(finish="tool_calls"), DONE])
    assert caught.value.retryable


TEXT = "The text."
THOUGHT = {
    "tags as pieces": ["<think>", "\nhm\n", "</think>", "\n\n", TEXT],
    "tags within pieces": ["<think>\nhm, let me", " see\n</think>\n\nThe t", "ext."],
    "tags in halves": ["<th", "ink>hm</th", "ink>", TEXT],
    "no opening tag": ["hm, let me see\n", "</think>", "\n\n", TEXT],
    "another tag": ["<thinking>hm</thinking>\n", TEXT],
    "empty thinking": ["<think>\n\n</think>\n\n", TEXT],
    "twice": ["<think>a</think>\n<think>b</think>\n", TEXT],
}


@pytest.mark.parametrize("pieces", THOUGHT.values(), ids=THOUGHT)
async def test_thinking_at_the_beginning_is_no_text(provider: OpenAIServer, pieces: list[str]) -> None:
    answer = await ask(provider, [*map(chunk, pieces), chunk(finish="stop"), DONE])
    assert answer.text == TEXT


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_in_a_field_of_its_own_is_no_text(provider: OpenAIServer, field: str) -> None:
    events = [chunk(None, **{field: "hm, "}), chunk(None, **{field: "tea"}), chunk(TEXT, "stop"), DONE]
    assert (await ask(provider, events)).text == TEXT


@pytest.mark.parametrize(
    "pieces",
    [
        ["Models write <think> before ", "and </think> after they think."],
        ["Models write ", "<think>", " before and ", "</think>", " after they think."],
        ["They end with `</think>`, ", "as a rule."],
    ],
)
async def test_a_text_that_speaks_of_thinking_stays(provider: OpenAIServer, pieces: list[str]) -> None:
    answer = await ask(provider, [*map(chunk, pieces), chunk(finish="stop"), DONE])
    assert answer.text == "".join(pieces)


@pytest.mark.parametrize("pieces", [["<think>", "hm, and on and on"], ["<think>hm</think>\n\n"]])
async def test_thinking_alone_is_no_answer(provider: OpenAIServer, pieces: list[str]) -> None:
    error = await refused(provider, [*map(chunk, pieces), chunk(finish="stop"), DONE])
    assert "the answer is thinking alone" in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["Hi ", "\ud83d", "\ude00 there"], "Hi \U0001f600 there"),
        (["Hi \ud83d", "", "\ude00"], "Hi \U0001f600"),
        (["Hi ", "\ud83d", " there"], "Hi \ufffd there"),
        (["Hi ", "\ude00\ud83d"], "Hi \ufffd\ufffd"),
    ],
)
async def test_halves_of_a_character_are_joined_or_replaced(
    provider: OpenAIServer, pieces: list[str], text: str
) -> None:
    answer = await ask(provider, [*map(chunk, pieces), chunk(finish="stop"), DONE])
    assert answer.text == text


def response(kind: str, status: str, **fields: Any) -> str:
    """Return an event about the whole response, on OpenAI's newer protocol."""
    said: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "ok",
        "status": status,
        "output": [],
    }
    usual: dict[str, Any] = {"parallel_tool_calls": False, "tool_choice": "auto", "tools": []}
    return event(
        {"type": f"response.{kind}", "sequence_number": 0, "response": {**said, **usual, "status": status, **fields}}
    )


def piece(text: str) -> str:
    place: dict[str, Any] = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return event({"type": "response.output_text.delta", "sequence_number": 1, "delta": text, **place})


BEGUN = response("created", "in_progress")
SPENT = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
DETAILS = {"input_tokens_details": {"cached_tokens": 80}, "output_tokens_details": {"reasoning_tokens": 0}}


async def test_on_the_newer_protocol_the_last_event_ends_an_answer(provider: OpenAIServer) -> None:
    events = [BEGUN, piece("Who"), piece("le."), response("completed", "completed", usage=SPENT | DETAILS)]
    asked = replace(QUESTION, model="openai-responses:ok")
    answer = await ask(provider, events, asked, models=("openai-responses:ok",))
    assert (answer.text, answer.input_tokens, answer.output_tokens, answer.cached_tokens) == ("Whole.", 100, 20, 80)


@pytest.mark.parametrize(
    ("end", "said", "retryable"),
    [
        ([], "the connection ended in the middle", True),
        ([response("incomplete", "incomplete", incomplete_details={"reason": "max_output_tokens"})], "cut at", False),
    ],
)
async def test_on_the_newer_protocol_half_a_text_is_no_answer(
    provider: OpenAIServer, end: list[str], said: str, retryable: bool
) -> None:
    asked = replace(QUESTION, model="openai-responses:ok")
    with pytest.raises(ToolError, match=said) as caught:
        await ask(provider, [BEGUN, piece("Half a sen"), *end], asked, models=("openai-responses:ok",))
    assert caught.value.retryable is retryable


def completion(message: dict[str, Any], reason: str | None = "stop", **fields: Any) -> str:
    """Return an answer as servers give it that do not stream."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    whole = {"id": "one", "object": "chat.completion", "created": 1, "model": "ok", "choices": [choice], "usage": usage}
    return json.dumps(whole | fields, indent=1)


async def test_an_answer_in_one_piece_is_the_whole_answer(provider: OpenAIServer) -> None:
    answer = await ask(provider, ["\n", completion({"content": "Whole."})])
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("Whole.", 7, 5)
    call = {"id": "a", "type": "function", "function": {"name": "answer", "arguments": GOOD}}
    called = await data(provider, [completion({"content": None, "tool_calls": [call]}, "tool_calls")])
    assert called["data"] == json.loads(GOOD)


async def test_an_answer_in_one_piece_that_was_cut_is_not_asked_for_again(provider: OpenAIServer) -> None:
    error = await refused(provider, [completion({"content": "Who"}, "length")])
    assert "was cut at" in str(error)
    assert not error.retryable


async def test_a_stream_request_that_is_answered_with_no_answer_is_not_paid_again(provider: OpenAIServer) -> None:
    for body in ('{"status": "fine", "result": "Whole."}', "{half an answer", '{"object": "list"}\n{"object": "list"}'):
        asked = len(provider.calls)
        error = await refused(provider, [body])
        assert not error.retryable
        assert len(provider.calls) == asked + 1
        assert "one object and not a stream" in str(error)
