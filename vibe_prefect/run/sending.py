"""An attempt at a node as bytes, for a placement that does the work in another process, and its outcome as bytes.

The flow packs the work and unpacks the outcome; `execute_payload` is what the other process calls. Only what Python can
import there under the same name can be sent: the package's own values, and tools and handlers of modules.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.errors import NotSentError, UnsendableError
from vibe_prefect.run.measure import Meter
from vibe_prefect.run.node_work import NodeOutcome, NodeServices, NodeWork, execute_node, failure_of
from vibe_prefect.tools.run_files import NodeFiles
from vibe_prefect.tools.secrecy.known import scrubbed
from vibe_prefect.tools.waits import kept_by

BEGUN, PAUSED, RESUMED, PROGRESS = "begun", "paused", "resumed", "progress"
"""Kinds of messages: the work has begun; its time stands still, and goes on; it has come further."""

Message = tuple[str, float | None, str]
"""A message about work: its kind, and for progress the fraction that is done, where it is known, and a text."""

Tell = Callable[[Message], None]
"""Receives the messages about one work."""


ReadOutput = Callable[[], Awaitable[Any]]
"""Reads an output where the work is done; raises a `NotSentError` where that cannot be."""


@dataclass(frozen=True, slots=True)
class SentWork:
    """An attempt at a node, and what it may spend."""

    work: NodeWork
    """The attempt."""

    usd: float | None = None
    """US dollars that were reserved for it; `None` for no limit."""

    tokens: int | None = None
    """Tokens that were reserved for it; `None` for no limit."""

    references: Mapping[str, ReadOutput] = field(default_factory=dict[str, ReadOutput])
    """References to outputs that are not sent, by the id of the dependency, whose output in the work is `None`."""

    @classmethod
    def of(cls, work: NodeWork, references: Mapping[str, ReadOutput]) -> SentWork:
        """Return an attempt whose outputs travel as references, as far as there are any."""
        outputs = {id: None if id in references else output for id, output in work.outputs.items()}
        return cls(replace(work, outputs=outputs), references=references)

    async def whole_work(self) -> NodeWork:
        """Return the attempt with all outputs.

        Raises:
            NotSentError: An output cannot be read here.
        """
        read = {id: await reference() for id, reference in self.references.items()}
        return replace(self.work, outputs={id: read.get(id, output) for id, output in self.work.outputs.items()})


@dataclass(frozen=True, slots=True)
class SentError:
    """An error by its kind and text, and as bytes: either process may lack its class, or be unable to build it."""

    kind: str
    """The class of the error, as feedback names it."""

    text: str
    """Its text."""

    payload: bytes | None
    """The error itself; `None` where it cannot be packed."""

    @classmethod
    def of(cls, error: Exception) -> SentError:
        """Pack an error."""
        failure = failure_of(error)
        try:
            payload = pickle.dumps(error)
        except Exception:  # noqa: BLE001 - the class of an error may do anything
            payload = None
        return cls(failure.error_type, failure.message, payload)

    def unpacked(self) -> Exception:
        """Return the error, or what stands for it where it cannot be built here."""
        try:
            error: object = None if self.payload is None else pickle.loads(self.payload)  # noqa: S301 - as in `unpacked`
        except Exception:  # noqa: BLE001 - the class of an error may do anything
            error = None
        return error if isinstance(error, Exception) else UnsendableError(self.kind, self.text)


@dataclass(frozen=True, slots=True)
class SentOutcome:
    """The end of an attempt, and what it spent."""

    outcome: NodeOutcome
    """The end; its error is sent apart."""

    spent: Spending
    """Cost of its paid calls; all 0 where the run has no budget."""

    host: str
    """Name of the machine that did the work."""

    error: SentError | None = None
    """The error that ended the attempt; `None` where it made a result."""

    files: NodeFiles = field(default_factory=NodeFiles)
    """What it owns and has written in the output folder."""


def packed(sent: SentWork, placement: str) -> bytes:
    """Return work as bytes.

    Args:
        sent: The work.
        placement: Name of the placement, for the error.

    Raises:
        NotSentError: A tool or a handler is not one that another process can import.
    """
    try:
        return pickle.dumps(sent)
    except Exception as error:  # each class has its own ways to refuse
        node = sent.work.node.id
        raise NotSentError(
            f"the node {node!r} cannot be sent to the placement {placement!r}: {error}; define its tool or handler at "
            "the top of a module that can be imported there, or leave policy.run_on out"
        ) from error


def unpacked(payload: bytes) -> SentOutcome:
    """Return the outcome that `execute_payload` has packed."""
    sent: SentOutcome = pickle.loads(payload)  # noqa: S301 - made by this package, at the operator's own placement
    return sent if sent.error is None else replace(sent, outcome=replace(sent.outcome, error=sent.error.unpacked()))


class _ToldClock:
    """The clock of an attempt, which the process of the run keeps."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def pause(self) -> None:
        self._tell((PAUSED, None, ""))

    def resume(self) -> None:
        self._tell((RESUMED, None, ""))


def execute_payload(payload: bytes, tell: Tell) -> bytes:
    """Execute packed work in this process, to its end, and return the packed outcome.

    Args:
        payload: The work, as `packed` returns it.
        tell: Receives the messages about it, which the process of the run has to hear.
    """
    try:
        sent: SentWork = pickle.loads(payload)  # noqa: S301 - made by this package, in the run's own flow
    except Exception as error:  # noqa: BLE001 - a module may do anything as it is imported
        problem = f"what the node needs cannot be imported at its placement, on {socket.gethostname()}: {error}"
        refusal = NotSentError(f"{problem}; install it there, or leave policy.run_on out")
        return _packed(_refused(refusal), Spending())
    return asyncio.run(_execute(sent, tell))


async def _execute(sent: SentWork, tell: Tell) -> bytes:
    try:
        work = await sent.whole_work()
    except NotSentError as refusal:
        return _packed(_refused(refusal), Spending())
    budget = _budget(sent)
    services = NodeServices(
        budget=budget, report_progress=lambda fraction, text: tell((PROGRESS, fraction, scrubbed(text)))
    )
    tell((BEGUN, None, ""))
    with kept_by(_ToldClock(tell)):
        outcome = await execute_node(work, services)
    workspace, record_id = work.workspace, work.node.record_id
    files = workspace.files.of_node(record_id, workspace.output_root)
    return _packed(outcome, budget.spent if budget is not None else Spending(), files)


def _budget(sent: SentWork) -> Budget | None:
    """Return the budget of the work alone; `None` where the run has no limit."""
    if sent.usd is None and sent.tokens is None:
        return None
    # A limit is above 0; less than the cost of any call is as good as nothing.
    usd = None if sent.usd is None else max(sent.usd, 1e-12)
    return Budget(usd=usd, tokens=None if sent.tokens is None else max(sent.tokens, 1))


def _refused(error: NotSentError) -> NodeOutcome:
    meter = Meter()
    with meter:
        pass
    meter.note_failure(failure_of(error))
    return NodeOutcome(meter, error=error)


def _packed(outcome: NodeOutcome, spent: Spending, files: NodeFiles | None = None) -> bytes:
    """Return the end of an attempt as bytes that the process of the run can read, whatever class its error has."""
    error = None if outcome.error is None else SentError.of(outcome.error)
    host, bare = socket.gethostname(), replace(outcome, error=None)
    return pickle.dumps(SentOutcome(bare, spent, host, error, files or NodeFiles()))
