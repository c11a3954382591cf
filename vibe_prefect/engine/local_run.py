"""A run in this process: what no parameter of the flow can hold, and the run as Prefect knows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from uuid import UUID

from vibe_prefect.core.models import WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.progress import RunObserver
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.prefect_seam.event_stream import HeldEvents
from vibe_prefect.engine.records.imported_records import ImportedRecord
from vibe_prefect.engine.run.asking import Prompt
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.worker_needs import Role, default_models
from vibe_prefect.replanning.adaptation import NextAttempt
from vibe_prefect.reporting.attempts import RunHistory
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.results import ExecutionResult
from vibe_prefect.run.handlers import NodeHandler
from vibe_prefect.settings.package import VibePrefectSettings
from vibe_prefect.tools.registry import ToolRegistry


@dataclass
class RunHandle:
    """A run as Prefect knows it. `task_runs` is set when it has ended."""

    flow_run_id: UUID
    """Id of the flow run."""

    name: str
    """Name of the flow run."""

    output_root: Path
    """Folder for its files."""

    task_runs: int = 0
    """Number of task runs that Prefect was given."""

    recorded: int | None = None
    """Number of them that the server had on record at the end; `None` where nobody waited, or it did not answer."""

    result: ExecutionResult | None = None
    """The result; `None` until every node has ended."""

    compiled: CompiledPlan | None = None
    """The plan with the nodes that ran for the items of lists; `None` until the run has ended."""

    report: RunReport | None = None
    """Its report; `None` until every node has ended."""

    next: NextAttempt | None = None
    """The attempt that follows in an adaptive run; `None` where none does."""

    reported: bool = True
    """Whether Prefect received the end of the run."""


@dataclass
class LocalRun:
    """A call of the flow in this process: inputs that no parameter can hold, and the run as output."""

    compiled: CompiledPlan
    """The plan, compiled."""

    tools: ToolRegistry
    """The tools of the run."""

    settings: VibePrefectSettings
    """The settings of the run."""

    handlers: Mapping[WorkflowNodeType, NodeHandler] = field(default_factory=dict[WorkflowNodeType, NodeHandler])
    """The caller's own handlers."""

    observers: Sequence[RunObserver] = ()
    """Receivers of each step."""

    storage: str | Path | None = None
    """Storage of the records; see `open_store`."""

    imported: Sequence[ImportedRecord] = ()
    """Imported records, from a checkpoint: reused where the plan still asks for them."""

    plan_file: str | None = None
    """Path of the file that the plan came from; `None` for any other plan."""

    artifacts: bool | None = None
    """Whether artifacts are put into Prefect; by default as the setting says."""

    prompt: Prompt | None = None
    """Asks the person at the terminal; `None` where nobody sits there."""

    earlier: PastRun | None = None
    """The run that it resumes, with the first of its resume chain, as the server had it before the call; `None` where
    nobody looked."""

    compiled_as: Callable[[WorkflowPlan], CompiledPlan] | None = None
    """Compiles an edited plan as this one was, for a further attempt; `None` where nothing makes one."""

    history: RunHistory = field(default_factory=RunHistory)
    """The attempts before this run in an adaptive run."""

    held: HeldEvents = field(default_factory=HeldEvents)
    """Events of nodes that were not executed, which are sent when there is time."""

    handle: RunHandle | None = None
    """The run; `None` until the flow run has begun."""

    ended_at: float | None = None
    """End of the last node, by `time.monotonic`; `None` before, and while Prefect may try the whole run again."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Event that is set at that time."""

    stopped: str | None = None
    """Reason why a person stops the run: it ends as Cancelled. `None` where the call is cancelled for another reason,
    which Prefect takes for a crash."""

    @cached_property
    def models(self) -> dict[Role, set[str]]:
        """The default models of its nodes, by what they do; see `default_models`."""
        return default_models(self.compiled, self.tools)

    def compiled_again(self, plan: WorkflowPlan) -> CompiledPlan:
        """Compile an edited plan as this run's was."""
        assert self.compiled_as is not None
        return self.compiled_as(plan).with_inputs(self.compiled.values.given)

    def end(self, result: ExecutionResult) -> None:
        """Note that every node has ended, and that Prefect will not try the whole run again."""
        assert self.handle is not None
        self.handle.result = result
        self.ended_at = time.monotonic()
        self.ended.set()

    @contextmanager
    def current(self) -> Generator[None]:
        """Make this the call of the `run_plan` that is called within the block."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


def current_local_run() -> LocalRun | None:
    """Return the call of `run_plan` in this process that is made now; `None` in a deployed run, or outside of one."""
    return _current.get()


_current: ContextVar[LocalRun | None] = ContextVar("vibe_prefect_local_run", default=None)
