"""Plans with all that decides about nodes within a list, against the rules as plainly as they can be written."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plans import node, plan
from tests.reference_model import COMPLETED, FAILED, Model, choosing_plans
from vibe_prefect import ExecutionStatus, ToolRegistry, WorkflowPlan, tool
from vibe_prefect.errors import ToolError
from vibe_prefect.testing import run_offline


def listed(subject: WorkflowPlan, outer: int, items: int) -> WorkflowPlan:
    """The nodes of a plan for each item of a list in a list; a node whose id is among the failing ones fails."""
    for member in Model(subject).nodes.values():
        member.parameters = {"tool": "obey", "tool_inputs": {"id": "{{ node_id }}"}}
    each: dict[str, Any] = {"for_each": f"{{{{ range({items}) | list }}}}", "as": "one", "key": "i{{ one }}"}
    inner = node("in", "composite", children=[member.model_dump() for member in subject.root_nodes], **each)
    each = {"for_each": f"{{{{ range({outer}) | list }}}}", "as": "all", "key": "o{{ all }}"}
    return plan(node("out", "composite", children=[inner.model_dump()], **each))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_conditions_and_fallbacks_within_lists_end_as_the_model_says(data: st.DataObject) -> None:
    written, outer, items = (
        data.draw(choosing_plans(max_nodes=6)),
        data.draw(st.integers(0, 2)),
        data.draw(st.integers(0, 2)),
    )
    model = Model(written.model_copy(deep=True))
    prefixes = [f"out.o{first}.in.i{second}." for first in range(outer) for second in range(items)]
    everything = [f"{prefix}{id}" for prefix in prefixes for id in model.nodes]
    failing = data.draw(st.sets(st.sampled_from(everything), max_size=3)) if everything else set[str]()

    @tool(version="1")
    def obey(id: str) -> str:
        """Fail where that is asked for."""
        if id in failing:
            raise ToolError(f"{id} was told to fail")
        return id

    result = asyncio.run(run_offline(listed(written, outer, items), ToolRegistry([obey])))
    expected: dict[str, ExecutionStatus] = {}
    whole = dict.fromkeys(prefixes, True)
    for prefix in prefixes:
        own = {id.removeprefix(prefix) for id in failing if id.startswith(prefix)}
        statuses, by_condition = model.ends(own)
        expected |= {f"{prefix}{id}": status for id, status in statuses.items()}
        whole[prefix] = all(status is COMPLETED or id in by_condition for id, status in statuses.items())
    for first in range(outer):
        done = all(whole[prefix] for prefix in prefixes if prefix.startswith(f"out.o{first}."))
        expected[f"out.o{first}.in"] = COMPLETED if done else FAILED
    expected["out"] = COMPLETED if all(whole.values()) else FAILED
    assert {id: one.status for id, one in result.node_results.items()} == expected
    assert result.status is expected["out"]
