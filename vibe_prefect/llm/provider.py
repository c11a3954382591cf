"""Asking any provider that pydantic-ai knows. Prefect's retries are the only loop: the clients never try again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from anyio.to_thread import run_sync

from vibe_prefect.errors import ToolError, did_you_mean
from vibe_prefect.llm.asking import Answer, Question
from vibe_prefect.llm.config import HOW_TO_CONFIGURE, ModelConfig, environment_key, provider_of
from vibe_prefect.llm.failures import tool_error
from vibe_prefect.llm.pricing import cost_usd
from vibe_prefect.tools.keysources import obtained
from vibe_prefect.tools.secrets import scrubbed

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

COMMON_PROVIDERS = ("anthropic", "azure", "bedrock", "google", "groq", "mistral", "ollama", "openai", "openrouter")
"""What a misspelt provider may have been meant to be; pydantic-ai knows more."""

MAX_TOKEN_CHARACTERS = 32
"""Characters that a token has at most on average; an answer with more of them does not keep to its tokens."""

_ANSWER_TOOL = "answer"


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
        self._models: WeakKeyDictionary[Any, dict[tuple[str, str | None], Model]] = WeakKeyDictionary()

    def price(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """Return what tokens cost in US dollars; `None` where that is not known."""
        return cost_usd(self._config, model, input_tokens, output_tokens)

    async def ask(self, question: Question, heard: Callable[[str], None]) -> Answer:
        """Answer a question over the network; see `Asker.ask`."""
        key = await run_sync(self._key, question.model)
        try:
            model = self._model(question.model, key)
            async with model, asyncio.timeout(self._config.seconds):
                response = await _streamed(model, question, heard, self._settings(question), self._config.structure)
        except ToolError:
            raise
        except Exception as error:  # noqa: BLE001 - each provider's library has its own
            # Not `from error`: what the library raised may hold the key, and a traceback would show it.
            raise tool_error(error, question.model, self._config.seconds, (key,)) from None
        return self._answer(question, response, key)

    def _key(self, model: str) -> str | None:
        """Return the key to send: the operator's, else that of the provider's own variable."""
        own = self._config.is_own(model)
        key = obtained(self._config.key, self._config.base_url) if own else None
        return key or obtained(lambda: environment_key(model))

    def _settings(self, question: Question) -> ModelSettings:
        settings: ModelSettings = {
            "max_retries": 0,
            "max_tokens": question.max_tokens,
            "timeout": self._config.seconds,
        }
        if question.temperature is not None:
            settings["temperature"] = question.temperature
        return settings

    def _model(self, name: str, key: str | None) -> Model:
        known = self._models.setdefault(asyncio.get_running_loop(), {})
        if (name, key) not in known:
            known[name, key] = connect(name, self._config.base_url if self._config.is_own(name) else None, key)
        return known[name, key]

    def _answer(self, question: Question, response: ModelResponse, key: str | None) -> Answer:
        usage = response.usage
        counted = usage.input_tokens + usage.output_tokens > 0
        answer = Answer(
            scrubbed(_text_of(response), (key,)),
            scrubbed(response.model_name or question.model, (key,)),
            usage.input_tokens if counted else None,
            usage.output_tokens if counted else None,
            self.price(question.model, usage.input_tokens, usage.output_tokens) if counted else None,
        )
        problem = _incomplete(response, answer, question)
        if problem is not None:
            problem.usage = usage_of(answer, question.model)
            raise problem
        return answer


def usage_of(answer: Answer, model: str) -> dict[str, Any]:
    """Return the usage of one call, as a tool result's metadata have it."""
    return {
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "cost_usd": answer.cost_usd,
        "model": model,
        "requests": 1,
    }


def connect(name: str, base_url: str | None, key: str | None) -> Model:
    """Return pydantic-ai's model.

    At another address than its own, `openai` means chat completions, which compatible servers speak.

    Raises:
        ToolError: pydantic-ai does not know the provider, or it cannot be reached by an address or a key.
    """
    from pydantic_ai.models import infer_model
    from pydantic_ai.providers import Provider, infer_provider_class

    given = {name: value for name, value in (("base_url", base_url), ("api_key", key)) if value is not None}

    def provider(kind: str) -> Provider[Any]:
        try:
            return cast("Any", infer_provider_class(kind))(**given)
        except TypeError:
            raise ToolError(
                f"{name}: its provider takes no {' or '.join(given)}; leave that out of the settings", retryable=False
            ) from None

    try:
        return infer_model(_wire_name(name, base_url), provider)
    except ValueError:
        raise ToolError(_unknown(name), retryable=False) from None


class _KnownError(Exception):
    """The provider's class was found."""


def provider_lack(config: ModelConfig, name: str) -> str | None:
    """Return why a model's provider cannot be used at all: it is unknown, or its library is missing; else `None`."""
    from pydantic_ai.models import infer_model
    from pydantic_ai.providers import Provider, infer_provider_class

    def found(kind: str) -> Provider[Any]:
        infer_provider_class(kind)
        raise _KnownError

    try:
        infer_model(_wire_name(name, config.base_url if config.is_own(name) else None), found)
    except _KnownError:
        return None
    except ValueError:
        return _unknown(name)
    except ImportError as error:
        return f"{name}: {error}"
    return None


def _unknown(name: str) -> str:
    provider = provider_of(name)
    hint = did_you_mean(provider, COMMON_PROVIDERS)
    return f"{name}: pydantic-ai knows no provider {provider!r}{hint}; {HOW_TO_CONFIGURE}"


def _wire_name(name: str, base_url: str | None) -> str:
    elsewhere = base_url is not None and name.startswith("openai:")
    return f"openai-chat:{name.partition(':')[2]}" if elsewhere else name


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
    found = (getattr(part, name, None) for name in names)
    return next((piece for piece in found if isinstance(piece, str)), "")


def _parameters(model: Model, question: Question, structure: str) -> ModelRequestParameters:
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.tools import ToolDefinition

    if question.schema is None:
        return ModelRequestParameters()
    native = bool(cast("Any", model.profile).get("supports_json_schema_output"))
    mode: Any = ("native" if native else "tool") if structure == "auto" else structure
    if mode == "tool":
        answer = ToolDefinition(
            name=_ANSWER_TOOL, parameters_json_schema=question.schema, description="Give the answer."
        )
        return ModelRequestParameters(output_mode="tool", output_tools=[answer], allow_text_output=False)
    definition = OutputObjectDefinition(json_schema=question.schema, name=_ANSWER_TOOL)
    return ModelRequestParameters(output_mode=mode, output_object=definition)


def _text_of(response: ModelResponse) -> str:
    from pydantic_ai.messages import TextPart, ToolCallPart

    called = [part.args_as_json_str() for part in response.parts if isinstance(part, ToolCallPart)]
    return called[0] if called else "".join(part.content for part in response.parts if isinstance(part, TextPart))


def _incomplete(response: ModelResponse, answer: Answer, question: Question) -> ToolError | None:
    """Return why an answer is not whole, if it is not."""
    model = question.model
    match response.finish_reason:
        case "length":
            reason = f"the answer was cut at {question.max_tokens:,} tokens; allow more in max_tokens"
            return ToolError(f"{model}: {reason}", retryable=False)
        case "content_filter":
            return ToolError(f"{model}: the provider's content filter stopped the answer", retryable=False)
        case None:
            return ToolError(f"{model}: the connection ended in the middle of the answer")
        case _ if not answer.text.strip():
            return ToolError(f"{model}: the answer is empty")
        case _:
            return None
