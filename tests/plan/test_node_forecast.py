from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plans import node, plan
from tests.reference_model import NEVER, Model, choosing_plans, whole_plans
from vibe_prefect import CompiledPlan, Simulate, ToolRegistry, WorkflowNode, WorkflowPlan, compile_plan, tool
from vibe_prefect.plan.node_forecast import Action, CriticalPath, ToolUse, forecast
from vibe_prefect.testing import RecordingTool
from vibe_prefect.tools import FunctionTool

RUN, REUSE, SKIP = Action.RUN, Action.REUSE, Action.SKIP


def simulated(subject: WorkflowPlan) -> CompiledPlan:
    return compile_plan(subject, simulate=Simulate.ALL, tools=ToolRegistry())


def compiled(*nodes: WorkflowNode, **fields: Any) -> CompiledPlan:
    return simulated(plan(*nodes, **fields))


def chain(**changed: Any) -> CompiledPlan:
    """`a` feeds `b`, which feeds `c`; `d` stands alone."""
    return compiled(node("a"), node("b", needs=["a"], **changed), node("c", needs=["b"]), node("d"))


def twenty(changed: str | None = None) -> CompiledPlan:
    """Four chains of five nodes; the third node of each chain also feeds the next chain's end."""
    nodes: list[WorkflowNode] = []
    for index in range(20):
        row, step = divmod(index, 5)
        needs = [f"n{row}-{step - 1}"] if step else []
        needs += [f"n{row - 1}-2"] if step == 4 and row else []
        id = f"n{row}-{step}"
        nodes.append(node(id, needs=needs, parameters={"text": "edited" if id == changed else ""}))
    return compiled(*nodes)


def same_keys(earlier: CompiledPlan, later: CompiledPlan) -> set[str]:
    return {id for id in later.nodes if id in earlier.nodes and earlier.nodes[id].key == later.nodes[id].key}


def outlook_of(subject: CompiledPlan, *args: Any, **options: Any) -> dict[str, tuple[Action, str]]:
    found = forecast(subject, *args, **options)
    assert list(found.nodes) == list(subject.nodes)
    return {id: (node.action, node.reason) for id, node in found.nodes.items()}


def test_a_new_run_runs_everything() -> None:
    assert set(outlook_of(chain()).values()) == {(RUN, "no record")}


def test_an_edited_node_runs_with_what_depends_on_it() -> None:
    earlier, later = chain(), chain(parameters={"tool_inputs": {"text": "x"}}, estimated_duration=3)
    assert outlook_of(later, same_keys(earlier, later), earlier=earlier, run="calm-otter") == {
        "a": (REUSE, "record from calm-otter"),
        "b": (RUN, "changed: parameters.tool_inputs"),
        "c": (RUN, "depends on b, which runs"),
        "d": (REUSE, "record from calm-otter"),
    }


def test_a_middle_node_of_twenty() -> None:
    earlier, later = twenty(), twenty(changed="n1-2")
    found = forecast(later, same_keys(earlier, later), earlier=earlier)
    assert found.ids(RUN) == ("n1-2", "n1-3", "n1-4", "n2-4")
    assert (found.count(RUN), found.count(REUSE), found.count(SKIP)) == (4, 16, 0)


def test_what_had_not_finished_runs_though_nothing_changed() -> None:
    assert outlook_of(chain(), {"a", "d"}, earlier=chain())["c"] == (RUN, "no record")


def test_a_new_node_is_told_from_one_without_a_record() -> None:
    later = compiled(node("a"), node("e", needs=["a"]))
    assert outlook_of(later, {"a"}, earlier=chain())["e"] == (RUN, "new in the plan")


def test_a_changed_dependency_whose_record_is_there_is_not_said_to_run() -> None:
    earlier, later = chain(), chain(description="as before the last edit")
    kept = {"a", "b", "d"}
    assert outlook_of(later, kept, earlier=earlier)["c"] == (RUN, "depends on b, which changed")


SELECTIONS: list[tuple[set[str], set[str], dict[str, tuple[Action, str]]]] = [
    (
        {"a"},
        set(),
        {
            "a": (RUN, "no record"),
            "b": (SKIP, "not selected"),
            "c": (SKIP, "needs b, which is skipped"),
            "d": (SKIP, "not selected"),
        },
    ),
    (
        {"c"},
        {"a", "b"},
        {
            "a": (REUSE, "has a record"),
            "b": (REUSE, "has a record"),
            "c": (RUN, "no record"),
            "d": (SKIP, "not selected"),
        },
    ),
    (
        {"b", "c", "d"},
        {"b"},
        {
            "a": (SKIP, "not selected"),
            "b": (SKIP, "needs a, which is skipped"),
            "c": (SKIP, "needs b, which is skipped"),
            "d": (RUN, "no record"),
        },
    ),
]


