"""From a plan to what runs: backing, policies, problems, and that the result is a value."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import DATA, ROOT
from tests.plans import node, plan
from vibe_prefect import (
    Backing,
    BaseTool,
    CompiledPlan,
    ExecutionPolicy,
    NodePolicy,
    PlanError,
    PlanLimits,
    Simulate,
    ToolCategory,
    ToolContext,
    ToolRegistry,
    ToolResult,
    ToolSpec,
    Vibe,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
    compile_plan,
    default_registry,
    load_plan,
    tool,
)
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import Position
from vibe_prefect.plan.compiler import MAX_RETRY_DELAY, resolve_policy
from vibe_prefect.templates.texts import LITERAL_BRACES


@tool(version="3")
def shout(text: str) -> dict[str, str]:
    """Say it louder."""
    return {"text": text.upper()}


@tool(version="m1")
def llm_generate(prompt: str) -> dict[str, str]:
    """Stand in for a model."""
    return {"text": prompt}


TOOLS = ToolRegistry([shout])
WITH_MODEL = ToolRegistry([shout, llm_generate])
SHOUT: dict[str, Any] = {"tool": "shout", "tool_inputs": {"text": "hi"}}


def compiled(subject: WorkflowPlan, tools: ToolRegistry = TOOLS, **options: Any) -> CompiledPlan:
    return compile_plan(subject, tools=tools, **options)


def story() -> WorkflowPlan:
    """A plan with hierarchy, a cross-branch dependency, a tool and policies."""
    parts = [node("plot", parameters=SHOUT), node("beats", needs=["plot"], parameters=SHOUT)]
    return plan(
        node("brief", parameters=SHOUT, policy={"retries": 2}),
        node("story", "composite", needs=["brief"], children=parts),
        node("cut", "composite", needs=["story", "plot"], parameters={"frames": [1, 2.5, None]}),
        policy={"variation": "first"},
    )


def problems_of(subject: WorkflowPlan, tools: ToolRegistry = TOOLS, **options: Any) -> list[str]:
    with pytest.raises(PlanError) as caught:
        compiled(subject, tools, **options)
    return [str(problem) for problem in caught.value.problems]


def test_nodes_stand_in_plan_order_with_all_that_running_them_needs() -> None:
    subject = story()
    found = compiled(subject)
    assert list(found.nodes) == ["brief", "story", "plot", "beats", "cut"]
    assert [one.id for one in found.nodes.values()] == list(found.nodes)
    brief, cut = found.nodes["brief"], found.nodes["cut"]
    assert brief.node is subject.root_nodes[0]
    assert (brief.backing, brief.tool, brief.dependencies) == (Backing.TOOL, "shout", ())
    assert (cut.backing, cut.tool, cut.dependencies) == (Backing.COMPOSITE, None, ("story", "plot"))
    assert brief.policy.retries == 2
    assert len({one.key for one in found.nodes.values()}) == 5


def test_a_compiled_plan_names_the_versions_of_its_tools() -> None:
    assert compiled(story(), WITH_MODEL).tools == {"shout": "3"}
    assert compiled(plan(node("a")), WITH_MODEL).tools == {"llm_generate": "m1"}
    assert compiled(plan(node("a", "composite"))).tools == {}


def test_a_compiled_plan_is_frozen() -> None:
    found = compiled(story())
    brief, edge = found.nodes["brief"], found.edges[0]
    values = (found, "plan"), (brief, "key"), (brief.policy, "retries"), (found.graph, "nodes"), (edge, "kind")
    for value, name in values:
        assert hasattr(value, name)
        with pytest.raises(AttributeError):
            setattr(value, name, None)


def test_a_compiled_plan_survives_pickling() -> None:
    found = compiled(story())
    for _ in range(2):  # the second time with what was computed on demand
        again: CompiledPlan = pickle.loads(pickle.dumps(found))  # noqa: S301
        assert again == found
        assert {id: one.key for id, one in again.nodes.items()} == {id: one.key for id, one in found.nodes.items()}
        assert (again.groups, again.edges, again.tools) == (found.groups, found.edges, found.tools)


def test_compiling_twice_gives_equal_plans() -> None:
    assert compiled(story()) == compiled(story())


def test_compiling_changes_nothing_in_the_plan() -> None:
    subject = story()
    before = copy.deepcopy(subject)
    compiled(subject)
    compiled(subject, simulate="all")
    problems_of(plan(*subject.root_nodes, node("bad", parameters={"tool": "shot", "tool_inputs": {"a": "{{ b"}})))
    assert subject == before
    assert subject.model_dump() == before.model_dump()


PURE = """
import sys
from vibe_prefect import PlanError, Vibe, WorkflowNode, WorkflowPlan, compile_plan, load_plan
loaded = load_plan("tests/data/sci-fi-trailer.json")
compiled = compile_plan(loaded.plan, source=loaded.source, simulate="all")
assert len(compiled.nodes) == {count} and compiled.edges
try:
    compile_plan(loaded.plan)
