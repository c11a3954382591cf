"""`vibe-prefect config`: the settings, where each comes from, and how to change it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, SecretBytes, SecretStr
from rich.text import Text

from vibe_prefect.cli.display.console import Screen, out, write
from vibe_prefect.cli.display.lines import columns, one_line
from vibe_prefect.cli.exits import ExitCode, warn
from vibe_prefect.cli.process.settings_files import check_settings_files, unknown_settings
from vibe_prefect.tools.secrecy.known import HIDDEN, is_named_like_a_secret, scrubbed, without_logins

DEFAULT = "default"
ENVIRONMENT = "environment"
ELSEWHERE = "profile or file"


@dataclass(frozen=True)
class Setting:
    """A setting with its present value."""

    name: str
    """Its name, with a dot before the field of a group."""

    variable: str
    """The environment variable that sets it."""

    value: Any
    """Its value as JSON data; a secret's is stars."""

    source: str
    """Source of the value."""

    description: str
    """Description of its purpose."""


def config(*, as_json: bool) -> int:
    """Print the settings."""
    check_settings_files()
    from vibe_prefect.settings.package import load_settings

    for unknown in unknown_settings():
        warn(unknown)
    settings = list(settings_of(load_settings()))
    if as_json:
        documents = {setting.name: _as_data(setting) for setting in settings}
        write(json.dumps(documents, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(out(), settings)
    return ExitCode.COMPLETED


def settings_of(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield the settings of a group, those of the groups within it included."""
    from vibe_prefect.settings.package import variable

    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        field_path = (*path, name)
        if isinstance(value, BaseModel):
            yield from settings_of(value, field_path)
            continue
        source = _source(variable(*field_path), value, field.get_default(call_default_factory=True, validated_data={}))
        yield Setting(".".join(field_path), variable(*field_path), _shown(value), source, field.description or "")


def _source(name: str, value: Any, default: Any) -> str:
    if name in os.environ:
        return ENVIRONMENT
    return DEFAULT if value == default else ELSEWHERE


def _shown(value: Any) -> Any:
    """Return a value as JSON data, without what it hides."""
    if isinstance(value, SecretStr | SecretBytes):
        return str(value)
    return _without_secrets(json.loads(_as_json(value)))


def _without_secrets(value: Any) -> Any:
    """Return JSON data without the passwords of its addresses, and without the values that are named like secrets."""
    match value:
        case str():
            return scrubbed(without_logins(value))
        case list():
            return [_without_secrets(item) for item in cast("list[Any]", value)]
        case dict():
            items = cast("dict[str, Any]", value).items()
            return {name: HIDDEN if is_named_like_a_secret(name) else _without_secrets(item) for name, item in items}
        case _:
            return value


def _as_json(value: Any) -> str:
    from pydantic_core import to_json

    return to_json(value, fallback=str).decode()


def _as_data(setting: Setting) -> dict[str, Any]:
    return {
        "value": setting.value,
        "source": setting.source,
        "variable": setting.variable,
        "description": setting.description,
    }


def _print(screen: Screen, settings: list[Setting]) -> None:
    heading = [Text(word, "dim") for word in ("setting", "value", "from")]
    rows = [[Text(row.name, "bold"), Text(_written(row.value), "cyan"), Text(row.source)] for row in settings]
    lines = columns([heading, *rows], screen.limit)
    screen.say(lines[0])
    for setting, line in zip(settings, lines[1:], strict=True):
        screen.say(line)
        screen.console.print(Text(f"    {one_line(setting.description)}", "dim"), soft_wrap=not screen.is_terminal)
        screen.say(f"    {setting.variable}", "dim")
    screen.say()
    screen.say(
        "Set the variable in the environment, or the setting below [integrations.vibe_prefect] in prefect.toml.", "dim"
    )


def _written(value: Any) -> str:
    return "not set" if value is None else one_line(str(value) if isinstance(value, str) else json.dumps(value))
