"""The commands around the model of this machine, and their help. What they need is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from vibe_prefect.cli.help_groups import DEPLOY, examples

_GGUF = "The GGUF file of the model; by default that of the setting `local.gguf`."
_PORT = "Port to listen at; 0 for a free one."
_THREADS = "Threads to compute with; by default as the settings say, else half of the processors."
_CONTEXT = "Tokens that the model can have before it, its answer included; by default as the settings say."


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    model = App(name="model", group=DEPLOY, help="Language models of this machine.", help_format="plaintext")
    model.command(
        serve,
        help_epilogue=examples(
            "model serve --gguf model.gguf", "model serve --gguf model.gguf --port 8081 --threads 4"
        ),
    )
    app.command(model)


def serve(
    *,
    gguf: Annotated[Path | None, Parameter(help=_GGUF)] = None,
    port: Annotated[int, Parameter(help=_PORT, validator=Number(gte=0, lte=65535))] = 8080,
    threads: Annotated[int | None, Parameter(help=_THREADS, validator=Number(gte=1, lte=1_024))] = None,
    context: Annotated[int | None, Parameter(help=_CONTEXT, validator=Number(gte=1_024))] = None,
) -> int:
    """Serve a model of this machine: OpenAI's protocol on the loopback address, until Ctrl-C.

    Runs need no such server: the model `local` starts and ends by itself. This one is for other programs.
    """
    from vibe_prefect.cli.commands.serve_model import serve_model

    return serve_model(gguf, port, threads, context)
