"""Checks of settings files: those that cannot be read, and unknown settings of this package."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from vibe_prefect.cli.home import prefect_home
from vibe_prefect.errors import UsageError, did_you_mean
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.registry import SHORT_VARIABLE, TOOLS_VARIABLE

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
"""Prefix of the names of the environment variables."""

SERVER_MINUTES_VARIABLE = f"{PREFIX}SERVER_MINUTES"
"""Variable of the setting `server_minutes`, which is needed before Prefect is imported."""

TABLE = ("integrations", "vibe_prefect")
"""The table of our settings in `prefect.toml`; in `pyproject.toml` it is below `tool.prefect`."""

OTHER_VARIABLES = ("VIBE_PREFECT_DEBUG", "VIBE_PREFECT_MODEL")
"""Environment variables of ours that are not settings of Prefect."""

MAX_FILE_BYTES = 10_000_000
"""Bytes that are read of a settings file."""

_OURS = re.compile(r"(PREFECT_)?(INTEGRATIONS?_)?VIBE_?PREFECT_", re.IGNORECASE)
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?(\w+)\s*=", re.MULTILINE)


def settings_files() -> list[Path]:
    """Return the files from which Prefect reads settings; importing it to ask takes seconds."""
    home = prefect_home()
    profiles_path = os.environ.get("PREFECT_PROFILES_PATH")
    profiles = Path(profiles_path) if profiles_path else home / "profiles.toml" if home else None
    files = [Path(name) for name in ("prefect.toml", "pyproject.toml", ".env")]
    return files if profiles is None else [profiles, *files]


def may_set_prefect(path: Path) -> bool:
    """Return whether a file may hold settings of Prefect."""
    text = _content(path)
    return "PREFECT_" in text or "[tool.prefect" in text or (bool(text) and path.name == "prefect.toml")


def may_set_ours() -> bool:
    """Return whether a setting of ours may be set that Prefect has to be imported for.

    Raises:
        UsageError: A setting may be set, and a file of settings cannot be read.
    """
    names = os.environ.keys() - {SERVER_MINUTES_VARIABLE, TOOLS_VARIABLE}  # which are read without Prefect
    may_be_set = any(name.startswith((PREFIX, SHORT_VARIABLE)) for name in names) or any(
        TABLE[-1] in _content(path).lower() for path in settings_files() if may_set_prefect(path)
    )
    if may_be_set:
        check_settings_files()
    return may_be_set


def _content(path: Path) -> str:
    try:
        return read_regular(path, MAX_FILE_BYTES).decode(errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True)
class _File:
    """A settings file that could be read."""

    path: Path
    text: str
    data: Mapping[str, Any]
    """Its content where it is TOML."""


def check_settings_files() -> None:
    """Refuse settings files that cannot be read: Prefect passes over some of them, and does not name others.

    Raises:
        UsageError: A file is not text, or not valid TOML. Its content is not quoted: it may be a secret.
    """
    for _ in _files():
        pass


def unknown_settings() -> list[str]:
    """Return a sentence for each unknown setting of this package, with the setting that may have been meant."""
    from vibe_prefect.settings.package import VibePrefectSettings

    names = dict(_names(VibePrefectSettings, ()))
    variables = [*names.values(), *OTHER_VARIABLES]
    sentences = [_unknown_variable(name, "the environment", variables) for name in os.environ]
    for file in _files():
        if file.path.name == ".env":
            sentences += [_unknown_variable(name, str(file.path), variables) for name in _ASSIGNED.findall(file.text)]
        elif file.path.name in ("prefect.toml", "pyproject.toml"):
            header = TABLE if file.path.name == "prefect.toml" else ("tool", "prefect", *TABLE)
            sentences += _unknown_in_table(file, header, list(names))
        else:
            active = os.environ.get("PREFECT_PROFILE") or file.data.get("active")
            profile = _table(_table(file.data, "profiles"), str(active))
            sentences += [_unknown_variable(name, f"{file.path}, profile {active}", variables) for name in profile]
    return [sentence for sentence in sentences if sentence is not None]


def _files() -> Iterator[_File]:
    for path in settings_files():
        try:
            text = read_regular(path, MAX_FILE_BYTES).decode("utf-8-sig")
            yield _File(path, text, _toml(path, text) if path.suffix == ".toml" else {})
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UsageError(f"the settings file {str(path)!r} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            message = f"the settings file {str(path)!r} is not text in UTF-8, from byte {error.start} on"
            raise UsageError(message) from None


def _toml(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # most commands find no such file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        location = re.search(r"\(at [^)]*\)$", str(error))
        where = f" {location[0]}" if location else ""
        raise UsageError(f"the settings file {str(path)!r} is not valid TOML{where}; mend or remove it") from None


def _names(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each setting and each group of them: its name below our table, and its environment variable."""
    from vibe_prefect.settings.package import variable

    for name, field in model.model_fields.items():
        field_path = (*path, name)
        yield ".".join(field_path), variable(*field_path)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, field_path)


def _unknown_variable(name: str, source: str, variables: list[str]) -> str | None:
    """Describe the fault in the name of a variable; a name that only resembles ours may be of another program."""
    match = _OURS.match(name)
    if match is None or name.upper() in variables:
        return None
    suffix = name[match.end() :].upper()
    if match[0].upper() != PREFIX:
        return (
            f"{name} in {source} is not a setting; did you mean {PREFIX + suffix!r}?"
            if PREFIX + suffix in variables
            else None
        )
    from difflib import get_close_matches

    close = get_close_matches(suffix, [other.removeprefix(PREFIX) for other in variables], n=1)
    hint = f"; did you mean {PREFIX + close[0]!r}?" if close else "; 'vibe-prefect config' lists what there is"
    return f"{name} in {source} is not a setting{hint}"


def _unknown_in_table(file: _File, header: tuple[str, ...], names: list[str]) -> Iterator[str]:
    *outer, last = header
    parent: Mapping[str, Any] = file.data
    for part in outer:
        parent = _table(parent, part)
    for name in parent:
        if name != last and did_you_mean(name, [last]):
            yield f"[{'.'.join((*outer, name))}] in {file.path} is not a table of settings{did_you_mean(name, [last])}"
    for name in _keys(_table(parent, last), ()):
        if not any(name == other or (name.startswith(f"{other}.") and _is_leaf(other, names)) for other in names):
            yield f"{name} in {file.path} is not a setting{did_you_mean(name, names)}"


def _is_leaf(name: str, names: list[str]) -> bool:
    return not any(other.startswith(f"{name}.") for other in names)


def _keys(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _keys(cast("Mapping[str, Any]", value), (*path, name))
        else:
            yield ".".join((*path, name))


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name)
    return cast("Mapping[str, Any]", table) if isinstance(table, Mapping) else {}
