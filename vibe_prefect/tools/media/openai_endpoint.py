"""A server that speaks OpenAI's protocol for pictures and speech, and one paid call to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from vibe_prefect.core.budget import Spending, paid_call
from vibe_prefect.errors import ToolError, did_you_mean, shorten
from vibe_prefect.provenance import ModelCall
from vibe_prefect.tools.base import ToolContext
from vibe_prefect.tools.fetch.http import RETRYABLE
from vibe_prefect.tools.functions import ToolInputError
from vibe_prefect.tools.media.packed import Refusal, json_in, refusal_in
from vibe_prefect.tools.model_calls import noted_call
from vibe_prefect.tools.secrecy.key_sources import no_key, obtained
from vibe_prefect.tools.secrecy.known import scrubbed, scrubbed_bytes
from vibe_prefect.tools.waits import asks_to_wait, patiently, retry_after
from vibe_prefect.tools.workspace import Workspace

if TYPE_CHECKING:
    import openai

OPENAI = "https://api.openai.com/v1"
"""Base address of OpenAI's own servers."""

MAX_SAID = 500
"""Characters of a server's own message that are repeated."""

_SPENT = "insufficient_quota"
_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
"""Errors of the HTTP client after which a request was never sent, so that nobody can have been paid."""

Prices = float | Mapping[str, float]
"""US dollars: one price for all models, or one for each."""


@dataclass(frozen=True, slots=True)
class OpenAIEndpoint:
    """A server that speaks OpenAI's protocol, as the operator names it."""

    models: tuple[str, ...]
    """Models that may be asked for; the first one is asked unless a plan names another of them."""

    base_url: str = OPENAI
    """Base address of the protocol."""

    key: Callable[[], str | None] = no_key
    """Returns the key; asked at each call, in a thread, so that no key is held, kept or shown."""

    key_place: str | None = None
    """Place of the key, `env:NAME` or `secret:name`; for messages and dry runs."""

    seconds: float = 180.0
    """Time limit of one call, in seconds."""

    options: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """Further fields of each call's body, such as `{"response_format": "b64_json"}` for models that would otherwise
    answer with an address."""

    prices: Prices | None = field(default=None, hash=False)
    """US dollars for a picture, or for 1,000 characters of speech; `None` where the operator has not said it."""

    def price(self, model: str) -> float | None:
        """Return what a picture, or 1,000 characters of speech, costs; `None` where the operator has not said it."""
        return self.prices.get(model) if isinstance(self.prices, Mapping) else self.prices


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a server to one call."""

    content: bytes
    """The body, without the key."""

    usage: dict[str, Any]
    """Usage of the call, as a tool result's `metadata["usage"]` has it: tokens as far as the server tells them, and
    the cost as it tells it, else by the operator's price."""

    @property
    def body(self) -> Any:
        """The body as JSON; `None` where it is none."""
        return json_in(self.content)


