"""A run as plain lines, for logs and pipes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from typing_extensions import override

from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import brief, counted, seconds
from vibe_prefect.cli.display.tree import work
from vibe_prefect.core.approval import Question
from vibe_prefect.core.fallback import fallback_of
from vibe_prefect.core.models import WorkflowNode, WorkflowPlan
from vibe_prefect.core.progress import AddedNode, RunObserver
from vibe_prefect.core.retries import Retry, ordinal
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.unfold import UnfoldedPlan
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult

PATIENCE = 2.0
"""Seconds after the last node before a message explains the wait."""

RECORDING = "waiting until Prefect's server has every task run on record ..."
_WORDS = {
    ExecutionStatus.COMPLETED: "done",
    ExecutionStatus.FAILED: "FAILED",
    ExecutionStatus.SKIPPED: "skipped",
}


class RunLine(RunObserver):
    """An observer that calls back when the run has begun: from then on Prefect has a name for it."""

    def __init__(self, on_begin: Callable[[], object]) -> None:
        self._begun = on_begin

    @override
    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """Call back."""
        self._begun()


class PlainLines(RunObserver):
    """An observer that prints a line for each start and each end."""

    def __init__(self, screen: Screen, compiled: CompiledPlan) -> None:
        self._screen = screen
        self._compiled = compiled
        self._total = len(UnfoldedPlan(compiled).nodes)
        self._templates: dict[str, str] = {}
        self._percent = 0
        self._finished: set[str] = set()
        self._errors: dict[str, str] = {}
        self._attempts: dict[str, int] = {}

    @override
    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """Print the number of reused nodes."""
        if reused:
            self._screen.say(f"{reused:,} of {counted(total, 'node')} complete already")

    @override
    def nodes_added(self, composite: WorkflowNode, added: Sequence[AddedNode]) -> None:
        """Print the number of nodes that run for the items of a list."""
        self._total += len(added)
        self._templates |= {item.node.id: item.template for item in added}
        self._print("list", composite, f": {counted(len(added), 'node')} for its items")

    def node_started(self, node: WorkflowNode) -> None:
        """Print the start of a node."""
        self._print("start", node, "")

    @override
    def node_retried(self, node: WorkflowNode, retry: Retry) -> None:
        """Print that an attempt has failed, and when the next one begins."""
        self._attempts[node.id] = retry.attempt
        self._print("retry", node, f": {brief(retry.text(retry.pause))}")

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Print the end of a node."""
        self._finished.add(node.id)
        first = self._errors.setdefault(result.error or "", node.id)
        repeated = result.status is ExecutionStatus.FAILED and first != node.id
        attempt = self._attempts.pop(node.id, 1)
        error = f"the error of {first}" if repeated else result.error
        self._print(
            _WORDS[result.status], node, _ending(result, error, f" at the {ordinal(attempt)} try" * (attempt > 1))
        )

    @override
    def node_waits(self, node: WorkflowNode, question: Question) -> None:
        """Print what a node asks."""
        self._print("waits", node, f": {brief(question.text)}")

    @override
    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """Count a reused node without a line of its own; the start of the run has named the number."""
        self._finished.add(node.id)

    @override
    def run_finished(self, result: ExecutionResult) -> None:
        """Explain after a while why nothing seems to happen; the loop ends with the run, and drops the message then."""
        asyncio.get_running_loop().call_later(PATIENCE, self._screen.say, RECORDING)

    def _print(self, word: str, node: WorkflowNode, ending: str) -> None:
        self._percent = max(self._percent, 100 * len(self._finished) // self._total)
        label = f"{node.id} ({work(self._compiled.nodes[self._templates.get(node.id, node.id)])})"
        self._screen.say(f"[{self._percent:3} %] {word:<7} {label}{ending}")


def _ending(result: NodeResult, error: str | None, attempt: str) -> str:
    error = brief(error or "no message")
    if result.status is ExecutionStatus.FAILED:
        return f" after {seconds(result.duration)}{attempt}: {error}"
    if result.status is ExecutionStatus.SKIPPED:
        return f": {error}"
    fallback = fallback_of(result.result)
    stands_in = f"; {fallback.origin} stands in, since it failed: {brief(fallback.error)}" if fallback else ""
    return f" in {seconds(result.duration)}{attempt}{stands_in}"