except PlanError as error:
    assert error.problems
heavy = [name for name in ("prefect", "fastapi", "rich", "httpx") if name in sys.modules]
assert not heavy, heavy
"""


def test_loading_and_compiling_import_neither_prefect_nor_anything_heavy() -> None:
    count = len(compiled(load_plan(DATA / "sci-fi-trailer.json").plan, simulate="all").nodes)
    script = PURE.replace("{count}", str(count))
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


BACKING: list[tuple[str, WorkflowNode, ToolRegistry, bool, dict[str, str]]] = [
    # what, the node, the tools, whether its type is handled, and what runs it by mode
    ("a tool", node("a", parameters=SHOUT), TOOLS, False, {"never": "tool", "unbacked": "tool", "all": "simulation"}),
    ("the model", node("a"), WITH_MODEL, False, {"never": "tool", "unbacked": "tool", "all": "simulation"}),
    ("a handler", node("a"), TOOLS, True, {"never": "handler", "unbacked": "handler", "all": "simulation"}),
    (
        "a handler before a tool",
        node("a", parameters=SHOUT),
        TOOLS,
        True,
        {"never": "handler", "unbacked": "handler", "all": "simulation"},
    ),
    (
        "a composite",
        node("a", "composite"),
        TOOLS,
        False,
        {"never": "composite", "unbacked": "simulation", "all": "simulation"},
    ),
    (
        "a composite with a tool",
        node("a", "composite", parameters=SHOUT),
        TOOLS,
        False,
        {"never": "tool", "unbacked": "tool", "all": "simulation"},
    ),
    (
        "a handled composite",
        node("a", "composite"),
        TOOLS,
        True,
        {"never": "handler", "unbacked": "handler", "all": "simulation"},
    ),
    ("nothing", node("a"), TOOLS, False, {"never": "refused", "unbacked": "simulation", "all": "simulation"}),
    (
        "nothing but another type's model",
        node("a", "analyze"),
        WITH_MODEL,
        False,
        {"never": "refused", "unbacked": "simulation", "all": "simulation"},
    ),
]


@pytest.mark.parametrize("mode", list(Simulate))
@pytest.mark.parametrize(
    ("subject", "tools", "handled", "expected"), [row[1:] for row in BACKING], ids=[row[0] for row in BACKING]
)
def test_what_runs_a_node(
    subject: WorkflowNode, tools: ToolRegistry, handled: bool, expected: dict[str, str], mode: Simulate
) -> None:
    options: dict[str, Any] = {"simulate": mode, "handled_types": [subject.type] if handled else []}
    if expected[mode] == "refused":
        (problem,) = problems_of(plan(subject), tools, **options)
        assert problem.startswith("1 node has no tool, no handler and no model to run them: 'a'; ")
    else:
        found = compiled(plan(subject), tools, **options).nodes["a"]
        assert found.backing == expected[mode]
        assert (found.tool is not None) is (found.backing is Backing.TOOL)


@pytest.mark.parametrize("inputs", [True, 3, ["text"], [{"a": 1}], "text", None])
def test_a_node_that_no_tool_runs_may_have_anything_as_tool_inputs(inputs: Any) -> None:
    subject = plan(node("a", parameters={"tool_inputs": inputs}))
    assert compiled(subject, simulate="all").nodes["a"].inputs == {}
    assert compiled(subject, handled_types=["generate"]).nodes["a"].inputs == {}


def test_an_unknown_tool_is_only_forgiven_where_everything_is_simulated() -> None:
    subject = plan(node("a", parameters={"tool": "shot"}))
    for mode in (Simulate.NEVER, Simulate.UNBACKED):
        assert problems_of(subject, simulate=mode) == [
            "node 'a', parameters.tool: unknown tool 'shot'; did you mean 'shout'?"
        ]
    assert compiled(subject, simulate="all").nodes["a"].backing is Backing.SIMULATION


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'sometimes' is not a valid Simulate"):
        compiled(plan(), simulate="sometimes")


FULL: dict[str, Any] = {
    "retries": 1,
    "retry_delay": 5.0,
    "retry_jitter": 0.1,
    "timeout": 60.0,
    "limits": ["type"],
    "tags": ["type"],
}


@pytest.mark.parametrize(
    ("of_type", "of_plan", "of_node", "expected"),
    [
        ({}, {}, {}, ExecutionPolicy(retry_jitter=0.3)),
        (FULL, {}, {}, ExecutionPolicy(1, (5.0,), 0.1, 60.0, ("type",), ("type",))),
        (
            FULL,
            {"retries": 2, "timeout": 30},
            {},
            ExecutionPolicy(2, (5.0, 10.0), 0.1, 30.0, ("type",), ("type",)),
        ),
        (
            FULL,
            {"retries": 2, "tags": ["plan"]},
            {"retry_delay": 1, "tags": ["node"]},
            ExecutionPolicy(2, (1.0, 2.0), 0.1, 60.0, ("type",), ("node",)),
        ),
        (
            FULL,
            {"retries": 3},
            {"retries": 0, "retry_jitter": 0, "limits": [], "tags": []},
            ExecutionPolicy(0, (), 0.0, 60.0, (), ()),
        ),
        ({}, {"timeout": 9}, {"timeout": None}, ExecutionPolicy(retry_jitter=0.3, timeout=9.0)),
        ({}, {}, {"variation": "b"}, ExecutionPolicy(retry_jitter=0.3)),
    ],
)
def test_a_node_overrides_the_plan_and_the_plan_its_type(
    of_type: dict[str, Any], of_plan: dict[str, Any], of_node: dict[str, Any], expected: ExecutionPolicy
) -> None:
    subject = plan(node("a", "composite", policy=of_node), node("b", "composite"), policy=of_plan)
    defaults = {WorkflowNodeType.COMPOSITE: NodePolicy.model_validate(of_type)}
    found = compiled(subject, type_policies=defaults)
    assert found.nodes["a"].policy == expected
    layers = [defaults[WorkflowNodeType.COMPOSITE], NodePolicy.model_validate(of_plan)]
    assert found.nodes["b"].policy == resolve_policy(*layers)


def test_a_types_defaults_hold_for_that_type_alone() -> None:
    subject = plan(node("a", "composite"), node("b", parameters=SHOUT))
    found = compiled(subject, type_policies={WorkflowNodeType.GENERATE: NodePolicy(retries=4)})
    assert {id: one.policy.retries for id, one in found.nodes.items()} == {"a": 0, "b": 4}


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        ({}, ()),
        ({"retries": 0, "retry_delay": 9}, ()),
        ({"retries": 4}, (1, 2, 4, 8)),
        ({"retries": 3, "retry_delay": 0.5}, (0.5, 1, 2)),
        ({"retries": 3, "retry_delay": 2, "retry_backoff": 1}, (2, 2, 2)),
        ({"retries": 3, "retry_delay": 1, "retry_backoff": 1.5}, (1, 1.5, 2.25)),
        ({"retries": 4, "retry_delay": 100, "retry_backoff": 3}, (100, 300, 600, 600)),
        ({"retries": 2, "retry_delay": 5000}, (600, 600)),
        ({"retries": 3, "retry_delay": 0}, (0, 0, 0)),
    ],
)
def test_retry_delays_grow_and_are_capped(policy: dict[str, Any], delays: tuple[float, ...]) -> None:
    assert resolve_policy(NodePolicy.model_validate(policy)).retry_delays == delays


def test_the_longest_delays_stay_finite() -> None:
    delays = resolve_policy(NodePolicy(retries=50, retry_delay=1e308, retry_backoff=10)).retry_delays
    assert delays == (MAX_RETRY_DELAY,) * 50
    delays = resolve_policy(NodePolicy(retries=50, retry_backoff=10)).retry_delays
    assert len(delays) == 50
    assert all(map(math.isfinite, delays))


def test_ten_thousand_nodes_compile() -> None:
    branches = [
        node(
            f"b{branch}",
            "composite",
            needs=[f"b{branch - 1}"] if branch else [],
            children=[
                node(f"b{branch}-k{kid}", parameters=SHOUT, needs=[f"b{branch}-k{kid - 1}"] if kid % 10 else [])
                for kid in range(99)
            ],
        )
        for branch in range(100)
    ]
    found = compiled(plan(*branches))
    assert len(found.nodes) == 10_000
    assert len(found.groups) == 100 * 11
    assert sum(map(len, found.groups)) == 10_000
    assert {kind: sum(edge.kind == kind for edge in found.edges) for kind in ("data", "hierarchy", "order")} == {
        "data": 99 + 100 * 89,
        "hierarchy": 100 * 99,
        "order": 99 * 10,
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lock": object()}, "Unable to serialize unknown type: <class 'object'>"),
        ({"deep": [{"f": len}]}, "Unable to serialize unknown type: <class 'builtin_function_or_method'>"),
    ],
)
@pytest.mark.parametrize("mode", ["never", "all"])
def test_parameters_that_json_cannot_hold_are_a_problem_of_their_node(
    parameters: dict[str, Any], message: str, mode: str
) -> None:
    subject = plan(node("good", "composite"), node("bad", "composite", parameters=parameters))
    assert problems_of(subject, simulate=mode) == [f"node 'bad', parameters: JSON cannot hold this: {message}"]


def test_a_description_that_is_no_text_is_a_problem_too() -> None:
    (problem,) = problems_of(plan(node("a", "composite", description="half \ud800")))
    assert problem == ("node 'a', description: \\ud800 is half a character; write the character itself, or both halves")


def test_what_pydantic_can_say_in_json_is_allowed() -> None:
    parameters: dict[Any, Any] = {
        "path": Path("a/b"),
        "vibe": Vibe(description="d"),
        "big": 2**64 - 1,
        "set": {1},
        2: "two",
    }
    subject = plan(node("a", "composite"))
    subject.root_nodes[0].parameters.update(parameters)
    assert len(compiled(subject).nodes["a"].key) == 64


def test_all_problems_come_in_one_error_in_plan_order() -> None:
    subject = plan(
        node("a", parameters={"tool": "shot"}),
        node("b", parameters={"tool": "shout", "tool_inputs": {"text": 7, "loud": "{{ outputs.a }}"}}),
        node("c", parameters={"tool": "shout", "tool_inputs": ["text"]}),
        node("d", parameters={"tool": ["shout"]}),
        node("e"),
        node("f", "composite", parameters={"x": object()}),
        node("g", "analyze"),
    )
    assert problems_of(subject) == [
        "node 'a', parameters.tool: unknown tool 'shot'; did you mean 'shout'?",
        (
            "node 'b', parameters.tool_inputs.loud: the template names outputs.a, but 'a' is not a dependency of this "
            "node: it has no dependencies"
        ),
        "node 'b', parameters.tool_inputs.text: expected text, found 7; put it in quotes (tool 'shout')",
        "node 'c', parameters.tool_inputs: expected a mapping of inputs, found ['text']",
        "node 'd', parameters.tool: expected a tool's name, found ['shout']",
        "node 'f', parameters: JSON cannot hold this: Unable to serialize unknown type: <class 'object'>",
        (
            "2 nodes have no tool, no handler and no model to run them: 'e', 'g'; "
            "name a tool in parameters.tool, configure a model (set VIBE_PREFECT_MODEL or "
            "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS, such as openai:gpt-5-mini, and the provider's key), or "
            "simulate the run"
        ),
    ]


def test_without_a_file_the_structures_problems_come_first() -> None:
    subject = plan(node("a", parameters={"tool": "shot"}), node("b", "composite", needs=["nope"]))
    assert problems_of(subject) == [
        "node 'b', dependencies[0]: unknown node 'nope'",
        "node 'a', parameters.tool: unknown tool 'shot'; did you mean 'shout'?",
    ]


def test_with_a_file_problems_come_in_the_order_of_its_lines(folder: Path) -> None:
    (folder / "plan.yaml").write_text(
        "id: p\n"
        "source_vibe: {description: d}\n"
        "root_nodes:\n"
        "  - {id: a, type: generate, description: d, parameters: {tool: shot}}\n"
        "  - {id: b, type: analyze, description: d}\n"
        "  - {id: c, type: composite, description: d, dependencies: [nope]}\n"
        "  - {id: c, type: composite, description: d}\n"
    )
    loaded = load_plan("plan.yaml")
    places = [problem.split(": ")[:2] for problem in problems_of(loaded.plan, source=loaded.source)]
    assert places == [
        ["plan.yaml:4:64", "node 'a', parameters.tool"],
        ["plan.yaml:5:5", "1 node has no tool, no handler and no model to run them"],
        ["plan.yaml:6:61", "node 'c', dependencies[0]"],
        ["plan.yaml:7:10", "node 'c', id"],
    ]


def test_the_error_is_named_after_the_file_or_the_plan(folder: Path) -> None:
    text = "id: p\nsource_vibe: {description: d}\nroot_nodes:\n  - {id: a, type: generate, description: d}\n"
    (folder / "plan.yaml").write_text(text)
    loaded = load_plan("plan.yaml")
    with pytest.raises(PlanError) as caught:
        compiled(loaded.plan, source=loaded.source)
    assert caught.value.name == "plan.yaml"
    with pytest.raises(PlanError) as caught:
        compiled(loaded.plan)
    assert caught.value.name == "p"


def test_a_misspelt_filter_is_found_before_the_run() -> None:
    inputs = {"text": "{{ description | uppr }}"}
    assert problems_of(plan(node("a", parameters={"tool": "shout", "tool_inputs": inputs}))) == [
        "node 'a', parameters.tool_inputs.text: No filter named 'uppr', in the template '{{ description | uppr }}'"
        + LITERAL_BRACES
    ]


def test_a_hyphenated_dependency_is_recognised_with_all_its_parts() -> None:
    inputs = {"text": "{{ outputs.release-notes-draft.text }}"}
    subject = plan(
        node("release-notes-draft", "composite"),
        node("a", needs=["release-notes-draft"], parameters={"tool": "shout", "tool_inputs": inputs}),
    )
    assert problems_of(subject) == [
        (
            "node 'a', parameters.tool_inputs.text: the template reads outputs.release-notes-draft as a subtraction; "
            "write outputs['release-notes-draft']"
        )
    ]


def test_an_input_that_a_template_fills_is_not_checked_before_the_run() -> None:
    inputs = {"text": "{{ outputs.b }}"}
    subject = plan(node("b", "composite"), node("a", needs=["b"], parameters={"tool": "shout", "tool_inputs": inputs}))
    assert compiled(subject).nodes["a"].tool == "shout"


def test_many_nodes_that_nothing_runs_are_counted() -> None:
    (problem,) = problems_of(plan(*(node(f"n{index}") for index in range(25))))
    assert problem.startswith("25 nodes have no tool")
    assert "'n19' and 5 more; name a tool" in problem
    assert "'n20'" not in problem


def test_limits_hold_for_the_compiler_too() -> None:
    subject = plan(*(node(f"n{index}", "composite") for index in range(4)))
    assert problems_of(subject, limits=PlanLimits(max_nodes=3)) == ["root_nodes: more than 3 nodes; split the plan"]


def test_an_empty_plan_compiles() -> None:
    found = compiled(plan())
    assert (found.groups, found.edges, dict(found.nodes), found.tools) == ((), (), {}, {})


class Unplaced:
    """A plan file that counts how often it is asked for a place, which costs more than the rest of the check."""

    name = "plan.yaml"

    def __init__(self) -> None:
        self.asked = 0

    def position(self, path: DataPath) -> Position | None:
        self.asked += 1
        return None


def test_places_in_a_plan_file_are_only_looked_up_for_problems() -> None:
    source, tools = Unplaced(), default_registry()
    write = {"tool": "write_file", "tool_inputs": {"path": "a.txt", "content": "x"}}
    compile_plan(
        plan(node("a", parameters=write), node("b", needs=["a"])), tools=tools, source=source, simulate=Simulate.ALL
    )
    compile_plan(plan(node("a", parameters=write)), tools=tools, source=source)
    assert source.asked == 0
    with pytest.raises(PlanError, match="is taken: node 'a' writes"):
        compile_plan(plan(node("a", parameters=write), node("b", parameters=write)), tools=tools, source=source)
    assert source.asked == 2


async def test_a_tool_is_read_once_however_many_nodes_it_runs() -> None:
    class Counting(BaseTool):
        reads = 0

        @property
        def spec(self) -> ToolSpec:
            Counting.reads += 1
            return ToolSpec("count", "Counts", ToolCategory.UTILITY, {}, {})

        async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
            raise NotImplementedError

    def reads_of(nodes: int) -> int:
        Counting.reads = 0
        subject = plan(*(node(f"n{index}", parameters={"tool": "count"}) for index in range(nodes)))
        compile_plan(subject, tools=ToolRegistry([Counting()]))
        return Counting.reads

    few, many = reads_of(2), reads_of(50)
    assert many - few == 48, "one for each node: the check of its inputs"
