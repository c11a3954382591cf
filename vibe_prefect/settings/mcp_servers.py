"""MCP servers whose tools plans may name. The operator names servers and tools; a plan cannot reach any other.

For example in `prefect.toml`:

    [integrations.vibe_prefect.mcp.library]
    command = "library-server"
    tools = ["search"]
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from vibe_prefect.settings.tool_groups import KeyPlace, read_key
from vibe_prefect.text.documented import Documented
from vibe_prefect.tools.mcp.endpoint import DEFAULT_SECONDS, McpServer

ServerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
"""Name of a server: a letter, then letters, digits, `_` and `-`."""

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
ServedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class McpServerSettings(Documented):
    """An MCP server: a command or an address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Annotated[str, Field(min_length=1)] | None = None
    """Program that speaks MCP on its standard input and output. It is started for each call and ends with it."""

    args: tuple[str, ...] = ()
    """Its arguments."""

    env: tuple[VariableName, ...] = ()
    """Names of the environment variables that it is given besides `PATH`; it sees no other."""

    secrets: dict[VariableName, KeyPlace] = Field(default_factory=dict[str, str])
    """Further variables that it is given, each with the place of its value: `env:NAME` or `secret:block`."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Address of a server that speaks streamable HTTP, such as `https://mcp.example.org/mcp`."""

    key: KeyPlace | None = None
    """Place of the bearer token for that address: `env:NAME` or `secret:block`."""

    tools: Annotated[tuple[ServedName, ...], Field(min_length=1)]
    """The tools that plans may name, as the server calls them. Plans write `<server>.<tool>`."""

    seconds: Annotated[float, Field(gt=0, le=86_400)] = DEFAULT_SECONDS
    """Seconds that one call may take, the start of the server included."""

    @model_validator(mode="after")
    def _is_a_command_or_an_address(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("expected either `command` or `url`")
        if self.command is None and (self.args or self.env or self.secrets):
            raise ValueError("`args`, `env` and `secrets` belong to a server with a `command`")
        if self.url is None and self.key is not None:
            raise ValueError("`key` belongs to a server with a `url`; one with a `command` has `secrets`")
        return self

    def server(self, name: str) -> McpServer:
        """Return what the tools need.

        Args:
            name: The server's name in the settings.
        """
        return McpServer(
            name,
            self.tools,
            command=(self.command, *self.args) if self.command else (),
            url=self.url,
            env=self.env,
            secrets=tuple(self.secrets.items()),
            key_place=self.key,
            seconds=self.seconds,
            read_key=read_key,
        )
