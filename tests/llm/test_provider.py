"""The real client library against a real HTTP server: each way a call can go."""

from __future__ import annotations

import asyncio
import json
import traceback
from dataclasses import replace
from typing import Any

import anyio
import pytest

from tests.llm.models import COST, config, registry
from tests.providers.openai_server import KEY, OpenAIServer
from vibe_prefect import ToolContext, ToolInputError, ToolResult, Vibe
from vibe_prefect.core.budget import Budget
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.llm.provider.provider import ProviderClient
from vibe_prefect.llm.provider.stream_end import watching_client

TEXT = "A fine text, made for the test."


async def write(server: OpenAIServer, model: str = "ok", inputs: dict[str, Any] | None = None, **fields: Any) -> Any:
    context: Any = fields.pop("context", ToolContext())
    tool: Any = registry(server, model, **fields).get("llm_generate")
    return await tool.execute({"prompt": "Write."} | (inputs or {}), context)


async def failure(server: OpenAIServer, model: str, **fields: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await write(server, model, **fields)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert len(server.calls) == 1, "the client must not try again by itself"
    return caught.value


async def test_a_streamed_text_with_its_usage_and_cost(provider: OpenAIServer) -> None:
    result: ToolResult = await write(provider)
    assert result.output == {"text": TEXT}
    assert result.metadata["usage"]["cost_usd"] == pytest.approx(COST)
    assert provider.calls[0].body["stream"] is True
    assert provider.calls[0].headers["authorization"] == f"Bearer {KEY}"


async def test_unknown_usage_and_unknown_prices_are_null(provider: OpenAIServer) -> None:
    provider.usage = False
    usage = (await write(provider)).metadata["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["cost_usd"]) == (None, None, None)
    provider.usage = True
    usage = (await write(provider, prices=None)).metadata["usage"]
    assert (usage["input_tokens"], usage["cost_usd"]) == (100, None)


async def test_the_system_prompt_has_the_vibe_and_the_prompt_the_material(provider: OpenAIServer) -> None:
    vibe = Vibe(description="Sell tea", style="calm", constraints=["no prices"], domain="retail")
    context = ToolContext(vibe=vibe, node_type="analyze", previous_outputs={"notes": {"text": "Green and black."}})
    await write(provider, context=context, inputs={"system": "Write in Welsh."})
    system, prompt = provider.calls[0].system, provider.calls[0].prompt
    for part in ("Sell tea", "calm", "- no prices", "retail", "Analyse", "Write in Welsh."):
        assert part in system
    assert "Green and black." in prompt
    assert prompt.endswith("Task: Write.")


async def test_data_by_a_schema(provider: OpenAIServer) -> None:
    schema = {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}}
    provider.reply = lambda body: json.dumps({"title": body["response_format"]["json_schema"]["name"]})
    result = await write(provider, inputs={"output_schema": schema})
    assert result.output["data"] == {"title": "answer"}
    assert json.loads(result.output["text"]) == {"title": "answer"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("{half", "no JSON"),
        ('{"title": 3}', r"does not fit output_schema at \$.title"),
        ("{}", "'title' is a required"),
    ],
)
async def test_data_that_does_not_fit_may_be_asked_for_again(provider: OpenAIServer, answer: str, said: str) -> None:
    schema = {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}}
    provider.reply = lambda _: answer
    with pytest.raises(ToolError, match=said) as caught:
        await write(provider, inputs={"output_schema": schema})
    assert caught.value.retryable
    assert caught.value.usage is not None
    assert caught.value.usage["cost_usd"] == pytest.approx(COST)


@pytest.mark.parametrize("structure", ["tool", "prompted"])
async def test_other_ways_to_ask_for_data(provider: OpenAIServer, structure: str) -> None:
    provider.reply = lambda _: '{"title": "x"}'
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    result = await write(provider, inputs={"output_schema": schema}, structure=structure)
    assert result.output["data"] == {"title": "x"}
    asked = json.dumps(provider.calls[0].body)
    assert ("tools" in provider.calls[0].body) == (structure == "tool")
    assert "title" in asked


async def test_a_schema_that_is_none_is_refused_before_a_call(provider: OpenAIServer) -> None:
    for schema in ({"type": "nonsense"}, {"type": "array"}):
        with pytest.raises(ToolInputError, match="output_schema"):
            await write(provider, inputs={"output_schema": schema})
    assert not provider.calls


FINAL = [
    ("refuse", "the request was refused (HTTP 400)"),
    ("broke", "the account is exhausted (HTTP 429)"),
    ("nobody", "the request was refused (HTTP 404)"),
    ("filtered", "content filter stopped the answer"),
    ("long", "the answer was cut at 4,096 tokens"),
]
PASSING = [
    ("down", "the provider failed (HTTP 500)"),
    ("cut", "the connection"),
    ("malformed", "as JSON"),
    ("silent", "the answer is empty"),
]


@pytest.mark.parametrize(("model", "said"), FINAL)
async def test_what_is_final_is_not_to_be_tried_again(provider: OpenAIServer, model: str, said: str) -> None:
    error = await failure(provider, model)
    assert said in str(error)
    assert not error.retryable


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("model", "said"), PASSING)
async def test_what_may_pass_is_to_be_tried_again(provider: OpenAIServer, model: str, said: str) -> None:
    error = await failure(provider, model)
    assert said in str(error)
    assert error.retryable
    assert error.retry_after is None


