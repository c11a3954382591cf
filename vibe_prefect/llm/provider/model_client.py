"""Questions to a model, their answers, and the interface of model clients: a provider, or a script in a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from vibe_prefect.core.budget import estimate_tokens


@dataclass(frozen=True, slots=True)
class Question:
    """Question to a model. It gets no tools."""

    model: str
    """`provider:name`."""

    system: str
    """Instructions, from the vibe and the node's type."""

    prompt: str
    """Task, with the material to do it on."""

    schema: dict[str, Any] | None = None
    """The JSON Schema of the answer, an object; `None` for text."""

    max_tokens: int = 4_096
    """Output tokens, at most."""

    temperature: float | None = None
    """Variation of answers; the model's own where `None`."""

    @property
    def input_tokens(self) -> int:
        """Estimated input tokens, by the rule of `estimate_tokens`; a schema is input too."""
        schema = "" if self.schema is None else str(self.schema)
        return estimate_tokens(self.system) + estimate_tokens(self.prompt) + estimate_tokens(schema)


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a model."""

    text: str
    """The answer; JSON where a schema was given."""

    model: str
    """The model's name, as the provider gives it."""

    input_tokens: int | None = None
    """Tokens read, as the provider counts them; `None` where it does not say."""

    output_tokens: int | None = None
    """Tokens written, likewise."""

    cost_usd: float | None = None
    """US dollars; `None` where the price or the tokens are not known."""

    cached_tokens: int = 0
    """Those of the tokens read that came from the provider's cache."""


class ModelClient(Protocol):
    """Model client."""

    async def ask(self, question: Question, heard: Callable[[str], None]) -> Answer:
        """Answer a question.

        Args:
            question: The question.
            heard: Called with each piece of the answer as it comes.

        Raises:
            ToolError: There is no whole answer; the error says whether trying again may help.
        """
        ...

    def price(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """Return what tokens cost in US dollars; `None` where that is not known."""
        ...
