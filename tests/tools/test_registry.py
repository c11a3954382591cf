"""The registry: the contract's methods, other people's tools and entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect.core.models import NodePolicy
from vibe_prefect.errors import ToolDefinitionError
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.tools import (
    BaseTool,
    FunctionTool,
    ToolCategory,
    ToolRegistry,
    ToolResult,
    ToolSpec,
    default_registry,
    tool,
)
from vibe_prefect.tools.base import ToolTraits, input_problems
from vibe_prefect.tools.builtin.media_tools import MediaConfig

BUILT_IN = [
    "check_audio",
    "check_image",
    "check_json",
    "check_links",
    "check_text",
    "combine",
    "image_card",
    "read_text",
    "template_fill",
    "write_file",
]


@tool(category=ToolCategory.TEXT)
def beta(text: str, times: int = 1) -> str:
    """Say beta."""
    return text * times


@tool(category=ToolCategory.IMAGE)
def alpha() -> str:
    """Say alpha."""
    return "alpha"


@dataclass
class ForeignSpec:
    """A spec as another library writes it, its category a plain string."""

    name: str = "foreign"
    description: str = "From elsewhere."
    category: str = "text"
    input_schema: dict[str, Any] = field(
        default_factory=lambda: {
            "type": "object",
            "properties": {"prompt": {"type": "string"}},
            "required": ["prompt"],
        }
    )
    output_schema: dict[str, Any] = field(default_factory=dict[str, Any])
    examples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Foreign:
    """A tool with the contract's attributes and a base class of its own."""

    spec: Any = ForeignSpec()

    async def execute(self, inputs: dict[str, Any], context: Any = None) -> Any:
        return inputs["prompt"]


def test_tools_are_found_by_name() -> None:
    registry = ToolRegistry([beta])
    registry.register(alpha)
    assert registry.get("alpha") is alpha
    assert registry.get("gamma") is None
    assert "beta" in registry
    assert "gamma" not in registry
    assert list(registry) == ["alpha", "beta"]
    assert len(registry) == 2


def test_specs_and_tools_are_listed_by_category_sorted_by_name() -> None:
    registry = ToolRegistry([beta, alpha, Foreign()])
    assert [spec.name for spec in registry.list_tools()] == ["alpha", "beta", "foreign"]
    assert [spec.name for spec in registry.list_tools(ToolCategory.TEXT)] == ["beta", "foreign"]
    assert registry.find_by_category(ToolCategory.IMAGE) == [alpha]
    assert registry.find_by_category(ToolCategory.AUDIO) == []


def test_a_later_tool_replaces_one_of_the_same_name() -> None:
    @tool(name="alpha")
    def other() -> str:
        return "other"

    assert ToolRegistry([alpha, other]).get("alpha") is other


def test_a_tool_that_is_registered_for_later_is_loaded_when_it_is_asked_for() -> None:
    loaded: list[str] = []

    def load(name: str) -> FunctionTool:
        loaded.append(name)
        return tool(name=name)(lambda: name)

    registry = ToolRegistry()
    for name in ("b", "a", "c"):
        registry.register_later(name, partial(load, name))
    registry.register(tool(name="c")(lambda: "mine"))
    assert (list(registry), len(registry), "b" in registry) == (["a", "b", "c"], 3, True)
    assert loaded == []
    assert registry.get("b") is registry.get("b")
    assert loaded == ["b"]
    assert [spec.name for spec in registry.list_tools()] == ["a", "b", "c"]
    assert loaded == ["b", "a"]
    registry.register_later("a", partial(load, "a"))
    assert registry.get("a") is not None
    assert loaded == ["b", "a", "a"]


def test_a_tool_that_is_registered_for_later_replaces_the_callers_own_of_the_same_name(tmp_path: Path) -> None:
    registry = ToolRegistry()
    registry.register(alpha, file=tmp_path / "tools.py")
    registry.register_later("alpha", lambda: beta)
    assert (registry.own_tools, registry.files, registry.get("alpha")) == ({}, (), beta)


def test_the_prompt_context_names_tools_and_inputs() -> None:
    assert ToolRegistry([beta, alpha, Foreign()]).to_prompt_context() == (
        "alpha [image]: Say alpha.\n  inputs: none\n\n"
        "beta [text]: Say beta.\n  inputs: text, times (optional)\n\n"
        "foreign [text]: From elsewhere.\n  inputs: prompt"
    )


async def test_a_tool_with_another_base_class_works() -> None:
    found = ToolRegistry([Foreign()]).get("foreign")
    assert found is not None
    assert await found.execute({"prompt": "hi"}) == "hi"
    assert input_problems(found, {"prompt": "hi"}) == []
    assert [problem.path for problem in input_problems(found, {"prompt": 1})] == [("prompt",)]


class NoExecute:
    spec = ForeignSpec()


class NoName(Foreign):
    spec = ForeignSpec(name="")


@pytest.mark.parametrize("thing", [object(), NoExecute(), NoName(), None, "read_text"])
def test_what_is_not_a_tool_is_refused(thing: Any) -> None:
    with pytest.raises(ToolDefinitionError, match="is not a tool: it needs a `spec`"):
        ToolRegistry().register(thing)


