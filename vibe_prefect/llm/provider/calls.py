"""One call to a model for a node: within the budget, with its progress and its usage."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vibe_prefect.core.budget import Spending, estimate_tokens, paid_call
from vibe_prefect.core.models import Vibe, WorkflowNode
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.prompts import NOTE_TOKENS, system_prompt
from vibe_prefect.llm.provider.model_client import Answer, ModelClient, Question
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.llm.provider.provider import ProviderClient, usage_of
from vibe_prefect.provenance import ModelCall
from vibe_prefect.tools.base import ToolContext
from vibe_prefect.tools.model_calls import noted_call
from vibe_prefect.tools.waits import patiently

RUBRIC_TOKENS = 800
"""Tokens reserved for a judge's instructions besides the rubric and the text, and for marks around parameters."""

REPORT_SECONDS = 0.5
"""Seconds between two reports on how far an answer has come."""


@dataclass(frozen=True)
class Models:
    """Model client with its limits."""

    config: ModelConfig
    """The operator's configuration."""

    asker: ModelClient
    """Model client."""

    @classmethod
    def of(cls, config: ModelConfig) -> Models:
        """Return the models of a configuration, over the network."""
        return cls(config, ProviderClient(config))

    def most(self, question: Question) -> Spending:
        """Return the most that a call can cost: all of its input, and all the output that it may make."""
        input_tokens = question.input_tokens
        usd = self.asker.price(question.model, input_tokens, question.max_tokens)
        return Spending(input_tokens + question.max_tokens, usd)

    async def ask(self, question: Question, context: ToolContext) -> tuple[Answer, dict[str, Any]]:
        """Ask, and return the answer with its usage.

        Raises:
            BudgetExceededError: The run's budget does not allow the call; it was not made.
            ToolError: There is no whole answer. Its `usage` holds what the call has cost, where that is known.
        """
        with noted_call(context, _call_of(question)) as noted:
            answer, usage = await self._ask(question, context)
            noted.note_usage(usage, answer.model)
            return answer, usage

    async def _ask(self, question: Question, context: ToolContext) -> tuple[Answer, dict[str, Any]]:
        listener = _Listener(context.get("report_progress"))
        async with paid_call(context.get("budget"), self.most(question)) as charge:
            try:
                answer = await patiently(
                    self._endpoint(question), lambda: self.asker.ask(question, listener.heard), context
                )
            except ToolError as error:
                charge.used = self._lost(question, error, listener)
                raise
            except BaseException:  # cancelled or timed out in the middle: it may have been paid for
                charge.used = self._broken(question, listener)
                raise
            charge.used = self._used(question, answer)
            return answer, usage_of(answer, question.model)

    def _endpoint(self, question: Question) -> str:
        base_url = self.config.base_url if self.config.is_own(question.model) else None
        return f"{base_url or ''} {question.model}".strip()

    def _used(self, question: Question, answer: Answer) -> Spending:
        if answer.input_tokens is None or answer.output_tokens is None:
            input_tokens, output_tokens = question.input_tokens, estimate_tokens(answer.text)
            return Spending(input_tokens + output_tokens, self.asker.price(question.model, input_tokens, output_tokens))
        return Spending(answer.input_tokens + answer.output_tokens, answer.cost_usd)

    def _lost(self, question: Question, error: ToolError, listener: _Listener) -> Spending:
        """Return what a failed call has cost: what the provider said, or an estimate when an answer had begun."""
        usage = error.usage
        if usage is not None and usage.get("input_tokens") is not None:
            return Spending(usage["input_tokens"] + usage["output_tokens"], usage.get("cost_usd"))
        return self._broken(question, listener) if listener.characters else Spending()

    def _broken(self, question: Question, listener: _Listener) -> Spending:
        input_tokens, output_tokens = question.input_tokens, listener.tokens
        return Spending(input_tokens + output_tokens, self.asker.price(question.model, input_tokens, output_tokens))


def _call_of(question: Question) -> ModelCall:
    """Return a question as the provenance of a node shows it."""
    parameters: dict[str, Any] = {"max_tokens": question.max_tokens}
    if question.temperature is not None:
        parameters["temperature"] = question.temperature
    if question.schema is not None:
        parameters["answer"] = "JSON by a schema"
    return ModelCall(question.model, question.prompt, question.system, parameters)


@dataclass(frozen=True)
class ModelLimits:
    """Limits and prices of one call of a tool on a model, for forecasts."""

    models: Models
    """Model client."""

    usual: str
    """The model that is asked where a node names none."""

    @property
    def context_tokens(self) -> int:
        """Input tokens of a call, at most."""
        return self.models.config.context_tokens

    @property
    def max_tokens(self) -> int:
        """Output tokens of a call, at most."""
        return self.models.config.max_tokens

    def fixed_tokens(self, vibe: Vibe, node: WorkflowNode, inputs: Mapping[str, Any], given: Sequence[int]) -> int:
        """Return what a call reads at most when nothing in its inputs depends on other nodes but their texts.

        Args:
            vibe: The plan's vibe.
            node: The node.
            inputs: Its inputs, without templates.
            given: What each of its dependencies writes at most, in tokens.
        """
        words = [system_prompt(vibe, node.type.value), node.description, json.dumps(inputs, default=str)]
        parameters = json.dumps(node.parameters, default=str)
        return (
            sum(map(estimate_tokens, [*words, parameters]))
            + RUBRIC_TOKENS
            + sum(NOTE_TOKENS + tokens for tokens in given)
        )

    def spending(self, model: str | None, read: int, written: int | None) -> Spending:
        """Return what a call costs that reads and writes so many tokens, by a model."""
        most = min(written or self.max_tokens, self.max_tokens)
        return Spending(read + most, self.models.asker.price(model or self.usual, read, most))


class _Listener:
    """Turns an answer that comes in pieces into reports, no more often than people can read them."""

    def __init__(self, report: Callable[[float | None, str], None] | None) -> None:
        self.characters = 0
        self.tokens = 0
        self._report = report
        self._last = 0.0

    def heard(self, piece: str) -> None:
        self.characters += len(piece)
        self.tokens += estimate_tokens(piece)
        now = time.monotonic()
        if self._report is not None and piece and now - self._last >= REPORT_SECONDS:
            self._last = now
            self._report(None, f"{self.characters:,} characters")  # nobody knows how long the answer becomes