@pytest.mark.parametrize(("selected", "kept", "expected"), SELECTIONS)
def test_what_is_not_selected_runs_not(
    selected: set[str], kept: set[str], expected: dict[str, tuple[Action, str]]
) -> None:
    assert outlook_of(chain(), kept, selected=frozenset(selected)) == expected


def test_a_dependency_is_needed_with_all_below_it() -> None:
    scene = node("scene", "composite", children=[node("x", children=[node("y")]), node("z")])
    subject = compiled(scene, node("cut", needs=["scene"]), node("inner", needs=["x"]))
    selected = frozenset(subject.nodes) - {"y"}
    found = outlook_of(subject, selected=selected)
    assert found["y"] == (SKIP, "not selected")
    assert found["cut"] == found["inner"] == (SKIP, "needs y, which is skipped")
    assert {found[id][0] for id in ("scene", "x", "z")} == {RUN}


def test_a_refreshed_node_runs_though_it_is_kept_but_not_when_it_is_not_selected() -> None:
    kept, refreshed = {"a", "b", "c", "d"}, frozenset({"b", "d"})
    found = outlook_of(chain(), kept, refreshed=refreshed, selected=frozenset({"b"}))
    assert found["b"] == (RUN, "refreshed")
    assert {found[id] for id in ("a", "c", "d")} == {(REUSE, "has a record")}


def branches() -> CompiledPlan:
    """Two ways from `start` to `end`: the shorter one has more nodes."""
    return compiled(
        node("start", estimated_duration=1),
        node("long", needs=["start"], estimated_duration=10),
        node("p", needs=["start"], estimated_duration=2),
        node("q", needs=["p"]),
        node("end", needs=["long", "q"], estimated_duration=1),
    )


PATHS: list[tuple[Callable[[], CompiledPlan], set[str], CriticalPath]] = [
    (branches, set(), CriticalPath(("start", "long", "end"), 12.0, 0)),
    (branches, {"long"}, CriticalPath(("start", "p", "q", "end"), 4.0, 1)),
    (branches, {"start", "long", "p", "q", "end"}, CriticalPath((), 0.0, 0)),
    (compiled, set(), CriticalPath((), 0.0, 0)),
    (chain, set(), CriticalPath(("a", "b", "c"), 0.0, 3)),
    (
        partial(
            compiled,
            node("s", "composite", children=[node("x", estimated_duration=5)]),
            node("after", needs=["s"], estimated_duration=1),
        ),
        set(),
        CriticalPath(("s", "x", "after"), 6.0, 1),
    ),
]


@pytest.mark.parametrize(("subject", "kept", "expected"), PATHS)
def test_the_critical_path_leads_over_nodes_that_run(
    subject: Callable[[], CompiledPlan], kept: set[str], expected: CriticalPath
) -> None:
    assert forecast(subject(), kept).critical_path == expected


def test_nodes_without_an_estimate_are_counted() -> None:
    found = forecast(branches(), {"long"})
    assert (found.seconds, found.unestimated) == (4.0, 1)
    assert (forecast(branches()).seconds, forecast(branches()).unestimated) == (14.0, 1)


def test_the_tools_of_the_nodes_that_run_are_named_with_their_versions() -> None:
    @tool(version="7")
    def shout(text: str) -> str:
        return text.upper()

    @tool(version="2")
    def whisper(text: str) -> str:
        return text.lower()

    tools = ToolRegistry()
    for made in (shout, whisper):
        assert isinstance(made, FunctionTool)
        tools.register(made)
    works = {"a": "shout", "b": "shout", "c": "whisper"}
    nodes = [node(id, parameters={"tool": name, "tool_inputs": {"text": id}}) for id, name in works.items()]
    subject = compile_plan(plan(*nodes, node("d", "composite")), tools=tools)
    assert forecast(subject).tools == (ToolUse("shout", "7", 2), ToolUse("whisper", "2", 1))
    assert forecast(subject, {"b", "c"}).tools == (ToolUse("shout", "7", 1),)


