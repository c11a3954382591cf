"""The package's settings: in Prefect's profiles, `prefect.toml`, `pyproject.toml`, or the environment.

For example `export PREFECT_INTEGRATIONS_VIBE_PREFECT_OUTPUT=/srv/outputs`. The settings of the tools that reach out
are described in `tool_settings`.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import NoDecode
from pydantic_settings import SettingsError as UnreadableError

from vibe_prefect.core.budget import MAX_CONCURRENCY
from vibe_prefect.core.feedback import REPLAN_BELOW
from vibe_prefect.errors import SettingsError
from vibe_prefect.run.run_options import Concurrency, RunOptions, help_of
from vibe_prefect.settings.mcp_servers import McpServerSettings, ServerName
from vibe_prefect.settings.path_list import listed_paths
from vibe_prefect.settings.placements import PlacementSettings
from vibe_prefect.settings.server_minutes import DEFAULT_SERVER_MINUTES, MAX_SERVER_MINUTES
from vibe_prefect.settings.tool_groups import FetchSettings, LLMSettings, LocalSettings, MediaSettings
from vibe_prefect.text.pydantic_errors import finding
from vibe_prefect.tools.secrecy.known import remember, secrets_in_address

_PLAIN = re.compile(r"[+-]?[\d.]{1,12}|[a-z_]{1,8}|")
"""Text that cannot be a secret: a number, or a word that is too short to be one."""

_OPTIONS = RunOptions()
"""The package's own values."""

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
"""Prefix of the names of the environment variables."""


def _paths(value: Any) -> Any:
    return listed_paths(value) if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_paths)]
"""A list of paths."""


class VibePrefectSettings(PrefectBaseSettings):
    """Defaults of every run; parameters of a run override them."""

    model_config = build_settings_config(("integrations", "vibe_prefect"))

    storage: Annotated[
        str | None,
        Field(
            description="Where records are kept: a folder, or a saved Prefect storage block as `<block type>/<name>`. "
            "By default Prefect's own default storage block, else a folder in Prefect's local result storage."
        ),
    ] = None

    kept_file_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="The largest file that is kept beside the record of the node that made it, in bytes, so that "
            "it can be put back. A larger one must lie in the output folder unchanged, or its node runs again.",
        ),
    ] = 1_000_000_000

    output: Annotated[str, Field(description=help_of("output"))] = _OPTIONS.output

    input_root: Annotated[str, Field(description=help_of("input_root"))] = _OPTIONS.input_root

    plan_roots: Annotated[
        Paths,
        Field(
            description="Where plan files lie that deployed runs may name by a path: folders, or single files, with "
            f"{os.pathsep!r} between them."
        ),
    ] = (".",)

    tools: Annotated[
        Paths,
        Field(
            description="Python files with tools, each a function with `@tool`, that plans may name besides those that "
            f"are built in or installed; with {os.pathsep!r} between them. They are executed wherever a plan is "
            "checked or run."
        ),
    ] = ()

    concurrency: Annotated[Concurrency, Field(description=help_of("concurrency", "empty for no limit"))] = (
        _OPTIONS.concurrency
    )

    replan_below: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="The quality, 0 to 1, below which the feedback about a node suggests another plan; "
            "'replan' and 'run --adapt' follow that.",
        ),
    ] = REPLAN_BELOW

    artifacts: Annotated[
        bool, Field(description="Whether each run puts its feedback, summary, progress and pictures into Prefect.")
    ] = True

    events: Annotated[
        bool, Field(description="Whether runs send events about their nodes, which automations can react to.")
    ] = True

    server_minutes: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_SERVER_MINUTES,
            description="Minutes after its last use at which a Prefect server ends that a command has started since "
            "none was there; 0 ends it with the command.",
        ),
    ] = DEFAULT_SERVER_MINUTES

    placements: Annotated[
        dict[str, PlacementSettings],
        Field(
            description="Where nodes may run besides the process of the run, by the names that plans ask for in "
            '`policy.run_on`; as JSON, such as `{"renderers": {"kind": "process", "workers": 4}}`.'
        ),
    ] = Field(default_factory=dict[str, PlacementSettings])

    mcp: Annotated[
        dict[ServerName, McpServerSettings],
        Field(
            description="MCP servers whose tools plans may name as `<server>.<tool>`, by name; as JSON, such as "
            '`{"library": {"command": "library-server", "tools": ["search"]}}`.'
        ),
    ] = Field(default_factory=dict[str, McpServerSettings])

    limits: Annotated[
        dict[Annotated[str, Field(pattern=r"^(tool|tag):.")], Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]],
        Field(
            description="Largest number of a run's nodes at once by tool and by tag, as JSON: "
            '`{"tool:image_generate": 2, "tag:gpu": 1}`.'
        ),
    ] = Field(default_factory=dict[str, int])

    fetch: FetchSettings = Field(default_factory=FetchSettings, description="What may be fetched.")

    media: MediaSettings = Field(default_factory=MediaSettings, description="Who makes images and speech.")

    llm: LLMSettings = Field(default_factory=LLMSettings, description="Which language model runs nodes.")

    local: LocalSettings = Field(default_factory=LocalSettings, description="Which model of this machine is `local`.")

    @property
    def run_options(self) -> RunOptions:
        """The options of a run that are left to the settings."""
        return RunOptions(concurrency=self.concurrency, input_root=self.input_root, output=self.output)


