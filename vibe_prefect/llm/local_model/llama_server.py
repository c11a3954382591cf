"""llama.cpp's server within this process: OpenAI's protocol on the loopback address."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vibe_prefect.llm.local_model.model_file import LocalModel

HOST = "127.0.0.1"

_ERRORS_ONLY = 1
"""llama.cpp's verbosity for errors alone, which go to standard error."""

_AGAINST_LOOPS = 0.8
"""Weight of llama.cpp's DRY sampler, which keeps small models from writing the same sentence again and again."""

IDLE_SECONDS = 600
"""Seconds without a question after which the model leaves the memory, until the next one."""


class ModelLoadError(Exception):
    """llama.cpp cannot load the model, or cannot listen; it has said why on standard error."""


def load_server(model: LocalModel, port: int = 0, key: str | None = None) -> Any:
    """Load a model and serve it, in threads of llama.cpp's own, until the returned server is dropped.

    It answers one question at a time, and lets others wait: two at once on the same processors are no faster.

    Args:
        model: The model.
        port: Port to listen at; 0 for a free one.
        key: Key that a question must carry; `None` for none.

    Returns:
        The server; `listening_address` is its address.

    Raises:
        ImportError: The extra is not installed.
        ModelLoadError: The model cannot be loaded, or the port cannot be used.
    """
    llama: Any = import_module("xllamacpp")
    parameters = llama.CommonParams()
    parameters.verbosity = _ERRORS_ONLY
    parameters.model.path = model.gguf
    parameters.model_alias = {model.name}
    parameters.n_ctx = model.context
    parameters.n_parallel = 1
    parameters.hostnames = [HOST]
    parameters.port = port
    parameters.api_keys = [key] if key else []
    parameters.cors_origins = ""  # no web page of any site may ask
    parameters.ui = False
    parameters.endpoint_slots = False  # they would show what others ask
    parameters.sleep_idle_seconds = IDLE_SECONDS
    parameters.sampling.dry_multiplier = _AGAINST_LOOPS
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = model.threads
        threads.poll = 0  # waiting threads leave the processors to others
    try:
        return llama.Server(parameters)
    except RuntimeError as error:
        raise ModelLoadError(str(error)) from error
