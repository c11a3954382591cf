"""Transport to a server over the pipes of its process, which ends with the call.

The SDK's own transport adds variables of its own to the environment, and holds a line of any length in memory.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from subprocess import PIPE

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from vibe_prefect.tools.mcp.endpoint import MAX_MESSAGE

GRACE = 2.0
"""Seconds that a server may take to end after its input was closed, and once more after SIGTERM."""

MAX_STDERR = 2_000
"""Bytes of the end of a server's standard error that are kept for messages."""

PAUSE = 0.01
"""Seconds between two looks whether a process has ended."""

Received = MemoryObjectReceiveStream[SessionMessage | Exception]
Sent = MemoryObjectSendStream[SessionMessage]

logger = logging.getLogger(__name__)


class ServerProcess:
    """The process of a server, for one call."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._stderr = bytearray()
        self._silent, self._noted = False, anyio.Event()
        self.fault: str | None = None
        """Violation of the protocol that ended the call; `None` where there was none."""
        self.ended: int | None = None
        """Exit code of a process that ended by itself, negative for a signal; `None` for one that was ended."""

    @property
    def last_words(self) -> str:
        """The end of what the server wrote to its standard error."""
        return self._stderr.decode(errors="replace").strip()

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[tuple[Received, Sent]]:
        """Start the process, and yield its messages and the way to send some; end it, and all that it started.

        Raises:
            OSError: It cannot be started.
        """
        process = await anyio.open_process(
            [*self._command], env=self._environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        deliver, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        sent, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            try:
                assert process.stdin
                assert process.stdout
                assert process.stderr
                tasks.start_soon(self._read, process.stdout, deliver)
                tasks.start_soon(self._send, outgoing, process.stdin, deliver)
                tasks.start_soon(self._note, process.stderr)
                yield received, sent
            finally:
                with anyio.CancelScope(shield=True):
                    if self._silent:
                        await self._note_end(process)
                    tasks.cancel_scope.cancel()
                    await _end(process)
                    for stream in (deliver, received, sent, outgoing):
                        stream.close()

    async def _read(
        self, output: ByteReceiveStream, deliver: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        """Deliver the messages of a server, a line each, until one is too long or the server is gone."""
        line = bytearray()
        with deliver, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in output:
                line += chunk
                *complete, rest = line.split(b"\n") if b"\n" in chunk else [line]
                if max(map(len, (*complete, rest))) > MAX_MESSAGE:
                    self.fault = f"it sent a message of more than {MAX_MESSAGE:,} bytes"
                    return
                for message in filter(bytes.strip, map(bytes, complete)):
                    await deliver.send(_message(message))
                line = rest
            self._silent = True

    async def _send(
        self,
        outgoing: MemoryObjectReceiveStream[SessionMessage],
        input: ByteSendStream,  # noqa: A002 - the process's own word
        deliver: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        try:
            async for sent in outgoing:
                await input.send(sent.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            deliver.close()  # or the request that could not be sent would be waited for

    async def _note(self, errors: ByteReceiveStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in errors:
                self._stderr += chunk
                del self._stderr[:-MAX_STDERR]
        self._noted.set()

    async def _note_end(self, process: Process) -> None:
        """Note how a process ended that has closed its output, and its last words."""
        if await _has_ended(process):
            self.ended = process.returncode
            with anyio.move_on_after(GRACE):
                await self._noted.wait()


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _end(process: Process) -> None:
    """End a process and its group: by closing its input, by SIGTERM, then by SIGKILL."""
    assert process.stdin
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()
    if not await _has_ended(process):
        _signal_group(process, signal.SIGTERM)
        await _has_ended(process)
    _signal_group(process, signal.SIGKILL)  # also what an ended server has left behind
    if not await _has_ended(process):
        logger.warning("the MCP server with process id %d does not end", process.pid)
        return
    await process.aclose()


async def _has_ended(process: Process) -> bool:
    """Wait for the end of a process; not by `wait`, which also waits for whoever holds its pipes."""
    with anyio.move_on_after(GRACE):
        while process.returncode is None:  # noqa: ASYNC110 - see above
            await anyio.sleep(PAUSE)
    return process.returncode is not None


def _signal_group(process: Process, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
