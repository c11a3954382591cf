"""The operator's settings of tools that use the network: limits of fetching, endpoints for media, language models.

    export PREFECT_INTEGRATIONS_VIBE_PREFECT_FETCH_ALLOW="example.org,*.example.net"

A key is never a setting itself. A setting names its place: `env:NAME` for an environment variable, `secret:name` for
a Prefect Secret block. It is read at each call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, cast

from prefect.blocks.system import Secret
from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from vibe_prefect.errors import ToolError, UsageError, shorten
from vibe_prefect.llm.local_model.model_file import DEFAULT_CONTEXT, LEAST_CONTEXT, LOCAL, LocalModel, local_model
from vibe_prefect.llm.provider.model_config import (
    DEFAULT_CONTEXT_TOKENS,
    DEFAULT_MAX_TOKENS,
    DEFAULT_SECONDS,
    DEFAULT_SIMILARITY,
    ModelConfig,
    Prices,
    Structure,
    environment_url,
)
from vibe_prefect.tools.builtin.media_tools import MediaConfig
from vibe_prefect.tools.comfyui.endpoint import ComfyServer
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.media.openai_media import OPENAI, OpenAIEndpoint
from vibe_prefect.tools.registry import SHORT_VARIABLE
from vibe_prefect.tools.secrecy.key_sources import checked_key, no_key

_DEFAULT = FetchConfig()


def _listed(value: Any) -> Any:
    """Split a comma-separated text; any other value is returned unchanged."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
"""A list, or text with commas."""

MODEL_FORM = r"^([a-z][a-z0-9_/-]*:[^\s*]+|local)$"
"""`provider:name`, or the model of this machine."""

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ModelPrices = Price | dict[str, Price]
"""US dollars: one price for all models, or as JSON one for each, such as `{"gpt-image-1": 0.17}`."""

KeyPlace = Annotated[str, Field(pattern=r"^(env:[A-Za-z_]\w*|secret:[a-z0-9][a-z0-9-]*)$")]
"""`env:NAME` or `secret:name`."""


class FetchSettings(PrefectBaseSettings):
    """Limits of `http_fetch`."""

    model_config = build_settings_config(("integrations", "vibe_prefect", "fetch"))

    allow: Annotated[
        Names,
        Field(
            description="Hosts: `example.org`, `*.example.org` for those below it, `*` for every public one; `:port` "
            "behind it for another port than 80 and 443. Empty: nothing is fetched."
        ),
    ] = ()

    allow_private: Annotated[
        Names,
        Field(description="Addresses with ports that may be reached though they are not public: `127.0.0.1:8080`."),
    ] = ()

    types: Annotated[Names, Field(description="What media types begin with.")] = _DEFAULT.types

    max_bytes: Annotated[int, Field(ge=1, description="The largest answer, in bytes.")] = _DEFAULT.max_bytes

    seconds: Annotated[float, Field(gt=0, description="How long one fetch may take.")] = _DEFAULT.seconds

    max_redirects: Annotated[int, Field(ge=0, description="How many redirects are followed.")] = _DEFAULT.max_redirects

    ca_file: Annotated[
        str | None, Field(description="A PEM file of certificate authorities to trust instead of the public ones.")
    ] = None

    def config(self) -> FetchConfig:
        """Return what the tool needs.

        Raises:
            UsageError: A list is not written as it must be.
        """
        return FetchConfig(
            allow=self.allow,
            allow_private=self.allow_private,
            types=self.types,
            max_bytes=self.max_bytes,
            seconds=self.seconds,
            max_redirects=self.max_redirects,
            ca_file=self.ca_file,
        )