def load_settings() -> VibePrefectSettings:
    """Read the settings of this moment.

    Raises:
        SettingsError: A setting has a value that is not valid.
    """
    try:
        settings = VibePrefectSettings()
    except ValidationError as error:
        section = _section(error)
        raise SettingsError([_problem(section, dict(detail)) for detail in error.errors(include_url=False)]) from None
    except UnreadableError as error:  # text that should be JSON: its message names the field without its section
        field = re.search(r'field "(\w+)"', str(error))
        name = f"the setting {field[1]!r}" if field else "a setting"
        raise SettingsError([f'{name}: expected JSON, as in \'{{"quality": "high"}}\'']) from None
    media, servers = settings.media, settings.mcp.values()
    addresses = (media.images_url, media.speech_url, media.comfyui_url, settings.llm.url)
    for address in (*addresses, *(server.url for server in servers)):
        remember(*secrets_in_address(address or ""))
    return settings


def variable(*path: str) -> str:
    """Return the name of a setting's environment variable."""
    return PREFIX + "_".join(path).upper()


def _section(error: ValidationError) -> list[str]:
    """Return the section that an error is about, if any: a section reads its own variables and raises its own error."""
    fields = VibePrefectSettings.model_fields.items()
    return [name for name, field in fields if getattr(field.annotation, "__name__", None) == error.title]


def _problem(section: list[str], detail: dict[str, Any]) -> str:
    """Describe the problem of a setting; the value of a secret does not show."""
    path = [*section, *(str(part) for part in detail["loc"])]
    may_be_secret = path[-1].endswith("key") or path[-2:-1] == ["secrets"]
    if may_be_secret:  # somebody may have put the key itself there, and messages go to logs
        return f"{variable(*path)}: expected where the key is, env:NAME or secret:block, and never the key itself"
    return f"{variable(*path)}: {finding({**detail, 'input': _harmless(detail['input'])})}"


class _Hidden:
    """A value that is described instead of shown."""

    def __init__(self, text: str) -> None:
        self._size = len(text)

    def __repr__(self) -> str:
        return f"a text of {self._size} characters"


def _harmless(value: object) -> object:
    """Return a value for a message: a number or a short word as it is, any other hidden, since it may be a secret."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _Hidden(value)
    return value if value is None or isinstance(value, bool | int | float) else _Hidden(repr(value))
