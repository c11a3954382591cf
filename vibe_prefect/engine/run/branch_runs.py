"""Branches of a run's plan that run at deployments: each as one child run, whose results come back as records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.logging import get_run_logger

from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.core.feedback import Failure
from vibe_prefect.core.outputs import cut
from vibe_prefect.engine.inputs.plan_store import plan_parameter
from vibe_prefect.engine.placements.deployment import ChildOrder, ChildRun, DeploymentPlacement
from vibe_prefect.engine.placements.placement import IDLE_SECONDS
from vibe_prefect.engine.records.child_files import read_spending, write_keys
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import NodeRecord
from vibe_prefect.engine.run.reuse import ReusableRecords
from vibe_prefect.engine.run.taken import TakenFailure, TakenRecord, failure_in
from vibe_prefect.engine.run.tasks import NodeJob
from vibe_prefect.engine.runs.recorded_lists import unfold_recorded
from vibe_prefect.errors import PlanRunError, UsageError, WorkerLostError
from vibe_prefect.plan.branches import Branch, branch_root, branch_waits, branches
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.graph import Vertex
from vibe_prefect.plan.selection import MAX_EXPRESSION, ChosenNodes
from vibe_prefect.provenance import NodeProvenance
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.results import now_iso
from vibe_prefect.run.node_work import failure_of
from vibe_prefect.run.run_state import RunState
from vibe_prefect.text.sendable import MAX_ERROR
from vibe_prefect.text.units import counted

CANCEL_SECONDS = 10.0
"""Seconds for the server to take in that child runs are cancelled."""

LEAST_USD, LEAST_TOKENS = 1e-9, 1
"""Limits of a child run for which nothing is left: a limit is above 0."""


@dataclass(frozen=True)
class ChildSetup:
    """Setup of the child runs of a run."""

    client: PrefectClient
    """The server's client."""

    placements: Mapping[str, DeploymentPlacement]
    """The placements of the kind `deployment`, by name."""

    parameters: Mapping[str, Any]
    """Parameters of each child run, besides those about its branch."""

    storage: str
    """Storage of the records: a folder that all see, or a block."""

    records: Records
    """Records of the run, without its files."""

    in_folder: bool
    """Whether the storage is a folder."""


@dataclass(frozen=True)
class Parent:
    """A run that has child runs."""

    flow_run: FlowRun
    """The run."""

    state: RunState[NodeJob]
    """State of its nodes."""

    records: Records
    """Its records, with its files."""

    reusable: ReusableRecords
    """Records that it found when it began."""

    budget: Budget | None
    """Its budget; `None` for no limit."""

    chosen: ChosenNodes
    """The nodes that may be executed, and those that are executed even where there is a record."""

    note_retry: Callable[[NodeJob, float | None], object]
    """Called when a child run was lost and another one follows."""


class BranchRuns:
    """The branches of one run that run as child runs."""

    def __init__(self, setup: ChildSetup | None, parent: Parent, run_on: str | None) -> None:
        """Find the branches; nothing is started yet.

        Args:
            setup: Setup of the child runs; `None` where no placement of the run is a deployment.
            parent: The run.
            run_on: The placement of all its nodes; `None` where the plan decides.
        """
        self._setup = setup
        self._parent = parent
        self._run_on = run_on
        self._runs: dict[str, BranchRun] = {}
        self._names = frozenset(setup.placements) if setup is not None else frozenset[str]()

    @property
    def waits(self) -> Mapping[Vertex, tuple[Vertex, ...]]:
        """What each start and end of the plan waits for; see `branch_waits`."""
        plan = self._parent.state.plan
        found = tuple(branches(plan.written, self._names, self._run_on)) if self._names else ()
        return branch_waits(plan.waits, plan.written.graph, found)

    def of(self, id: str) -> BranchRun | None:
        """Return the branch that a node is part of; `None` where this process executes the node."""
        if self._setup is None:
            return None
        plan = self._parent.state.plan
        root = branch_root(plan.graph, plan.nodes, id, self._names, self._run_on)
        if root is None:
            return None
        if root not in self._runs:
            self._runs[root] = BranchRun(self._setup, self._parent, self._branch(root))
        return self._runs[root]

    def _branch(self, root: str) -> Branch:
        plan = self._parent.state.plan
        graph = plan.written.graph if root in plan.written.nodes else plan.graph
        place = self._run_on or plan.nodes[root].policy.run_on
        return Branch(root, place, (root, *graph.below(root)))

    async def cancel(self) -> None:
        """Cancel the child runs that are under way; a failure is logged and stops nothing."""
        for run in self._runs.values():
            run.stop()
        children = [run.child for run in self._runs.values() if run.child is not None]
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await asyncio.gather(*(child.cancel() for child in children))
        except Exception as error:  # noqa: BLE001 - whatever the server says, this run ends
            names = ", ".join(child.name for child in children)
            get_run_logger().warning("The child runs %s could not be cancelled: %s", names, error)