@dataclass(frozen=True, slots=True)
class MediaCall:
    """One call of a tool to an endpoint."""

    tool: str
    """The tool's name."""

    endpoint: OpenAIEndpoint
    """Endpoint that is called."""

    price_setting: str
    """The environment variable that sets the price."""

    def error(self, reason: str) -> ToolError:
        """Return an error of the tool's."""
        return ToolError(f"{self.tool}: {reason}")

    def model(self, asked: str | None) -> str:
        """Return the model to ask.

        Raises:
            ToolInputError: It is none of the operator's.
        """
        allowed = self.endpoint.models
        if asked is None or asked in allowed:
            return asked or allowed[0]
        hint = did_you_mean(asked, allowed) or f"; allowed: {', '.join(allowed)}"
        raise ToolInputError(f"{self.tool}: model {asked!r} is not one that the operator allows{hint}")

    @asynccontextmanager
    async def paid(
        self,
        context: ToolContext,
        asked: Mapping[str, Any],
        amount: float,
        ask: Callable[[openai.AsyncOpenAI, dict[str, Any]], Awaitable[Any]],
    ) -> AsyncGenerator[Answer]:
        """Make the call within the run's budget, and yield its answer.

        A `ToolError` in the block comes after the payment: it is given the usage, and the budget is settled with it.

        Args:
            context: The tool's context.
            asked: What is asked for, by the protocol's names.
            amount: How many of what the price is for.
            ask: Makes the request by a client; returns the raw response.

        Raises:
            BudgetExceededError: The budget does not allow the call; it was not made.
            ToolError: The server refused or failed.
        """
        price = self.endpoint.price(asked["model"])
        usd = None if price is None else price * amount
        sort = " ".join(str(asked[name]) for name in ("model", "size", "quality") if asked.get(name))
        price_it = f"set {self.price_setting} for {asked['model']}"
        with noted_call(context, _call_of(asked)) as noted:
            async with paid_call(
                context.get("budget"), Spending(0, usd), kind=f"{self.tool} {sort}", price_it=price_it
            ) as charge:
                try:
                    address = f"{self.endpoint.base_url} {asked['model']}"
                    content = await patiently(address, lambda: self._content(asked, ask), context)
                except ToolError as error:
                    if error.usage is not None:
                        error.usage = usage_of(asked["model"], {}, usd)
                        charge.used = Spending(0, usd)
                    raise
                answer = Answer(content, usage_of(asked["model"], json_in(content), usd))
                noted.note_usage(answer.usage)
                charge.used = spending_of(answer.usage)
                try:
                    yield answer
                except ToolError as error:
                    error.usage = answer.usage
                    raise

    async def _content(
        self, request: Mapping[str, Any], ask: Callable[[openai.AsyncOpenAI, dict[str, Any]], Awaitable[Any]]
    ) -> bytes:
        """Return the answer's body; an error that came with status 200 is one."""
        from anyio.to_thread import run_sync

        async with self._client() as client:
            raw = await ask(client, {**request, "extra_body": dict(self.endpoint.options)})
        refusal = refusal_in(json_in(raw.content)) if len(raw.content) < MAX_REFUSAL else None
        if refusal is not None:
            raise self._refused(refusal, raw.headers)
        return await run_sync(scrubbed_bytes, raw.content)

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[openai.AsyncOpenAI]:
        """Yield a client for one call, and turn what goes wrong into a `ToolError` without the key.

        It neither tries again, which is for the run's own policy, nor follows redirects, which could carry the key
        away.
        """
        import anyio
        import openai
        from anyio.to_thread import run_sync

        endpoint = self.endpoint
        key = await run_sync(obtained, endpoint.key, endpoint.base_url)
        try:
            with anyio.fail_after(endpoint.seconds):
                async with openai.AsyncOpenAI(
                    api_key=key or "none",
                    base_url=endpoint.base_url,
                    max_retries=0,
                    timeout=endpoint.seconds,
                    http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
                ) as client:
                    yield client
        except (TimeoutError, openai.OpenAIError, ValueError) as error:
            # Not `from error`: the client's own text may hold the key, and a traceback would show it.
            raise self._tool_error(error) from None

    def _tool_error(self, error: Exception) -> ToolError:
        import openai

        match error:
            case openai.APITimeoutError() | TimeoutError():
                return self._unanswered(error, f"no answer within {self.endpoint.seconds:g} s")
            case openai.APIConnectionError():
                cause = scrubbed(str(error.__cause__ or error))
                return self._unanswered(error, f"{self.endpoint.base_url} could not be reached: {cause}")
            case openai.APIStatusError():
                refusal = Refusal(error.message, error.code)
                return self._refused(refusal, cast("Any", error.response.headers), error.status_code)
            case _:
                return self.error(scrubbed(str(error)))

    def _unanswered(self, error: Exception, reason: str) -> ToolError:
        """Return the error for a call without an answer; once it was sent, it has probably been paid for."""
        failure = self.error(reason)
        was_sent = type(error.__cause__).__name__ not in _UNSENT
        failure.usage = {} if was_sent else None  # `paid` knows what such a call costs
        return failure

    def _refused(self, refusal: Refusal, headers: Any, status: int | None = None) -> ToolError:
        # Hidden before it is cut: a cut in the middle of the key would leave a part that is not found any more.
        message = shorten(scrubbed(refusal.message), MAX_SAID)
        code = status or refusal.status
        wait = retry_after(headers)
        final = refusal.code == _SPENT or (code is not None and code < 500 and code not in RETRYABLE)
        shown_status = str(status) if status else f"with an error{f' {refusal.code}' if refusal.code else ''}"
        return ToolError(
            f"{self.tool}: the server answered {scrubbed(shown_status)}: {message}",
            retryable=not final,
            retry_after=wait,
            asks_to_wait=not final and code is not None and asks_to_wait(code, wait),
        )

    def rejected(self, workspace: Workspace, path: str, content: bytes, reason: str, suffix: str) -> ToolError:
        """Return the error for a paid answer that cannot be used, and keep the answer in a file beside the path."""
        file = workspace.write(f"{path.rpartition('.')[0]}.rejected{suffix}", content)
        return self.error(f"{reason}; what was answered is kept in {file['path']!r}")


MAX_REFUSAL = 100_000
"""Longest answer in bytes that is searched for an error: a picture has more, and is not read twice."""


def _call_of(asked: Mapping[str, Any]) -> ModelCall:
    """Return a request as the provenance of a node shows it; the protocol calls a text to speak `input`."""
    others = {name: value for name, value in asked.items() if name not in ("model", "prompt", "input")}
    return ModelCall(asked["model"], asked.get("prompt", asked.get("input")), parameters=others)


def usage_of(model: str, body: Any, usd: float | None) -> dict[str, Any]:
    """Return the usage of one call.

    Args:
        model: The model that was asked.
        body: The answer as JSON, whose `usage` counts, with the words of either of OpenAI's protocols.
        usd: The cost by the operator's price.
    """
    usage = cast("dict[str, Any]", body).get("usage") if isinstance(body, dict) else None
    stated_usage = cast("dict[str, Any]", usage) if isinstance(usage, dict) else {}
    input_tokens, output_tokens = (_count(stated_usage, name) for name in ("input_tokens", "output_tokens"))
    input_tokens = _count(stated_usage, "prompt_tokens") if input_tokens is None else input_tokens
    output_tokens = _count(stated_usage, "completion_tokens") if output_tokens is None else output_tokens
    total = _count(stated_usage, "total_tokens")
    if output_tokens is None and total is not None:
        output_tokens = max(0, total - (input_tokens or 0))
    stated_cost: Any = stated_usage.get("cost")
    cost = float(stated_cost) if isinstance(stated_cost, int | float) and stated_cost >= 0 else usd
    used = {"input_tokens": input_tokens, "output_tokens": output_tokens, "cost_usd": cost}
    return {**stated_usage, **used, "model": model, "requests": 1}


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def spending_of(usage: Mapping[str, Any]) -> Spending:
    """Return the spending that a usage means."""
    return Spending((usage["input_tokens"] or 0) + (usage["output_tokens"] or 0), usage["cost_usd"])
