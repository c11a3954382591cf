"""The options `--set`, `--set-file` and `--inputs`: values of a plan's inputs, as text and files give them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from vibe_prefect.errors import PlanError, UsageError, shorten

if TYPE_CHECKING:
    from vibe_prefect.core.models import WorkflowPlan

_SET = "Value of an input that the plan declares, as NAME=VALUE, read by its type; may be given several times."
_SET_FILE = "Value of an input that stands in a file, as NAME=PATH; may be given several times."
_INPUTS = "A YAML or JSON file with values of inputs, by name; --set and --set-file come before it."

SetOption = Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False, help=_SET)]
SetFileOption = Annotated[
    tuple[str, ...], Parameter(name="--set-file", negative="", show_default=False, help=_SET_FILE)
]
InputsOption = Annotated[Path | None, Parameter(name="--inputs", help=_INPUTS)]


@dataclass(frozen=True)
class InputArguments:
    """Values of inputs, as the user states them."""

    texts: tuple[str, ...] = ()
    """`NAME=VALUE` each."""

    files: tuple[str, ...] = ()
    """`NAME=PATH` each."""

    document: Path | None = None
    """A YAML or JSON file with values by name."""

    def __bool__(self) -> bool:
        return bool(self.texts or self.files or self.document)

    def of(self, plan: WorkflowPlan) -> dict[str, Any]:
        """Return the values for a plan; see `values`."""
        return self.values(plan.inputs)

    def values(self, declared: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the values by name; they are not checked.

        Args:
            declared: The inputs that the plan declares, each with its JSON Schema.

        Raises:
            UsageError: An option is not written as it must be, a name is given twice, or a file cannot be read.
        """
        texts = [*_pairs("--set", self.texts), *_file_pairs(self.files)]
        names = [name for name, _ in texts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"the input {twice[0]!r} is given twice; give it once, in --set or in --set-file")
        stated = {name: value_of(text, declared.get(name, {})) for name, text in texts}
        return (_document(self.document) if self.document else {}) | stated


def value_of(text: str, schema: Mapping[str, Any]) -> Any:
    """Read a text as a value of a JSON Schema's type; a text that cannot be one is returned as it is.

    Args:
        text: The text. Of an array it is JSON, or the items with commas between them.
        schema: The JSON Schema.
    """
    kinds = _kinds(schema)
    if "string" in kinds:
        return text
    if kinds == {"array"} and not text.lstrip().startswith("["):
        items: object = schema.get("items")
        below: Mapping[str, Any] = cast("Mapping[str, Any]", items) if isinstance(items, Mapping) else dict[str, Any]()
        return [value_of(part.strip(), below) for part in text.split(",")] if text.strip() else []
    try:
        return json.loads(text)
    except ValueError:
        return text


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Return the types that a schema allows, as far as it states them."""
    stated: object = schema.get("type")
    if stated is not None:
        return {str(kind) for kind in cast("list[object]", stated if isinstance(stated, list) else [stated])}
    choices: object = schema.get("enum")
    is_text = isinstance(choices, list) and all(isinstance(choice, str) for choice in cast("list[object]", choices))
    return {"string"} if is_text else set()


def _pairs(option: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"{option} {shorten(text)}: expected NAME=VALUE, as in {option} product=Tea")
        pairs.append((name.strip(), value))
    return pairs


def _file_pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, _text("--set-file", path)) for name, path in _pairs("--set-file", texts)]


def _text(option: str, path: str) -> str:
    from vibe_prefect.plan.reading.plan_text import read_text

    try:
        return read_text(Path(path), path)
    except PlanError as error:
        raise UsageError(f"{option} {path}: {error.problems[0].message}") from None


def _document(path: Path) -> dict[str, Any]:
    from vibe_prefect.plan.reading.plan_text import read_source

    text = _text("--inputs", str(path))
    try:
        source = read_source(str(path), text)
    except PlanError as error:
        raise UsageError(f"--inputs {error.problems[0]}") from None
    for fault in source.faults:
        raise UsageError(f"--inputs {source.position_of(fault)}: {fault.message}")
    if source.data is None and not text.strip():
        return {}
    data = cast("object", source.data)
    if not isinstance(data, dict):
        raise UsageError(f"--inputs {path}: expected a mapping of inputs by name, found {shorten(data)}")
    return cast("dict[str, Any]", data)
