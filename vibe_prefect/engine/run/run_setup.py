"""The setup of a run besides its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vibe_prefect.core.budget import Budget
from vibe_prefect.core.feedback import REPLAN_BELOW
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.core.progress import RunObserver
from vibe_prefect.engine.prefect_seam.event_stream import HeldEvents
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.run.asking import Prompt
from vibe_prefect.engine.run.branch_runs import ChildSetup
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.selection import ALL_NODES, ChosenNodes
from vibe_prefect.run.handlers import NodeHandler
from vibe_prefect.settings.placements import PlacementSettings
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.workspace import Workspace


@dataclass(frozen=True)
class RunSetup:
    """Setup of a run besides its plan."""

    tools: ToolRegistry
    """The tools of this run."""

    workspace: Workspace
    """The folders that it may touch."""

    records: Records
    """Records of the run."""

    goes_on: bool = False
    """Whether there may be records from before: of an earlier run, or an earlier try of this one."""

    chosen: ChosenNodes = ALL_NODES
    """The nodes that may be executed, and those that are executed even where there is a record."""

    handlers: Mapping[WorkflowNodeType, NodeHandler] = field(default_factory=dict[WorkflowNodeType, NodeHandler])
    """The caller's own handlers; the built-in one runs the other types."""

    observers: Sequence[RunObserver] = ()
    """Receivers of each step."""

    concurrency: int | None = None
    """Largest number of nodes at once; `None` for no limit."""

    first_attempt: bool = True
    """Whether Prefect runs the flow for the first time; observers are notified of the run's begin only then."""

    last_attempt: bool = True
    """Whether Prefect will not run the flow again when nodes fail; only then are observers notified of a failed end."""

    budget: Budget | None = None
    """Budget of the run; `None` for no limit."""

    note_plan: Callable[[CompiledPlan], None] = lambda _: None
    """Called at the end, before observers are notified of it, with the plan and the nodes of the items of lists."""

    prompt: Prompt | None = None
    """Asks the person at the terminal; `None` where nobody sits there."""

    placements: Mapping[str, PlacementSettings] = field(default_factory=dict[str, PlacementSettings])
    """Where nodes may run besides this process, by name."""

    run_on: str | None = None
    """The placement of all nodes; `None` where the plan decides."""

    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Largest number of nodes at once, by tool and tag."""

    children: ChildSetup | None = None
    """Setup of child runs; `None` where no placement is a deployment."""

    held: HeldEvents = field(default_factory=HeldEvents)
    """Events of nodes that the run does not execute; what it holds at the end is yet to be sent."""

    shows_all: bool = True
    """Whether Prefect shows nodes that are not selected, too; a child run leaves them to its parent."""

    replan_below: float = REPLAN_BELOW
    """Quality, 0 to 1, below which another plan is suggested for a node."""
