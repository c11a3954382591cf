"""Configuration of models by an operator: names, addresses, keys and limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from itertools import chain
from typing import Literal

from vibe_prefect.errors import did_you_mean
from vibe_prefect.llm.local_model.model_file import LOCAL, LocalModel
from vibe_prefect.tools.functions import ToolInputError
from vibe_prefect.tools.secrecy.key_sources import KeySource, checked_key, named_source, no_key, obtained

MISSING = None if find_spec("pydantic_ai") is not None else "pip install 'vibe-prefect[llm]'"
"""The command that installs what a model needs; `None` when it is here. It is imported by the first call."""

KEY_VARIABLE = "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_KEY"

DEFAULT_SECONDS = 180.0
DEFAULT_SIMILARITY = 0.3
DEFAULT_MAX_TOKENS = 4_096
DEFAULT_CONTEXT_TOKENS = 24_000

_KEYS = {
    "alibaba": ("ALIBABA_API_KEY", "DASHSCOPE_API_KEY"),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("CO_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "github": ("GITHUB_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "heroku": ("HEROKU_INFERENCE_KEY",),
    "huggingface": ("HF_TOKEN",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshotai": ("MOONSHOTAI_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "ovhcloud": ("OVHCLOUD_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "vercel": ("VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
"""The providers' own variables for a key, the first that holds one counts. Servers that speak OpenAI's protocol
elsewhere may ask for none; of other providers, making their client says what they lack."""

_URLS = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL", "ollama": "OLLAMA_BASE_URL"}
"""The providers' own variables for another address."""

Structure = Literal["auto", "native", "tool", "prompted"]


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a model, in US dollars for a million tokens."""

    input: float
    """Input."""

    output: float
    """Output."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The models that plans may use."""

    models: tuple[str, ...]
    """`provider:name` as pydantic-ai knows it. The first one runs nodes that name none; the others, in which `*` stands
    for anything, are those that nodes may name besides."""

    base_url: str | None = None
    """Another address of the first model's provider."""

    key: Callable[[], str | None] = no_key
    """Returns the key of the first model's provider; asked at each call, in a thread. `None`: the provider looks for
    its own in the environment."""

    judge: str | None = None
    """The model for verdicts; the first one by default."""

    embedding: str | None = None
    """The model that compares meanings, for knowledge; none by default."""

    embedding_similarity: float = DEFAULT_SIMILARITY
    """Cosine similarity of two texts, -1 to 1, from which on their meanings count as near."""

    temperature: float | None = None
    """Variation of answers; the model's own by default."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    """Output tokens of an answer, at most."""

    context_tokens: int = DEFAULT_CONTEXT_TOKENS
    """Input tokens of a call, at most, counted by `budget.estimate_tokens`."""

    seconds: float = DEFAULT_SECONDS
    """Time limit of one call, in seconds."""

    prices: Prices | None = None
    """Prices of the first model's provider, where the public list lacks them or has others."""

    structure: Structure = "auto"
    """Form in which a provider gets the JSON Schema of an answer; by default as its profile in pydantic-ai says."""

    require_stream_end: bool = True
    """Whether a stream counts as broken off that ends without a finish reason and without its end mark."""

    local: LocalModel | None = None
    """The model of this machine; `models` and `judge` have it under its full name. `None` where none is allowed."""

    key_place: str | None = None
    """Place of the key by the operator's setting, `env:NAME` or `secret:name`; for messages and dry runs."""

    @property
    def usual(self) -> str:
        """Default model: it runs nodes that name none."""
        return self.models[0]

    def key_sources(self, model: str) -> tuple[KeySource, ...]:
        """Return the places of a model's key that are known: other providers have variables of their own."""
        if self.is_own(model) and (self.key_place is not None or self.key is not no_key):
            return named_source(self.key_place, KEY_VARIABLE)
        provider = provider_of(model)
        if provider not in _KEYS:
            return ()
        variable = _set_variable(provider) or _KEYS[provider][0]
        remedy = f"set {variable}, the key for {model}"
        if self.is_own(model):
            remedy += f", or say in {KEY_VARIABLE} where it is"
        keyless = provider == "openai" and self.is_own(model) and self.base_url is not None
        return (KeySource(f"env:{variable}", remedy, needed=not keyless),)

    def chosen(self, asked: str | None, usual: str | None = None) -> str:
        """Return the model for a call.

        Args:
            asked: What the node names.
            usual: The default model, if it is not the first.

        Raises:
            ToolInputError: The node names a model that the operator does not allow.
        """
        if asked is None:
            return usual or self.usual
        if asked == LOCAL and self.local is not None:
            return self.local.name
        allowed = [*self.models, *filter(None, [self.judge])]
        if any(asked == model or fnmatchcase(asked, model) for model in allowed):
            return asked
        hint = did_you_mean(asked, allowed) or f"; allowed: {', '.join(allowed)}"
        raise ToolInputError(f"model {asked!r} is not one that the operator allows{hint}")

    def local_model(self, model: str) -> LocalModel | None:
        """Return the local model where that is the one which is named; else `None`."""
        return self.local if self.local is not None and model in (LOCAL, self.local.name) else None

    def is_own(self, model: str) -> bool:
        """Tell whether address, key and prices of this configuration are for that model."""
        return provider_of(model) == provider_of(self.usual)


def model_key(config: ModelConfig, model: str) -> str | None:
    """Return the key to send: the operator's, else that of the provider's own variable. It may take time.

    Raises:
        ToolError: It is not where the operator says, or is not a key.
    """
    own_key = obtained(config.key, config.base_url) if config.is_own(model) else None
    return own_key or environment_key(model)


def unused_keys() -> tuple[str, ...]:
    """Return the variables that hold a provider's key or address, which by themselves configure no model."""
    return tuple(
        name for name in sorted({*chain.from_iterable(_KEYS.values()), *_URLS.values()}) if os.environ.get(name)
    )


def environment_key(model: str) -> str | None:
    """Return the key of a model's provider as the provider's own variable has it; `None` where that is not set.

    Raises:
        ToolError: What the variable holds is not a key.
    """
    variable = _set_variable(provider_of(model))
    return None if variable is None else checked_key(os.environ[variable], f"environment variable {variable}")


def _set_variable(provider: str) -> str | None:
    return next((name for name in _KEYS.get(provider, ()) if os.environ.get(name, "").strip()), None)


def environment_url(model: str) -> str | None:
    """Return the address of a model's provider as the provider's own variable has it, if it is set."""
    return os.environ.get(_URLS.get(provider_of(model), "")) or None


def provider_of(model: str) -> str:
    """Return the provider of a model named `provider:name`; the two ways to talk to OpenAI are one."""
    provider = model.partition(":")[0]
    return "openai" if provider in ("openai-chat", "openai-responses") else provider
