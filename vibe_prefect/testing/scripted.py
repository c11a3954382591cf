"""A model that answers by a script, and a tool that notes how it was called: for tests of plans."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vibe_prefect.core.budget import estimate_tokens
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_client import Answer, Question
from vibe_prefect.llm.provider.model_config import ModelConfig, Prices
from vibe_prefect.llm.toolset import model_tools
from vibe_prefect.tools.base import BaseTool, ToolCategory, ToolContext, ToolResult, ToolSpec
from vibe_prefect.tools.registry import ToolRegistry

MODEL = "scripted:model"
Reply = str | Exception
"""An answer, or the exception raised instead, such as a `ToolError`."""

Script = Reply | Sequence[Reply] | Callable[[Question], Reply]
"""The same answer to every question, one after the other, or a function of the question."""


class ScriptedModel:
    """A model that needs no network.

    Its tokens are estimates, and its price is a dollar for a million of them, so that budgets can be tested, too.
    """

    def __init__(self, script: Script = "A text.", **config: Any) -> None:
        """Make a model.

        Args:
            script: Its answers.
            **config: Fields of `ModelConfig`.
        """
        self.questions: list[Question] = []
        """Questions that it was asked, in order."""
        self._script = script
        self._replies: Iterator[Reply] | None = _in_turn(script)
        fields: dict[str, Any] = {"models": (MODEL, "*"), "prices": Prices(1.0, 1.0)}
        self._config = ModelConfig(**(fields | config))

    @property
    def registry(self) -> ToolRegistry:
        """The package's tools, with this model behind those that need one."""
        registry = equipped_registry()
        for tool in model_tools(Models(self._config, self)):
            registry.register(tool)
        return registry

    async def ask(self, question: Question, heard: Callable[[str], None]) -> Answer:
        """Answer by the script.

        Raises:
            Exception: The script has an exception for this question.
            AssertionError: The script has no more answers.
        """
        self.questions.append(question)
        reply = self._reply(question)
        if isinstance(reply, Exception):
            raise reply
        heard(reply)
        read, written = question.input_tokens, estimate_tokens(reply)
        return Answer(reply, question.model, read, written, self.price(question.model, read, written))

    def price(self, model: str, input_tokens: int, output_tokens: int) -> float | None:  # noqa: ARG002 - the protocol's
        """Return the cost of tokens in US dollars."""
        prices = self._config.prices
        return None if prices is None else (prices.input * input_tokens + prices.output * output_tokens) / 1e6

    def _reply(self, question: Question) -> Reply:
        if callable(self._script):
            return self._script(question)
        assert self._replies is not None
        reply = next(self._replies, None)
        if reply is None:
            raise AssertionError(f"the script has no answer to question {len(self.questions)}")
        return reply


def _in_turn(script: Script) -> Iterator[Reply] | None:
    if callable(script):
        return None
    if isinstance(script, str | Exception):
        return _forever(script)
    return iter(script)


def _forever(reply: Reply) -> Iterator[Reply]:
    while True:
        yield reply


def verdict(scores: Mapping[str, float], *quotes: str) -> str:
    """Build a model's answer to the tool `judge`.

    Args:
        scores: The score of each criterion, by its name.
        *quotes: Evidence for each score; must stand in the judged text.
    """
    criteria = [
        {"name": name, "score": score, "reason": "as scripted", "quotes": list(quotes)}
        for name, score in scores.items()
    ]
    return json.dumps({"criteria": criteria})


class RecordingTool(BaseTool):
    """A tool that takes any inputs, and records them."""

    version = "recording"

    def __init__(self, name: str, output: Any = None, *, error: str | None = None) -> None:
        """Make a tool.

        Args:
            name: Name by which nodes call it.
            output: Its output; a function is called with the inputs.
            error: Message of the failure to return instead.
        """
        self.calls: list[dict[str, Any]] = []
        """The inputs of each call, in order."""
        self.contexts: list[ToolContext] = []
        """Context of each call, in order."""
        self._name = name
        self._output = output
        self._error = error

    @property
    def spec(self) -> ToolSpec:
        """Description of the tool for the registry."""
        return ToolSpec(self._name, "Notes how it is called.", ToolCategory.UTILITY, {"type": "object"}, {})

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        """Record the call, and return the output or the error."""
        self.calls.append(inputs)
        self.contexts.append(context or ToolContext())
        output = self._output(inputs) if callable(self._output) else self._output
        return ToolResult(self._error is None, output, error=self._error)
