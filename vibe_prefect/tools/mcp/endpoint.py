"""An MCP server as the operator names it; `client`, which speaks to it, is imported when it is spoken to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from vibe_prefect.errors import ToolError
from vibe_prefect.tools.secrecy.key_sources import KeySource, named_source, obtained
from vibe_prefect.tools.secrecy.known import remember, secrets_in_address

SETTING = "PREFECT_INTEGRATIONS_VIBE_PREFECT_MCP"
"""Environment variable of the setting that names servers."""

MISSING = None if find_spec("mcp") is not None else "pip install 'vibe-prefect[mcp]'"
"""The command that installs the library; `None` when it is there."""

DEFAULT_SECONDS = 120.0
"""Seconds of one call, the start of the server included, unless the operator sets another limit."""

MAX_MESSAGE = 50_000_000
"""The largest message of a server, in bytes: a longer answer ends the call."""


def _no_reader(place: str) -> str | None:
    raise ToolError(f"nothing reads keys here, so {place} cannot be read", retryable=False)


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server, as the operator names it: a command that starts it, or an address. Two with the same fields are one."""

    name: str
    """Name in front of its tools: `files` makes `files.read`."""

    tools: tuple[str, ...]
    """The tools that plans may name, as the server calls them. No other is reachable."""

    command: tuple[str, ...] = ()
    """Program and arguments, for a server on its standard input and output; empty for one with an address."""

    url: str | None = None
    """Address of a server that speaks streamable HTTP."""

    env: tuple[str, ...] = ()
    """Names of the environment variables that the command is given besides `PATH`."""

    secrets: tuple[tuple[str, str], ...] = ()
    """Further variables of the command, each with the place of its value, `env:NAME` or `secret:block`."""

    key_place: str | None = None
    """Place of the bearer token for the address; `None` where it asks for none."""

    seconds: float = DEFAULT_SECONDS
    """Time limit of one call in seconds, the start of the server included."""

    read_key: Callable[[str], str | None] = field(default=_no_reader, compare=False)
    """Reads a key from its place; it may take time."""

    def tool_name(self, tool: str) -> str:
        """Return the name by which plans name a tool of the server."""
        return f"{self.name}.{tool}"

    @property
    def key_sources(self) -> tuple[KeySource, ...]:
        """Places of all keys that it needs."""
        places = [place for _, place in self.secrets] + ([self.key_place] if self.key_place else [])
        return tuple(source for place in places for source in named_source(place, SETTING))

    def environment(self) -> Mapping[str, str]:
        """Return the variables that the command is given, secrets included, which are hidden from now on.

        Raises:
            ToolError: A secret is not there.
        """
        plain = {name: os.environ[name] for name in ("PATH", *self.env) if name in os.environ}
        return {**plain, **{name: self._key(place) or "" for name, place in self.secrets}}

    def headers(self) -> dict[str, str]:
        """Return the headers of requests to the address; its token is hidden from now on.

        Raises:
            ToolError: The token is not there.
        """
        remember(*secrets_in_address(self.url or ""))
        return {"Authorization": f"Bearer {self._key(self.key_place)}"} if self.key_place else {}

    def _key(self, place: str) -> str | None:
        return obtained(lambda: self.read_key(place))
