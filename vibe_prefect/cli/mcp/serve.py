"""`vibe-prefect mcp`: serve assistants on standard input and output, or on a port of this machine."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vibe_prefect.cli.commands.run import check_folders, find_server
from vibe_prefect.cli.display.console import err
from vibe_prefect.cli.exits import ExitCode, StartError
from vibe_prefect.cli.mcp.limits import Limits
from vibe_prefect.cli.process.interrupt import InterruptedRunError, Interruptible
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.core.user_code import DaemonExecutor
from vibe_prefect.errors import UsageError
from vibe_prefect.run.run_options import RunOptions

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server as ProtocolServer

HOST = "127.0.0.1"


def serve(limits: Limits, port: int | None) -> int:
    """Serve assistants until they have gone, or a signal comes.

    Args:
        limits: Limits of the operator.
        port: Port on this machine; `None` for standard input and output.

    Returns:
        The exit code.

    Raises:
        UsageError: The library for it is missing, or a folder of the limits cannot be what it is.
    """
    if find_spec("mcp") is None:
        raise UsageError("serving assistants needs a library that is not installed: pip install 'vibe-prefect[mcp]'")
    check_folders(RunOptions(input_root=limits.input_root, output=limits.output))
    with redirect_stdout(sys.stderr):  # standard output is the protocol's; files of tools may print at import
        tools = command_registry()
        server = find_server(err(), quiet=False)
    from vibe_prefect.cli.mcp.protocol import protocol_server
    from vibe_prefect.cli.mcp.service import Service

    interruptible = Interruptible(lambda _: None, server.kill)
    protocol = protocol_server(Service(limits, tools, server, interruptible.listen))
    try:
        asyncio.run(_serve(protocol, interruptible, port))
    except InterruptedRunError as interrupted:
        return interrupted.exit_code
    return ExitCode.COMPLETED


async def _serve(protocol: ProtocolServer[Any], interruptible: Interruptible, port: int | None) -> None:
    asyncio.get_running_loop().set_default_executor(DaemonExecutor())
    await interruptible.run(_on_pipes(protocol) if port is None else _on_port(protocol, port))


async def _on_pipes(protocol: ProtocolServer[Any]) -> None:
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (requests, answers):
        with redirect_stdout(sys.stderr):
            await protocol.run(requests, answers, protocol.create_initialization_options())


async def _on_port(protocol: ProtocolServer[Any], port: int) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None]:
            yield  # the command's own handlers stop it

    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise StartError(f"--http {port}: {error.strerror or error}; name another port") from error
    app = protocol.streamable_http_app(host=HOST)
    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    err().say(f"serving assistants at http://{HOST}:{port}/mcp")
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await asyncio.wait([serving])
        raise