class MediaSettings(PrefectBaseSettings):
    """Endpoints for images and speech."""

    model_config = build_settings_config(("integrations", "vibe_prefect", "media"))

    images_models: Annotated[
        Names, Field(description="Models that `image_generate` may ask for, the usual one first. Empty: none.")
    ] = ()
    images_url: Annotated[str, Field(description="Where OpenAI's protocol begins.")] = OPENAI
    images_key: Annotated[KeyPlace | None, Field(description="Where its key is: `env:NAME` or `secret:block`.")] = None
    images_seconds: Annotated[float, Field(gt=0, description="How long one image may take.")] = 180.0
    images_options: Annotated[
        dict[str, Any] | None,
        Field(
            description='What else to send, as JSON: `{"response_format": "b64_json"}` for models that would otherwise '
            "answer with an address.",
        ),
    ] = None

    images_price: Annotated[
        ModelPrices | None,
        Field(
            description="US dollars that a picture costs at most: a number, or as JSON one for each model, "
            '`{"gpt-image-1": 0.17}`; 0 for a server of your own. Without it no budget in dollars can be kept.'
        ),
    ] = None

    speech_models: Annotated[
        Names, Field(description="Models that `speech_generate` may ask for, the usual one first. Empty: none.")
    ] = ()
    speech_url: Annotated[str, Field(description="Where OpenAI's protocol begins.")] = OPENAI
    speech_key: Annotated[KeyPlace | None, Field(description="Where its key is: `env:NAME` or `secret:block`.")] = None
    speech_seconds: Annotated[float, Field(gt=0, description="How long one text may take.")] = 180.0
    speech_voice: Annotated[str, Field(description="Who speaks unless a plan says otherwise.")] = "alloy"

    speech_price: Annotated[
        ModelPrices | None, Field(description="Likewise, what 1,000 characters of text to speak cost.")
    ] = None

    comfyui_url: Annotated[
        str | None, Field(pattern=r"^https?://", description="Where ComfyUI is, such as `http://127.0.0.1:8188`.")
    ] = None
    comfyui_key: Annotated[
        KeyPlace | None,
        Field(description="Where the bearer token of a proxy before it is: `env:NAME`, `secret:block`."),
    ] = None
    comfyui_seconds: Annotated[float, Field(gt=0, description="How long one workflow may take, waiting included.")] = (
        1_800.0
    )
    comfyui_nodes: Annotated[
        Names | None, Field(description="The node classes that workflows may use; by default all of the server's.")
    ] = None

    def config(self, fetch: FetchConfig) -> MediaConfig:
        """Return what the tools need.

        Args:
            fetch: Where images may be fetched from.
        """
        images = OpenAIEndpoint(
            self.images_models,
            self.images_url,
            key=_reader(self.images_key),
            key_place=self.images_key,
            seconds=self.images_seconds,
            options=self.images_options or {},
            prices=self.images_price,
        )
        speech = OpenAIEndpoint(
            self.speech_models,
            self.speech_url,
            key=_reader(self.speech_key),
            key_place=self.speech_key,
            seconds=self.speech_seconds,
            prices=self.speech_price,
        )
        return MediaConfig(
            images=images if images.models else None,
            speech=speech if speech.models else None,
            voice=self.speech_voice,
            comfyui=self._comfyui(),
            fetch=fetch,
        )

    def _comfyui(self) -> ComfyServer | None:
        if self.comfyui_url is None:
            return None
        return ComfyServer(
            self.comfyui_url,
            key=_reader(self.comfyui_key),
            key_place=self.comfyui_key,
            seconds=self.comfyui_seconds,
            nodes=self.comfyui_nodes,
        )


LOCAL_ANSWER_SHARE = 4
"""Part of a local model's context that its answer may have by default: one in so many."""

LOCAL_FRAME_TOKENS = 64
"""Tokens that a model's own form of a conversation takes."""

LOCAL_SECONDS = 900.0
"""Seconds that a call of a local model may take by default: on a busy machine it writes a token a second."""


class LocalSettings(PrefectBaseSettings):
    """The model of this machine."""

    model_config = build_settings_config(("integrations", "vibe_prefect", "local"))

    gguf: Annotated[
        str | None,
        Field(description="The GGUF file of the model `local`, which a process of this machine answers with."),
    ] = None
    threads: Annotated[
        int | None,
        Field(ge=1, le=1_024, description="Threads that it computes with; half of the processors by default."),
    ] = None
    context: Annotated[
        int, Field(ge=LEAST_CONTEXT, description="Tokens that it can have before it, its answer included.")
    ] = DEFAULT_CONTEXT

    def model(self) -> LocalModel:
        """Return the model. Its file need not be there."""
        return local_model(self.gguf, self.threads, self.context)