def test_the_built_in_tools_are_always_listed() -> None:
    registry = default_registry()
    assert [name for name in registry if name in BUILT_IN] == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_tool_explains_itself(name: str) -> None:
    found = default_registry().get(name)
    assert found is not None
    assert found.spec.description.endswith(".")
    assert found.spec.output_schema["properties"]
    for schema in found.spec.input_schema["properties"].values():
        assert schema["description"]


def install(folder: Path, name: str, entries: str, code: str) -> None:
    """Put a distribution with entry points on disk, as an installer does."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vibe_prefect.tools]\n{entries}\n")


def test_an_installed_package_brings_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from vibe_prefect.tools import tool\n"
        "@tool(name='by_instance')\n"
        "def instance(text: str) -> str:\n    return text\n"
        "class Spec:\n"
        "    name = 'by_class'\n    description = 'x'\n    category = 'text'\n"
        "    input_schema = {}\n    output_schema = {}\n"
        "class ByClass:\n"
        "    spec = Spec()\n"
        "    async def execute(self, inputs, context=None):\n        return inputs\n"
    )
    entries = "one = vibe_good_tools:instance\ntwo = vibe_good_tools:ByClass"
    install(tmp_path, "vibe_good_tools", entries, code)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert {"by_instance", "by_class", *BUILT_IN} <= set(default_registry())


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("vibe_bad_import", "import vibe_nowhere\n", "ModuleNotFoundError: "),
        ("vibe_bad_name", "", "AttributeError: "),
        ("vibe_bad_init", "class it:\n    def __init__(self, x): ...\n", "TypeError: "),
    ],
)
def test_a_broken_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str, reason: str
) -> None:
    install(tmp_path, name, f"mine = {name}:it", code)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ToolDefinitionError) as caught:
        default_registry()
    assert str(caught.value).startswith(f"the tool 'mine' of '{name}' ({name}:it) does not load: {reason}")


def test_an_entry_point_that_is_no_tool_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "vibe_no_tool", "mine = vibe_no_tool:it", "it = 5\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ToolDefinitionError, match="5 is not a tool"):
        default_registry()


def test_the_examples_of_the_built_in_tools_fit_their_inputs() -> None:
    registry = default_registry()
    tools = [tool for name in registry if (tool := registry.get(name)) is not None]
    assert sum(len(tool.spec.examples) for tool in tools) >= 4
    for tool in tools:
        for example in tool.spec.examples:
            assert input_problems(tool, example) == []


class Stated(BaseTool):
    """A tool as a class, which states two traits."""

    version = "3"
    default_policy = NodePolicy(retries=7)

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec("stated", "A class.", ToolCategory.UTILITY, {}, {})

    async def execute(self, inputs: dict[str, Any], context: Any = None) -> ToolResult:
        return ToolResult(True, inputs)


class Misspelt(Stated):
    most_costs = 1


@tool(default_policy=NodePolicy(retries=7))
def by_argument() -> str:
    """Do nothing."""
    return ""


@tool
def by_attribute() -> str:
    """Do nothing."""
    return ""


by_attribute.default_policy = NodePolicy(retries=7)


def test_traits_are_stated_by_class_attributes_decorator_arguments_and_attributes() -> None:
    registry = ToolRegistry([Stated(), by_argument, by_attribute, Foreign()])
    assert all(registry.traits(name).default_policy == NodePolicy(retries=7) for name in registry if name != "foreign")
    assert registry.traits("stated").version == Stated.version == "3"
    assert registry.traits("foreign") == registry.traits("missing") == registry.traits(None) == ToolTraits()


def decorated() -> FunctionTool:
    return tool(name="a", most_costs=1)(lambda: "")


def attributed() -> None:
    by_attribute.most_costs = 1


def registered() -> ToolRegistry:
    return ToolRegistry([Misspelt()])


@pytest.mark.parametrize("state", [decorated, attributed, registered])
def test_a_misspelt_trait_is_refused_with_the_right_names(state: Callable[[], object]) -> None:
    with pytest.raises(
        ToolDefinitionError,
        match=r"no trait is named 'most_costs'; did you mean 'most_cost'\?; .* check_plan, .*most_cost",
    ):
        state()


def test_a_tool_of_another_package_may_have_attributes_that_resemble_traits() -> None:
    foreign = Foreign()
    vars(foreign)["most_costs"] = 1
    assert ToolRegistry([foreign]).traits("foreign") == ToolTraits()


def test_listing_makes_each_tool_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    usual = FunctionTool.__init__

    def noted(self: FunctionTool, function: Any, **options: Any) -> None:
        made.append(options["name"])
        usual(self, function, **options)

    monkeypatch.setattr(FunctionTool, "__init__", noted)
    equipped_registry(media=MediaConfig(voice="of this test")).list_tools()
    assert sorted(made) == sorted(set(made))
    assert {"comfyui_run", "image_generate", "speech_generate"} <= set(made)
