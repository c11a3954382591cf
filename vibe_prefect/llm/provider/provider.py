"""Asking any provider that pydantic-ai knows. Prefect's retries are the only loop: the clients never try again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from anyio.to_thread import run_sync

from vibe_prefect.errors import ToolError
from vibe_prefect.llm.local_model.grammar import GRAMMAR, json_grammar
from vibe_prefect.llm.local_model.shared_server import turn
from vibe_prefect.llm.provider.connect import Access, access_to, connect
from vibe_prefect.llm.provider.model_client import Answer, Question
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.llm.provider.pricing import cost_usd
from vibe_prefect.llm.provider.provider_failures import no_stream, tool_error
from vibe_prefect.llm.provider.received import ANSWER_TOOL, THINKING_TAGS, Received, Usage, answer_text, incomplete
from vibe_prefect.llm.provider.stream_end import CURRENT, StreamNotes, watching_client
from vibe_prefect.text.encodings import well_formed
from vibe_prefect.tools.secrecy.known import scrubbed

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.messages import ModelResponse, ToolCallPart
    from pydantic_ai.models import Model, ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

MAX_TOKEN_CHARACTERS = 32
"""Characters that a token has at most on average; an answer with more of them does not keep to its tokens."""

_NO_TAGS = ("\0thinking", "\0/thinking")
"""Tags that no answer holds: thinking is taken out of the whole answer, not of pieces as they happen to be cut."""


@dataclass(slots=True)
class _Connection:
    """A model's client, shared by the calls that are under way."""

    model: Model
    """The client library's model."""

    http: httpx2.AsyncClient
    """The HTTP client, where the provider takes one."""

    tags: tuple[tuple[str, str], ...]
    """Tags of the model's thinking."""

    users: int = 0
    """Calls that are under way."""