class LLMSettings(PrefectBaseSettings):
    """Language models that run nodes, and their limits."""

    model_config = build_settings_config(("integrations", "vibe_prefect", "llm"))

    models: Annotated[
        Names,
        Field(
            description="Models as `provider:name`, or `local`: the first runs nodes that name none; the others, in "
            "which `*` stands for anything, may be named by nodes. Empty: VIBE_PREFECT_MODEL, else no model."
        ),
    ] = ()
    judge: Annotated[str | None, Field(pattern=MODEL_FORM, description="The model for verdicts.")] = None
    embedding: Annotated[
        str | None,
        Field(
            pattern=MODEL_FORM,
            description="The model that compares the meaning of knowledge with that of a vibe, such as "
            "`openai:text-embedding-3-small`. Empty: knowledge is chosen by words alone.",
        ),
    ] = None
    embedding_similarity: Annotated[
        float,
        Field(
            ge=-1,
            le=1,
            description="Cosine similarity from which on knowledge fits a vibe by its meaning; models differ in what "
            "they give to texts that have nothing to do with each other.",
        ),
    ] = DEFAULT_SIMILARITY
    url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://",
            description="Another address of the first model's provider; by default as in OPENAI_BASE_URL and the like.",
        ),
    ] = None
    key: Annotated[
        KeyPlace | None,
        Field(description="Where its key is: `env:NAME` or `secret:block`. By default the provider's own variable."),
    ] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="How much answers vary.")] = None
    max_tokens: Annotated[int, Field(ge=1, description="Output tokens of an answer, at most.")] = DEFAULT_MAX_TOKENS
    context_tokens: Annotated[int, Field(ge=500, description="Input tokens of a call, at most, as estimated.")] = (
        DEFAULT_CONTEXT_TOKENS
    )
    seconds: Annotated[float, Field(gt=0, description="How long one call may take.")] = DEFAULT_SECONDS
    input_price: Annotated[
        float | None, Field(ge=0, description="US dollars for a million input tokens, instead of the public list's.")
    ] = None
    output_price: Annotated[float | None, Field(ge=0, description="Likewise for output tokens.")] = None
    structure: Annotated[
        Structure, Field(description="Way to ask a provider for JSON of a schema; `auto`: as its profile says.")
    ] = "auto"
    require_stream_end: Annotated[
        bool,
        Field(
            description="Whether a stream that ends without a finish reason and without `[DONE]` is broken off; false "
            "for servers that send neither."
        ),
    ] = True

    def config(self, local: LocalSettings) -> ModelConfig | None:
        """Return what the tools need; `None` where no model is named. A key alone configures nothing.

        Args:
            local: The settings of the model of this machine.

        Raises:
            UsageError: A model is not named as `provider:name`, one of the two prices is missing, or the model of this
                machine is the first one, and has an address or a key.
        """
        models = self.models or _listed(os.environ.get(SHORT_VARIABLE, ""))
        if not models:
            return None
        if not re.match(MODEL_FORM, models[0]):
            # Not quoted: somebody may have put a key in its place.
            raise UsageError(
                f"the first model of {SHORT_VARIABLE} or LLM_MODELS is not named as provider:name, "
                "such as openai:gpt-5-mini"
            )
        named = (*models, self.judge)
        known = local.model() if LOCAL in named else None
        names = {LOCAL: known.name} if known is not None else {}
        limits = self._limits_of_local(known.context) if known is not None and models[0] == LOCAL else {}
        config = ModelConfig(
            tuple(names.get(model, model) for model in models),
            self.url or environment_url(models[0]),
            _reader(self.key),
            key_place=self.key,
            judge=names.get(self.judge, self.judge) if self.judge is not None else None,
            embedding=self.embedding,
            embedding_similarity=self.embedding_similarity,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            context_tokens=self.context_tokens,
            seconds=self.seconds,
            prices=self._prices(),
            structure=self.structure,
            require_stream_end=self.require_stream_end,
            local=known,
        )
        return replace(config, **limits)

    def _limits_of_local(self, context: int) -> dict[str, Any]:
        """Return the limits that are left to the model of this machine: its context, and time where it is slow."""
        if self.url is not None or self.key is not None:
            raise UsageError(
                "the first model is local, which has no other address and no key: leave LLM_URL and LLM_KEY out"
            )
        answer = self.max_tokens if "max_tokens" in self.model_fields_set else context // LOCAL_ANSWER_SHARE
        limits = {
            "max_tokens": answer,
            "context_tokens": max(1, context - answer - LOCAL_FRAME_TOKENS),
            "seconds": LOCAL_SECONDS,
        }
        return {name: value for name, value in limits.items() if name not in self.model_fields_set}

    def _prices(self) -> Prices | None:
        if self.input_price is None and self.output_price is None:
            return None
        if self.input_price is None or self.output_price is None:
            raise UsageError("set both prices of a model, LLM_INPUT_PRICE and LLM_OUTPUT_PRICE, or neither")
        return Prices(self.input_price, self.output_price)


def _reader(key_place: str | None) -> Callable[[], str | None]:
    return no_key if key_place is None else partial(read_key, key_place)


def read_key(place: str | None) -> str | None:
    """Read a key from its place; `None` where no place is named. It may ask the Prefect server: not async.

    Raises:
        ToolError: It is not there, or is not a key.
    """
    if place is None:
        return None
    kind, _, name = place.partition(":")
    key = os.environ.get(name) if kind == "env" else _secret(name)
    holder = f"environment variable {name}" if kind == "env" else f"Secret block {name!r}"
    if not (key and key.strip()):
        raise ToolError(f"{holder} holds no key; a setting names it as {shorten(place)}", retryable=False)
    return checked_key(key, holder)


def _secret(name: str) -> str:
    try:
        block = cast("Any", Secret).load(name, _sync=True)
    except ValueError as error:
        raise ToolError(f"Secret block {name!r} cannot be loaded: {error}", retryable=False) from error
    return str(block.get())