@pytest.mark.usefixtures("impatient")
async def test_a_rate_limit_says_when(provider: OpenAIServer) -> None:
    provider.retry_after = "7"
    error = await failure(provider, "busy")
    assert (error.retryable, error.retry_after) == (True, 7.0)


async def test_a_wrong_key_is_final_and_does_not_show(provider: OpenAIServer) -> None:
    wrong = "sk-wrong-9b1f00aa"
    error = await failure(provider, "ok", key=lambda: wrong)
    assert "the key was refused (HTTP 401)" in str(error)
    assert not error.retryable
    assert wrong not in "".join(traceback.format_exception(error))


async def test_a_key_that_an_error_repeats_does_not_show(provider: OpenAIServer) -> None:
    error = await failure(provider, "echo-key")
    assert "Bearer ***" in str(error)


async def test_a_key_that_an_answer_repeats_does_not_show(provider: OpenAIServer) -> None:
    provider.reply = lambda _: f"The key is {KEY}."
    assert (await write(provider)).output == {"text": "The key is ***."}


async def test_slow_tokens_run_into_the_time_limit(provider: OpenAIServer) -> None:
    error = await failure(provider, "slow", seconds=0.4)
    assert "timeout: no whole answer within 0.4 s" in str(error)
    assert error.retryable


async def test_an_answer_that_does_not_end_is_stopped_and_counted(provider: OpenAIServer) -> None:
    """Five megabytes, where 200 tokens are allowed; what came until it was stopped is in the budget."""
    provider.reply = lambda _: "word " * 1_000_000
    budget = Budget(tokens=100_000)
    error = await failure(provider, "ok", max_tokens=200, context=ToolContext(budget=budget))
    assert "stopped: the answer is much longer than the 200 tokens that it may have" in str(error)
    assert not error.retryable
    assert 2_000 < budget.spent.tokens < 10_000


async def test_nobody_there_may_pass(provider: OpenAIServer) -> None:
    with pytest.raises(ToolError, match="the connection failed") as caught:
        await write(provider, base_url="http://127.0.0.1:9/v1")
    assert caught.value.retryable


async def test_an_unknown_provider_is_final(provider: OpenAIServer) -> None:
    with pytest.raises(ToolError, match="pydantic-ai knows no provider 'opnai'") as caught:
        await write(provider, inputs={"model": "opnai:x"}, judge="opnai:x")
    assert not caught.value.retryable


async def test_only_allowed_models_can_be_named(provider: OpenAIServer) -> None:
    await write(provider, "down", {"model": "openai:ok"})
    assert provider.calls[0].body["model"] == "ok"
    with pytest.raises(ToolInputError, match="'anthropic:x' is not one that the operator allows"):
        await write(provider, inputs={"model": "anthropic:x"})


async def test_progress_moves_with_the_stream(provider: OpenAIServer) -> None:
    seen: list[tuple[float | None, str]] = []

    def report(part: float | None, text: str) -> None:
        seen.append((part, text))
        if len(seen) == 3:
            provider.release.set()

    await write(provider, "slow", context=ToolContext(report_progress=report))
    written = [int(text.removesuffix(" characters").replace(",", "")) for _, text in seen]
    assert 0 < written[0] < written[-1]
    assert written == sorted(written)
    assert {part for part, _ in seen} == {None}, "nobody knows how long the answer becomes"


async def test_calls_side_by_side_share_a_client_that_is_closed_after_them(
    provider: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def opening() -> Any:
        opened.append(watching_client())
        return opened[-1]

    monkeypatch.setattr("vibe_prefect.llm.provider.provider.watching_client", opening)
    client = ProviderClient(config(provider))
    provider.pause = 0.1
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(client.ask, Question("openai:ok", "", "Write."), print)
    assert provider.most_at_once > 1
    assert [one.is_closed for one in opened] == [True]


async def test_material_that_does_not_fit_is_cut_and_told(
    provider: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    outputs = {"short": {"text": "Short and whole."}, "huge": {"text": "begin " + "word " * 40_000 + "the end"}}
    context = ToolContext(previous_outputs=outputs, node_id="n")
    result = await write(provider, context=context, context_tokens=3_000)
    cut = result.metadata["cut"]
    assert set(cut) == {"huge"}
    assert cut["huge"]["kept"] < cut["huge"]["characters"] == 200_013
    prompt = provider.calls[0].prompt
    assert "Short and whole." in prompt
    assert "the end\n[end" in prompt
    assert "characters are left out here" in prompt
    assert "only a part for node 'n': huge" in caplog.text


@pytest.mark.parametrize("name", ["anthropic:claude-haiku-4-5", "ollama:tiny", "openai-responses:tiny"])
async def test_other_providers_clients_do_not_try_again_either(provider: OpenAIServer, name: str) -> None:
    """The server knows none of their addresses but Ollama's, and answers 404: each library's own error is final."""
    client = ProviderClient(replace(config(provider), models=(name,)))
    with pytest.raises(ToolError, match=r"the request was refused \(HTTP 404\)") as caught:
        await client.ask(Question(name, "Be brief.", "Write."), print)
    assert not caught.value.retryable
    assert KEY not in str(caught.value)


async def test_the_next_event_loop_gets_a_client_of_its_own(provider: OpenAIServer) -> None:
    client = ProviderClient(config(provider))

    def ask() -> str:
        return asyncio.run(client.ask(Question("openai:ok", "", "Write."), print)).text

    assert [await asyncio.to_thread(ask) for _ in range(2)] == [TEXT, TEXT]