class ProviderClient:
    """Asks the models of a configuration.

    Calls at the same time share a model's HTTP client, which is closed when the last of them has ended. One that an
    event loop opened is never used in another.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Make a client; nothing is imported or opened yet.

        Args:
            config: The operator's configuration.
        """
        self._config = config
        self._connections: WeakKeyDictionary[Any, dict[tuple[str, Access], _Connection]] = WeakKeyDictionary()

    def price(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """Return what tokens cost in US dollars; `None` where that is not known."""
        return cost_usd(self._config, model, input_tokens, output_tokens)

    async def ask(self, question: Question, heard: Callable[[str], None]) -> Answer:
        """Answer a question over the network; see `ModelClient.ask`."""
        local = self._config.local_model(question.model)
        async with turn(local) if local is not None else nullcontext():
            return await self._asked(question, heard)

    async def _asked(self, question: Question, heard: Callable[[str], None]) -> Answer:
        access = await run_sync(access_to, self._config, question.model)
        notes = StreamNotes()
        CURRENT.set(notes)
        try:
            async with self._connected(question.model, access) as connection, asyncio.timeout(self._config.seconds):
                response = await _streamed(
                    connection.model, question, heard, self._settings(question), self._structure(question)
                )
        except ToolError:
            raise
        except Exception as error:  # noqa: BLE001 - each provider's library has its own
            # Not `from error`: what the library raised may hold the key, and a traceback would show it.
            failure = self._failure(error, question.model, notes)
            failure.usage = failure.usage or self._lost(question, notes)
            raise failure from None
        return self._answer(question, received(response, notes), response.model_name, connection.tags)

    def _failure(self, error: Exception, model: str, notes: StreamNotes) -> ToolError:
        if notes.no_stream is not None:
            return no_stream(notes.no_stream, model)
        return tool_error(error, model, self._config.seconds)

    def _settings(self, question: Question) -> ModelSettings:
        settings: ModelSettings = {
            "max_retries": 0,
            "max_tokens": question.max_tokens,
            "timeout": self._config.seconds,
        }
        if question.temperature is not None:
            settings["temperature"] = question.temperature
        if question.schema is not None and self._structure(question) == GRAMMAR:
            settings["extra_body"] = {"grammar": json_grammar(question.schema)}
        return settings

    def _structure(self, question: Question) -> str:
        """Return the form in which a question's schema is sent: the operator's, or a grammar for a local model."""
        is_local = self._config.local_model(question.model) is not None
        return GRAMMAR if is_local and self._config.structure == "auto" else self._config.structure

    @asynccontextmanager
    async def _connected(self, name: str, access: Access) -> AsyncGenerator[_Connection]:
        """Share a model's client with the other calls; the last of them closes it."""
        connections = self._connections.setdefault(asyncio.get_running_loop(), {})
        if (name, access) not in connections:
            connections[name, access] = self._connection(name, access)
        connection = connections[name, access]
        connection.users += 1
        try:
            async with connection.model:
                yield connection
        finally:
            connection.users -= 1
            if not connection.users:
                connections.pop((name, access), None)
                await connection.http.aclose()

    def _connection(self, name: str, access: Access) -> _Connection:
        http = watching_client()
        model = connect(name, access.base_url, access.key, http)
        profile = cast("dict[str, Any]", model.profile)
        model_tags = cast("tuple[str, str]", profile.get("thinking_tags", THINKING_TAGS[0]))
        profile["thinking_tags"] = _NO_TAGS
        return _Connection(model, http, tuple(dict.fromkeys((model_tags, *THINKING_TAGS))))

    def _answer(
        self, question: Question, response: Received, model_name: str | None, tags: tuple[tuple[str, str], ...]
    ) -> Answer:
        text = scrubbed(answer_text(response, question, tags))
        usage = response.usage
        answer = Answer(
            text,
            well_formed(model_name or question.model),
            usage.input_tokens if usage else None,
            usage.output_tokens if usage else None,
            self._cost(question, usage),
            usage.cached_tokens if usage else 0,
        )
        problem = incomplete(response, text, question, end_required=self._config.require_stream_end)
        if problem is not None:
            problem.usage = usage_of(answer, question.model)
            raise problem
        return answer

    def _cost(self, question: Question, usage: Usage | None) -> float | None:
        if usage is None:
            return None
        counts = usage.input_tokens, usage.output_tokens, usage.cached_tokens
        return cost_usd(self._config, question.model, *counts)

    def _lost(self, question: Question, notes: StreamNotes) -> dict[str, Any] | None:
        """Return the usage of a call that failed after its stream had said what it used."""
        usage = notes.usage
        if usage is None or not usage.output_tokens:
            return None
        counts = usage.input_tokens, usage.output_tokens, self._cost(question, usage), usage.cached_tokens
        return usage_of(Answer("", question.model, *counts), question.model)


def received(response: ModelResponse, notes: StreamNotes) -> Received:
    """Return what a provider sent, of the client library's response and the notes on its stream."""
    from pydantic_ai.messages import TextPart, ToolCallPart

    usage = response.usage
    counted = Usage(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens)
    word = (response.provider_details or {}).get("finish_reason")
    broken_off = response.state in ("incomplete", "interrupted")
    return Received(
        [part.content for part in response.parts if isinstance(part, TextPart)],
        [(part.tool_name, _arguments(part)) for part in response.parts if isinstance(part, ToolCallPart)],
        None if broken_off else response.finish_reason,
        word if isinstance(word, str) else None,
        notes.ended if notes.watched else None,
        notes.usage or (counted if counted.input_tokens + counted.output_tokens > 0 else None),
    )


def _arguments(call: ToolCallPart) -> str:
    """Return a call's arguments as the model wrote them, also where they are no JSON."""
    return call.args if isinstance(call.args, str) else call.args_as_json_str()


def usage_of(answer: Answer, model: str) -> dict[str, Any]:
    """Return the usage of one call, as a tool result's metadata have it."""
    return {
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "cost_usd": answer.cost_usd,
        "model": model,
        "requests": 1,
        **({"cached_tokens": answer.cached_tokens} if answer.cached_tokens else {}),
    }


async def _streamed(
    model: Model, question: Question, heard: Callable[[str], None], settings: ModelSettings, structure: str
) -> ModelResponse:
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import ModelRequest, PartDeltaEvent, PartStartEvent, UserPromptPart

    request = ModelRequest(parts=[UserPromptPart(question.prompt)], instructions=question.system)
    parameters = _parameters(model, question, structure)
    async with model_request_stream(
        model, [request], model_settings=settings, model_request_parameters=parameters
    ) as stream:
        room = question.max_tokens * MAX_TOKEN_CHARACTERS
        async for event in stream:
            if isinstance(event, PartStartEvent):
                piece = _piece(event.part, "content", "args")
            elif isinstance(event, PartDeltaEvent):
                piece = _piece(event.delta, "content_delta", "args_delta")
            else:
                continue
            heard(piece)
            room -= len(piece)
            if room < 0:
                raise _endless(question)
        return stream.get()


def _endless(question: Question) -> ToolError:
    return ToolError(
        f"{question.model}: stopped: the answer is much longer than the {question.max_tokens:,} tokens that it may "
        "have; the provider does not keep max_tokens",
        retryable=False,
    )


def _piece(part: object, *names: str) -> str:
    values = (getattr(part, name, None) for name in names)
    return next((piece for piece in values if isinstance(piece, str)), "")


def _parameters(model: Model, question: Question, structure: str) -> ModelRequestParameters:
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.tools import ToolDefinition

    if question.schema is None or structure == GRAMMAR:
        return ModelRequestParameters()
    native = bool(cast("Any", model.profile).get("supports_json_schema_output"))
    mode: Any = ("native" if native else "tool") if structure == "auto" else structure
    if mode == "tool":
        answer = ToolDefinition(
            name=ANSWER_TOOL, parameters_json_schema=question.schema, description="Give the answer."
        )
        return ModelRequestParameters(output_mode="tool", output_tools=[answer], allow_text_output=False)
    definition = OutputObjectDefinition(json_schema=question.schema, name=ANSWER_TOOL)
    return ModelRequestParameters(output_mode=mode, output_object=definition)
