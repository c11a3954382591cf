"""Finding and making the client of a model's provider, and saying before a run what it lacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from vibe_prefect.errors import ToolError, did_you_mean
from vibe_prefect.llm.local_model.model_file import LOCAL
from vibe_prefect.llm.local_model.model_file import MISSING as MISSING_LOCAL
from vibe_prefect.llm.local_model.shared_server import join_server
from vibe_prefect.llm.provider.model_config import ModelConfig, environment_key, model_key, provider_of
from vibe_prefect.llm.provider.provider_failures import MAX_SAID
from vibe_prefect.tools.registry import HOW_TO_CONFIGURE
from vibe_prefect.tools.secrecy.key_sources import no_key
from vibe_prefect.tools.secrecy.known import scrubbed

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.embeddings import EmbeddingModel
    from pydantic_ai.models import Model
    from pydantic_ai.providers import Provider

COMMON_PROVIDERS = ("anthropic", "azure", "bedrock", "google", "groq", "mistral", "ollama", "openai", "openrouter")
"""Providers that a misspelt name may mean; pydantic-ai knows more."""


LOGINS = frozenset({"bedrock", "bedrock-mantle", "google-cloud", "github-copilot", "openai-chatgpt", "openai-codex"})
"""Providers whose clients look for a login in many places, some of them over the network: not tried before a run."""

_ADDRESS_NAMES = ("base_url", "api_base", "azure_endpoint")
_KEY_NAMES = ("api_key", "token")
_KEY_IS_ELSEWHERE = "not-read-yet"
_NOWHERE = "http://127.0.0.1:1/v1"


class Access(NamedTuple):
    """Way to a model."""

    base_url: str | None
    """Address where its provider's protocol begins; `None` for the provider's own."""

    key: str | None
    """The key to send; `None`: the client looks for its own in the environment."""


def access_to(config: ModelConfig, name: str) -> Access:
    """Return the way to a model. It may take time: a local model is loaded where no process has done so.

    Raises:
        ToolError: Its key is not where the operator says, or is not a key; or a local model cannot be loaded.
    """
    local = config.local_model(name)
    if local is not None:
        return Access(*join_server(local))
    return Access(config.base_url if config.is_own(name) else None, model_key(config, name))


def connect(name: str, base_url: str | None, key: str | None, http: httpx2.AsyncClient | None = None) -> Model:
    """Return pydantic-ai's model. Nothing is asked yet.

    At another address than its own, `openai` means chat completions, which compatible servers speak.

    Args:
        name: `provider:name`.
        base_url: Another address of the provider.
        key: The provider's key; `None`: it looks for its own in the environment.
        http: The HTTP client, for providers on OpenAI's protocol.

    Raises:
        ToolError: pydantic-ai does not know the provider, or it cannot be reached by an address or a key.
        UserError: Its key or its address is missing; pydantic-ai's own error.
        ImportError: Its library is not installed.
    """
    from pydantic_ai.models import infer_model

    return infer_model(_wire_name(name, base_url), _provider_factory(name, base_url, key, http))


def embedding_client(
    name: str, base_url: str | None, key: str | None, http: httpx2.AsyncClient | None = None
) -> EmbeddingModel:
    """Return pydantic-ai's embedding model; as `connect`."""
    from pydantic_ai.embeddings import infer_embedding_model

    return infer_embedding_model(name, provider_factory=_provider_factory(name, base_url, key, http))


def _provider_factory(
    name: str, base_url: str | None, key: str | None, http: httpx2.AsyncClient | None
) -> Callable[[str], Provider[Any]]:
    from pydantic_ai.providers import infer_provider_class

    def provider(kind: str) -> Provider[Any]:
        try:
            provider_class = infer_provider_class(kind)
        except ValueError:
            raise ToolError(_unknown(name), retryable=False) from None
        return cast("Any", provider_class)(**_arguments(name, provider_class, base_url, key, http))

    return provider


def _arguments(
    name: str,
    provider_class: type[Provider[Any]],
    base_url: str | None,
    key: str | None,
    http: httpx2.AsyncClient | None,
) -> dict[str, Any]:
    """Return what a provider is made with, under the names that its class has for it."""
    # Of a deprecated class, the class itself hides them.
    accepted = inspect.signature(provider_class.__init__).parameters
    arguments: dict[str, Any] = {}
    settings = (("address", "URL", _ADDRESS_NAMES, base_url), ("key", "KEY", _KEY_NAMES, key))
    for label, setting, names, value in settings:
        argument = next((candidate for candidate in names if candidate in accepted), None)
        if value is not None and argument is None:
            raise ToolError(
                f"{name}: its provider takes no {label}; leave PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_{setting} out",
                retryable=False,
            )
        if value is not None and argument is not None:
            arguments[argument] = value
    if http is not None and "openai_client" in accepted:
        arguments["http_client"] = http
    return arguments


def provider_lack(config: ModelConfig, name: str) -> str | None:
    """Return why a model's provider cannot be used, or `None`: it is unknown, or lacks its library, key or address.

    Its client is made once, as for a call, and dropped. Nothing is sent, and no key is read that a setting names.
    """
    local = config.local_model(name)
    if local is not None and local.lack is not None:
        return f"{name}: {local.lack}"
    if local is not None and MISSING_LOCAL is not None:
        return f"{name}: its library is not installed: {MISSING_LOCAL}"
    is_own = config.is_own(name)
    if provider_of(name) in LOGINS:
        return _class_lack(name)
    try:
        key = _KEY_IS_ELSEWHERE if is_own and config.key is not no_key else environment_key(name)
        connect(name, _NOWHERE if local is not None else config.base_url if is_own else None, key)
    except ToolError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - each provider's library has its own
        return f"{name}: {scrubbed(str(error))[:MAX_SAID]}"
    return None


def _class_lack(name: str) -> str | None:
    from pydantic_ai.providers import infer_provider_class

    try:
        infer_provider_class(provider_of(name))
    except ImportError as error:
        return f"{name}: {error}"
    return None


def _unknown(name: str) -> str:
    provider = provider_of(name)
    hint = did_you_mean(provider, COMMON_PROVIDERS)
    return f"{name}: pydantic-ai knows no provider {provider!r}{hint}; {HOW_TO_CONFIGURE}"


def _wire_name(name: str, base_url: str | None) -> str:
    elsewhere = base_url is not None and name.startswith(("openai:", f"{LOCAL}:"))
    return f"openai-chat:{name.partition(':')[2]}" if elsewhere else name
