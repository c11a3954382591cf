"""`vibe-prefect model serve`: a model of this machine, answering in this process until it is stopped."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from rich.text import Text

from vibe_prefect.cli.display.console import flush, out
from vibe_prefect.cli.display.lines import fact_line
from vibe_prefect.cli.exits import ExitCode, StartError
from vibe_prefect.errors import UsageError
from vibe_prefect.llm.local_model.llama_server import HOST, ModelLoadError, load_server
from vibe_prefect.llm.local_model.model_file import MISSING, LocalModel, file_problem, local_model

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve_model(gguf: Path | None, port: int, threads: int | None, context: int | None) -> int:
    """Load a model, print its address, and serve it until SIGINT or SIGTERM.

    Args:
        gguf: The GGUF file; `None` for that of the settings.
        port: The port; 0 for a free one.
        threads: Threads to compute with; `None` for those of the settings.
        context: Tokens of context; `None` for those of the settings.

    Raises:
        UsageError: The file, the extra or the port is not there.
        StartError: The model cannot be loaded.
    """
    model = _model(gguf, threads, context)
    _check(model, port)
    # Before the model is loaded: its threads inherit the mask, so that the signals come to this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        server = load_server(model, port)
    except ModelLoadError as error:
        raise StartError(f"llama.cpp cannot serve {model.gguf!r}; the lines above say why") from error
    screen = out()
    screen.say(fact_line("model", model.name))
    screen.say(
        fact_line("server", f"{server.listening_address}/v1  (OpenAI's protocol, this machine only; Ctrl-C stops it)")
    )
    screen.say(Text(f"for example: curl {server.listening_address}/v1/chat/completions \\", "dim"))
    screen.say(Text("""  -d '{"max_tokens": 60, "messages": [{"role": "user", "content": "Say hello."}]}'""", "dim"))
    flush()
    signal.sigwait(STOP_SIGNALS)
    screen.say("stopped")
    return ExitCode.COMPLETED


def _model(gguf: Path | None, threads: int | None, context: int | None) -> LocalModel:
    from vibe_prefect.settings.package import load_settings

    settings = load_settings().local
    file = settings.gguf if gguf is None else str(gguf)
    return local_model(file, threads or settings.threads, context or settings.context)


def _check(model: LocalModel, port: int) -> None:
    """Refuse what llama.cpp would refuse in lines of its own."""
    if MISSING is not None:
        raise UsageError(f"serving a model needs more than is installed: {MISSING}")
    if model.gguf is None:
        raise UsageError(f"no model: name its file with --gguf, or {model.lack}")
    if problem := file_problem(Path(model.gguf)):
        raise UsageError(f"no model: {problem}")
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise UsageError(
            f"port {port} of {HOST} cannot be used ({os.strerror(error.errno or 0)}); name another with --port"
        ) from error