class BranchRun:
    """A branch of a run, executed by one child run, or by several in turn where one is lost."""

    def __init__(self, setup: ChildSetup, parent: Parent, branch: Branch) -> None:
        self._setup = setup
        self._parent = parent
        self._branch = branch
        self._task: asyncio.Task[None] | None = None
        self._placement = setup.placements[branch.placement]
        self._done: set[str] = set()
        self._refresh: set[str] = set()
        self._begun = False
        self.child: ChildRun | None = None
        """The child run that is under way; `None` before and after."""
        self.executed_by: set[str] = set()
        """Ids of the child runs."""
        self.report: RunReport | None = None
        """Report of the last child run; `None` where it has left none."""
        self.failure: Failure | None = None
        """Reason why the last child run did not bring its nodes to their ends; `None` where it did."""

    async def ended(self) -> None:
        """Start the child run, unless that has been done, and wait for its end; a failure raises nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._execute(), name=f"child run of {self._branch.root}")
        await asyncio.shield(self._task)

    def stop(self) -> None:
        """Stop waiting."""
        if self._task is not None:
            self._task.cancel()

    @property
    def _root(self) -> NodeJob:
        return self._parent.state.runs[self._branch.root]

    async def taken(self, node: CompiledNode) -> TakenRecord | TakenFailure:
        """Return how a node of the branch has ended; its files are put in place.

        Args:
            node: The node. The child run has ended.
        """
        report = self.report.by_id.get(node.id) if self.report is not None else None
        failed = failure_in(report) if report is not None else None
        if failed is not None:
            return failed
        async for found in self._parent.records.of_nodes([node]):
            if found.problem is not None:
                reason = f"what it made at {self._branch.placement!r} cannot be used: {found.problem}"
                return TakenFailure(Failure("RuntimeError", reason))
            executed = self.executed(found.record)
            if executed or node.id not in self._refresh:
                return TakenRecord(found.record, reused=not executed)
        why = f": {report.error}" if report is not None and report.error else ""
        unmade = Failure("RuntimeError", f"no run at {self._branch.placement!r} has brought it to an end{why}")
        return TakenFailure(self.failure or unmade)

    def begin(self, job: NodeJob) -> None:
        """Notify that a node has begun, unless that was done when the child run began."""
        if job is not self._root or not self._begun:
            self._parent.state.start(job)

    async def _execute(self) -> None:
        root, policy = self._root, self._root.node.policy
        if root.node.id not in self._parent.reusable:
            self._begun = True
            self._parent.state.start(root)
        for number in range(policy.retries + 1):
            started_at, begun = now_iso(), time.perf_counter()
            try:
                await self._run_child(number)
                return
            except WorkerLostError as error:
                failure = failure_of(error)
            except Exception as error:  # noqa: BLE001 - whatever keeps it from running is how its nodes end
                self.failure = failure_of(error)
                return
            self.failure = failure
            self.child = None
            root.meter.note_lost(started_at, time.perf_counter() - begun, failure)
            if number < policy.retries:
                pause = policy.retry_delays[number] if policy.retry_delays else 0.0
                root.note_failure(failure)
                self._parent.note_retry(root, pause)
                await asyncio.sleep(pause)

    async def _run_child(self, number: int) -> None:
        """Run the branch in a child run to its end.

        Raises:
            WorkerLostError: The run crashed.
            UsageError: The run could not begin, or was cancelled.
        """
        self.failure = self.report = None
        async with self._reserved() as limits:
            child = self.child = await self._placement.start(self._setup.client, await self._order(number, limits))
            self.executed_by.add(str(child.id))
            get_run_logger().info("%s runs at %r as the run %r", self._branch.root, self._branch.placement, child.name)
            state = await child.end(self._note_nodes, self._tell_idle)
            self.child = None
            self.report = await self._setup.records.report(str(child.id))
        if state.type is StateType.CRASHED:
            raise WorkerLostError(f"the run {child.name!r} at {self._branch.placement!r} crashed: {_reason(state)}")
        if self.report is None or not (state.is_completed() or PlanRunError.says(state.message)):
            how = "was cancelled" if state.is_cancelled() else "did not run"
            message = f"the run {child.name!r} at {self._branch.placement!r} {how}: {_reason(state)}"
            raise UsageError(message)

    async def _tell_idle(self) -> None:
        """Say that no worker takes the child run, with the reason where there is one to be seen."""
        reason = await self._placement.warning(self._setup.client)
        get_run_logger().warning(
            "No worker has taken %s at %r for %g s%s; it waits until one does, or the run is cancelled",
            self._branch.root,
            self._branch.placement,
            IDLE_SECONDS,
            f": {reason}" if reason else "",
        )

    @asynccontextmanager
    async def _reserved(self) -> AsyncGenerator[dict[str, Any]]:
        """Reserve what the child run may spend; yield its limits. It is settled with what the child run has spent.

        A child run notes what its calls may cost before it makes them; one that is lost counts with that.
        """
        budget, records = self._parent.budget, self._setup.records
        if budget is None:
            yield {}
            return
        reservation = await budget.reserve_rest()
        rest, used, before = reservation.most, reservation.most, set(self.executed_by)
        try:
            recorded = await records.spent((await self._known()).nodes.values())
            usd = (rest.usd or 0.0) + (recorded.usd or 0.0)
            yield {
                **({} if budget.usd is None else {"budget_usd": max(usd, LEAST_USD)}),
                **({} if budget.tokens is None else {"max_tokens": max(rest.tokens + recorded.tokens, LEAST_TOKENS)}),
            }
        finally:
            try:
                noted = [await read_spending(records, id) for id in self.executed_by - before]
                used = sum(noted, Spending())
            finally:
                reservation.settle(used)

    async def _order(self, number: int, limits: Mapping[str, Any]) -> ChildOrder:
        """Return the order of a child run.

        Args:
            number: Number of those before it.
            limits: Its limits of cost.
        """
        setup, parent = self._setup, self._parent
        plan = parent.state.written
        await write_keys(setup.records, str(parent.flow_run.id), {id: node.key for id, node in plan.nodes.items()})
        known = await self._known()
        if number:
            self._done |= await self._recorded_by_children(known)
        name = f"{parent.flow_run.name}-{self._branch.root}"
        return ChildOrder(
            name if not number else f"{name}-{number + 1}",
            parent.flow_run.id,
            {
                **setup.parameters,
                **limits,
                "plan": await plan_parameter(plan.plan, setup.records.store, setup.client),
                "select": self._selection(known),
                "refresh": await self._refreshed(known),
            },
            setup.storage,
        )

    def _selection(self, known: CompiledPlan) -> str:
        """Return the selection of the branch's nodes that may be executed."""
        members = self._members(known)
        selected = [node.id for node in members if self._parent.chosen.may_run(node)]
        return f"below:{self._branch.root}" if len(selected) == len(members) else self._listed(selected, "selected")

    def _members(self, known: CompiledPlan) -> list[CompiledNode]:
        return [known.nodes[id] for id in (self._branch.root, *known.graph.below(self._branch.root))]

    async def _refreshed(self, known: CompiledPlan) -> str | None:
        """Return the selection of the nodes that are executed even where there is a record; `None` for none.

        These are also nodes whose dependencies were executed in this run and made something else than before: to the
        child run, all that was recorded before it looks the same.
        """
        reusable = self._parent.reusable
        members = [node for node in self._members(known) if node.id not in self._done]
        for node in members:
            if node.id in reusable:
                await reusable.refuse_outdated(node.id)
        refreshed = [node.id for node in members if self._parent.chosen.refreshes(node) or reusable.is_refused(node.id)]
        self._refresh.update(refreshed)
        return self._listed(refreshed, "to be refreshed") if refreshed else None

    def _listed(self, ids: list[str], what: str) -> str:
        expression = " ".join(ids)
        if len(expression) > MAX_EXPRESSION:
            raise UsageError(
                f"{counted(len(ids), 'node')} below {self._branch.root!r} are {what}, more than a child run can be "
                f"given by their ids; select all below {self._branch.root!r}, or none"
            )
        return expression

    async def _recorded_by_children(self, known: CompiledPlan) -> set[str]:
        """Return the ids of the nodes that earlier child runs of the branch have executed."""
        found = [found async for found in self._setup.records.of_nodes(self._members(known))]
        return {one.node_id for one in found if self.executed(one.record)}

    def executed(self, record: NodeRecord) -> bool:
        """Return whether a record was written by a child run of this branch."""
        provenance = NodeProvenance.from_dict(record.get("provenance"))
        return provenance is not None and provenance.run is not None and provenance.run.run_id in self.executed_by

    async def _known(self) -> CompiledPlan:
        """Return the plan with the nodes of those lists that are known by now, and the templates of the others."""
        return (await unfold_recorded(self._parent.state.written, self._setup.records)).compiled(templates=True)

    def _note_nodes(self, ended: int) -> None:
        root, child = self._root.node.node, self.child
        message = f"{child.name if child else ''}: {counted(ended, 'node')} ended at {self._branch.placement}"
        self._parent.state.notify(lambda observer: observer.node_progressed(root, None, message))


def _reason(state: State[Any]) -> str:
    return cut((state.message or state.name or "it says nothing").strip(), MAX_ERROR)
