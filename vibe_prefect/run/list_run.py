"""A composite that runs its children for each item of a list: from the list to the composite's own result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic

from vibe_prefect.core.feedback import SIMULATED, remark_on
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.errors import ToolError, UsageError
from vibe_prefect.plan.compiler import CompiledNode
from vibe_prefect.plan.unfold import Instance
from vibe_prefect.run.handlers import RESULT_TYPES, NodeHandler
from vibe_prefect.run.items import item_values, items_of
from vibe_prefect.run.run_state import MAX_CAUSES, Run, RunState
from vibe_prefect.run.scheduler import run_instances
from vibe_prefect.text.json_text import copied


class ListRun(Generic[Run]):
    """One composite with `for_each` in a run."""

    def __init__(self, state: RunState[Run], composite: Run) -> None:
        """Prepare it; nothing runs yet.

        Args:
            state: The state of the run.
            composite: The composite; its dependencies have completed.
        """
        self._state = state
        self._composite = composite.node
        self._outputs = state.outputs(composite)

    async def execute(
        self,
        run_node: Callable[[str], Awaitable[None]],
        added: Callable[[Sequence[CompiledNode]], Awaitable[None]] | None = None,
    ) -> NodeHandler | None:
        """Run the nodes of the items to their end.

        Args:
            run_node: Runs one node by its id; does not raise for a failing node.
            added: Called with the nodes of the items, before any of them runs.

        Returns:
            The handler that makes the composite's result from theirs, or raises what is wrong with its list; `None`
            where some of them wait for a person's answer.
        """
        try:
            instances = await self._instances()
        except UsageError as error:
            return partial(_raise, error)
        if added is not None:
            await added([node for instance in instances for node in instance.nodes.values()])
        await run_instances(instances, self._composite.node.concurrency, run_node)
        if any(self._state.waits(id) for instance in instances for id in instance.nodes):
            return None
        return partial(self._gathered, instances)

    async def _instances(self) -> tuple[Instance, ...]:
        """Add the nodes of the items to the run.

        Raises:
            InvalidTemplateError: A template cannot be filled in.
            ItemsError: There is no list, or not one that can be run.
        """
        composite, results = self._composite, self._state.result.node_results
        simulated = any(remark_on(results[id].result) == SIMULATED for id in composite.dependencies)
        outputs = {id: copied(output) for id, output in self._outputs.items()}
        values = item_values(self._state.written, composite, outputs)
        return self._state.unfold(composite, await items_of(composite, values, simulated=simulated))

    def _gathered(self, instances: Sequence[Instance], _node: object) -> dict[str, Any]:
        """Return the composite's result from what its items made; each of their nodes has ended.

        Raises:
            ToolError: Too few items completed; trying again cannot help.
        """
        state, node = self._state, self._composite.node
        completed = [instance for instance in instances if all(map(state.is_done, instance.nodes))]
        least = len(instances) if node.min_completed is None else node.min_completed
        if len(completed) < least:
            raise ToolError(_too_few(instances, completed, least), retryable=False)
        made = (state.result.node_results[id].result for instance in completed for id in instance.nodes)
        simulated = {"simulated": True} if any(remark_on(result) == SIMULATED for result in made) else {}
        return {
            "type": RESULT_TYPES[WorkflowNodeType.COMPOSITE],
            "description": node.description,
            "result": [
                {instance.nodes[id].template: self._output(id) for id in instance.roots} for instance in completed
            ],
            "items": [instance.item.name for instance in completed],
            **simulated,
        }

    def _output(self, id: str) -> Any:
        """Return the output of a node; none where a condition skipped it."""
        run = self._state.runs[id]
        return copied(run.output) if run.condition_of is None else None


def _too_few(instances: Sequence[Instance], completed: Sequence[Instance], least: int) -> str:
    done = {instance.item.name for instance in completed}
    failed = [instance.item.name for instance in instances if instance.item.name not in done]
    more = f" and {len(failed) - MAX_CAUSES} more" if failed[MAX_CAUSES:] else ""
    bound = "" if least == len(instances) else f"; min_completed is {least:,}"
    named = ", ".join(failed[:MAX_CAUSES])
    return f"{len(completed):,} of {len(instances):,} items completed{bound}; not completed: {named}{more}"


def _raise(error: Exception, _node: object) -> Any:
    raise error