@settings(max_examples=300, deadline=None)
@given(whole_plans(), st.data())
def test_what_runs_is_exactly_what_has_no_record(subject: WorkflowPlan, data: st.DataObject) -> None:
    earlier = simulated(subject)
    edited = subject.model_copy(deep=True)
    for member in Model(edited).nodes.values():
        member.description += data.draw(st.sampled_from(["", "", ", edited"]))
    later = simulated(edited)
    records = {(id, earlier.nodes[id].key) for id in data.draw(st.sets(st.sampled_from(list(earlier.nodes))))}
    kept = {id for id, made in later.nodes.items() if (id, made.key) in records}
    found = forecast(later, kept, earlier=earlier, run="r")
    assert set(found.ids(RUN)) == later.nodes.keys() - kept
    assert set(found.ids(REUSE)) == kept
    assert len(found.critical_path.ids) <= found.count(RUN)


@settings(max_examples=300, deadline=None)
@given(whole_plans(), st.data())
def test_a_selection_skips_as_the_engine_does(subject: WorkflowPlan, data: st.DataObject) -> None:
    made = simulated(subject)
    ids = st.sets(st.sampled_from(list(made.nodes)))
    selected, kept = frozenset(data.draw(ids)), data.draw(ids)
    model = Model(subject)
    skipped = set(made.nodes) - selected - kept
    for id in (id for group in made.groups for id in group):
        if model.needs(id) & skipped:
            skipped.add(id)
    found = forecast(made, kept, selected=selected)
    assert set(found.ids(SKIP)) == skipped
    assert set(found.ids(REUSE)) == kept - skipped


@settings(max_examples=200, deadline=None)
@given(whole_plans(), st.data())
def test_the_critical_path_is_the_longest_wait(subject: WorkflowPlan, data: st.DataObject) -> None:
    model = Model(subject)
    for member in model.nodes.values():
        member.estimated_duration = float(data.draw(st.integers(0, 5)))
    made = simulated(subject)
    ends: dict[str, float] = {}
    for id in (id for group in made.groups for id in group):
        begins = max((ends[need] for need in model.needs(id)), default=0.0)
        ends[id] = begins + (made.nodes[id].node.estimated_duration or 0.0)
    found = forecast(made).critical_path
    assert found.seconds == max(ends.values())
    assert found.seconds == sum(made.nodes[id].node.estimated_duration or 0.0 for id in found.ids)


@settings(max_examples=200, deadline=None)
@given(choosing_plans())
def test_conditions_that_are_known_skip_as_the_engine_does(subject: WorkflowPlan) -> None:
    model = Model(subject)
    for member in model.nodes.values():
        member.when = NEVER if member.when == NEVER else None
    found = forecast(simulated(subject), conditions=dict.fromkeys(model.nodes, False))
    assert set(found.ids(SKIP)) == model.ends(set())[1]


def test_a_condition_that_hangs_on_what_runs_may_skip_its_node_and_what_needs_it() -> None:
    late = "{{ outputs.a.text == 'x' }}"
    subject = plan(
        node("a"),
        node("b", needs=["a"], when=late, children=[node("b1")]),
        node("c", needs=["b"]),
        node("d", optional_dependencies=["b"]),
        node("e", when="{{ 1 > 2 }}"),
    )
    for member in Model(subject).nodes.values():
        member.parameters = {"tool": "made"}
    tools = ToolRegistry()
    tools.register(RecordingTool("made", {"text": "x"}))
    made = compile_plan(subject, tools=tools)
    assert outlook_of(made, conditions={"e": False}) == {
        "a": (RUN, "no record"),
        "b": (RUN, f"no record; may be skipped: {late}"),
        "b1": (RUN, "no record; may be skipped with b"),
        "c": (RUN, "no record; may be skipped with b"),
        "d": (RUN, "no record"),
        "e": (SKIP, "condition not met: {{ 1 > 2 }}"),
    }
    known = outlook_of(made, {"a", "c"}, conditions={"b": False, "e": True}, run="r")
    assert known == {
        "a": (REUSE, "record from r"),
        "b": (SKIP, f"condition not met: {late}"),
        "b1": (SKIP, "needs b, which is skipped"),
        "c": (SKIP, "needs b, which is skipped"),
        "d": (RUN, "no record"),
        "e": (RUN, "no record"),
    }
