"""The one tree of exceptions, and the values they carry.

`VibePrefectError` is the root. `UsageError` means that what was asked for cannot run as written (a plan, a tool's
inputs, an option): nothing was executed. `RunError` means that something went wrong while a plan was running.
All of them survive pickling, since they cross process borders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from vibe_prefect.characters import visible

if TYPE_CHECKING:
    from vibe_prefect.results import ExecutionResult

MAX_COMPARED = 100
"""The longest word that is compared with others for a hint, in characters."""

MAX_LISTED = 20
"""Number of failed nodes that an error names before it only counts."""

MAX_REASON = 300
"""Characters of each failed node's error in an error about the run."""
MAX_PROBLEMS = 50
"""Number of problems that the text of a plan's error lists; `PlanError.problems` has them all."""

MAX_PROBLEM = 800
"""Characters of one problem in that text."""

MAX_TEXT = 8_000
"""Characters of all problems in that text."""

_NODES_FAILED = " nodes failed, "

HINT_SEPARATOR = "; "
"""Separator in a message between the fault and its remedy."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Position in a plan file. Lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Fault of a value, and the remedy."""

    message: str
    """Text: what was found and what was expected, with the hint at its end."""

    hint: str | None = None
    """Remedy: what to do next."""

    at: tuple[int, int] | None = None
    """Line and column of the fault within a value that is text, from 0; `None` for the value as a whole."""

    @classmethod
    def advised(cls, text: str, advice: str) -> Finding:
        """Join a fault and its remedy.

        Args:
            text: What was found and what was expected.
            advice: What to do next, also as `did_you_mean` returns it; empty for nothing.
        """
        hint = advice.removeprefix(HINT_SEPARATOR)
        return cls(f"{text}{HINT_SEPARATOR}{hint}", hint) if hint else cls(text)


@dataclass(frozen=True, slots=True)
class Problem:
    """Fault of a plan."""

    message: str
    """Text: what was found, what was expected and, where it is known, what to do next."""

    node_id: str | None = None
    """Id of the node that it concerns; `None` for the plan as a whole."""

    field: str | None = None
    """The field, relative to the node (or the plan), such as `dependencies[0]`."""

    position: Position | None = None
    """Place in the file; `None` for a plan that did not come from one."""

    hint: str | None = None
    """Remedy, as it also stands in the message; `None` where the message alone says enough."""

    @property
    def without_hint(self) -> str:
        """The message without its hint, for displays that show the hint apart."""
        return self.message if self.hint is None else self.message.replace(f"{HINT_SEPARATOR}{self.hint}", "", 1)

    def __str__(self) -> str:
        parts = [f"node {shorten(self.node_id)}"] if self.node_id is not None else []
        if self.field:
            parts.append(self.field)
        text = f"{', '.join(parts)}: {self.message}" if parts else self.message
        return f"{self.position}: {text}" if self.position else text


class VibePrefectError(Exception):
    """Root of every exception that this package raises on purpose."""


class UsageError(VibePrefectError):
    """Error in a plan, an input or an option: it cannot run as written, and nothing was executed."""


class PlanError(UsageError, ValueError):
    """A plan that cannot run, with every problem that was found in it."""

    def __init__(self, problems: Sequence[Problem], name: str | None = None) -> None:
        """List the faults of a plan.

        Args:
            problems: The faults, in plan order; never empty.
            name: The plan's id, or the file it came from.
        """
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.name = name
        super().__init__(self._text())

    def _text(self) -> str:
        count = len(self.problems)
        subject = f"plan {shorten(self.name, MAX_PROBLEM)}" if self.name else "the plan"
        lines: list[str] = []
        room = MAX_TEXT
        for problem in self.problems[:MAX_PROBLEMS]:
            line = f"  {printable(str(problem), MAX_PROBLEM)}"
            room -= len(line)
            if room < 0 and lines:
                break
            lines.append(line)
        omitted = count - len(lines)
        lines += [f"  and {omitted:,} more"] if omitted else []
        return "\n".join([f"{subject} has {count:,} problem{'s' if count != 1 else ''}:", *lines])

    def __reduce__(self) -> tuple[type[PlanError], tuple[tuple[Problem, ...], str | None]]:
        return type(self), (self.problems, self.name)


class InputsError(UsageError, ValueError):
    """Inputs of a run that its plan cannot take, with every problem that was found."""

    def __init__(self, problems: Sequence[Problem], plan_id: str) -> None:
        """List the faults of the inputs.

        Args:
            problems: The faults; the field of each is the input, or the part of it; never empty.
            plan_id: The plan's id.
        """
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.plan_id = plan_id
        count = len(self.problems)
        lines = [f"  {printable(str(problem), MAX_PROBLEM)}" for problem in self.problems[:MAX_PROBLEMS]]
        lines += [f"  and {count - MAX_PROBLEMS:,} more"] if count > MAX_PROBLEMS else []
        subject = f"the inputs of plan {shorten(plan_id)} have {count:,} problem{'s' if count != 1 else ''}:"
        super().__init__("\n".join([subject, *lines]))

    def __reduce__(self) -> tuple[type[InputsError], tuple[tuple[Problem, ...], str]]:
        return type(self), (self.problems, self.plan_id)


class ToolDefinitionError(UsageError, TypeError):
    """A tool that is not shaped like one: a missing name, an input without a type, a broken entry point."""


class ToolInputError(UsageError, ValueError):
    """Inputs that a tool cannot work with; the message names the input, what was found and what was expected."""


class SettingsError(UsageError, ValueError):
    """Settings of this package with values that they cannot have."""

    def __init__(self, problems: Sequence[str]) -> None:
        """List the faults of the settings.

        Args:
            problems: One sentence for each, which begins with the name of its environment variable.
        """
        self.problems: tuple[str, ...] = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the settings have {len(self.problems)} problem{'s' if len(problems) != 1 else ''}:\n{lines}")

    def __reduce__(self) -> tuple[type[SettingsError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class UnknownPlanError(UsageError, LookupError):
    """A stored plan that the Prefect server does not have."""


class UnknownRunError(UsageError, LookupError):
    """A run to resume that the Prefect server does not know."""


class KeptPlanError(UnknownRunError):
    """A run whose plan was stored beside its records, and is gone or was changed."""


class RunInUseError(UsageError):
    """A run to resume that another process still executes."""


class RecordStorageError(UsageError, OSError):
    """A storage of records that does not answer, so that the existing records are unknown."""


class SelectionError(UsageError, ValueError):
    """A selection of nodes that is not written as the grammar wants it, or that matches nothing."""

    def __init__(self, part: str, reason: str) -> None:
        """Name the faulty part of a selection.

        Args:
            part: The part of the expression that it concerns.
            reason: Text: what was found, what was expected and, where it is known, what to do next.
        """
        self.part = part
        self.reason = reason
        super().__init__(f"selection {shorten(part)}: {reason}")

    def __reduce__(self) -> tuple[type[SelectionError], tuple[str, str]]:
        return type(self), (self.part, self.reason)


class CheckpointIdError(UsageError, ValueError):
    """A checkpoint id that is not a plain name, so that it could lead out of the checkpoints' folder."""


class UnknownCheckpointError(UsageError, FileNotFoundError):
    """A checkpoint that does not exist."""


class DamagedCheckpointError(UsageError, RuntimeError):
    """A checkpoint that cannot be read."""


class CheckpointSchemaError(DamagedCheckpointError, ValueError):
    """A checkpoint of a schema version that this version does not read."""


class RunError(VibePrefectError):
    """Something went wrong while a plan was running."""


class ModelAnswerError(RunError, RuntimeError):
    """A model that gave no valid answer, with its last answer and the faults of it."""

    def __init__(  # noqa: PLR0913 - facts of the error, by keyword
        self,
        subject: str,
        reason: str,
        *,
        problems: Sequence[str] = (),
        draft: str | None = None,
        answers: int = 0,
        over_budget: bool = False,
    ) -> None:
        """Describe why there is no answer.

        Args:
            subject: What the answer was to be made from.
            reason: Text: what the model did, and what to do next.
            problems: Faults of the last answer, a sentence each.
            draft: The last answer, as the model wrote it; `None` where there is none.
            answers: Number of the answers that the model gave.
            over_budget: Whether the budget did not allow a further call.
        """
        self.subject = subject
        self.reason = reason
        self.problems: tuple[str, ...] = tuple(problems)
        self.draft = draft
        self.answers = answers
        self.over_budget = over_budget
        lines = [f"  {printable(problem, MAX_PROBLEM)}" for problem in self.problems[:MAX_PROBLEMS]]
        lines += [f"  and {len(self.problems) - MAX_PROBLEMS:,} more"] if len(self.problems) > MAX_PROBLEMS else []
        super().__init__("\n".join([f"{self._failed()}: {reason}", *lines]))

    def _failed(self) -> str:
        return f"no valid answer for {shorten(self.subject)}"

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("problems", "draft", "answers", "over_budget")
        return partial(type(self), self.subject, self.reason, **{name: getattr(self, name) for name in names}), ()


class PlanningError(ModelAnswerError):
    """A vibe from which no valid plan was made, with the last answer of the model and its faults."""

    @property
    def vibe(self) -> str:
        """Description of the vibe."""
        return self.subject

    def _failed(self) -> str:
        return f"Failed to generate workflow plan for vibe {shorten(self.vibe)}"


class ReplanError(ModelAnswerError):
    """A plan that no model has edited after a run of it, with the last answer of the model and its faults."""

    @property
    def plan_id(self) -> str:
        """Id of the plan."""
        return self.subject

    def _failed(self) -> str:
        return f"Failed to replan {shorten(self.plan_id)}"


class CheckpointFileError(RunError, RuntimeError):
    """A checkpoint that cannot be written or deleted."""


class ResultTypeError(RunError, TypeError):
    """A node returned something that JSON cannot hold, so it could not be recorded."""


class OutsideRootError(RunError, PermissionError):
    """A path that leaves the folder a tool is allowed to touch."""


class UserExitError(RunError):
    """A tool, handler or callback that raised `SystemExit` or another BaseException that is not a real signal."""

    def __init__(self, kind: str, text: str) -> None:
        """Name the raised exception.

        Args:
            kind: The class of the raised exception, such as `SystemExit`.
            text: Its text; may be empty.
        """
        self.kind = kind
        self.text = text
        super().__init__(f"{kind}: {text}" if text else kind)

    def __reduce__(self) -> tuple[type[UserExitError], tuple[str, str]]:
        return type(self), (self.kind, self.text)


class UnsendableError(RunError):
    """An error that a node raised at its placement and that cannot be sent back as it is; its kind and text can."""

    def __init__(self, kind: str, text: str) -> None:
        """Name the error.

        Args:
            kind: The class of the error.
            text: Its text.
        """
        self.kind = kind
        super().__init__(text)

    def __reduce__(self) -> tuple[type[UnsendableError], tuple[str, str]]:
        return type(self), (self.kind, str(self))


class ToolError(RunError, RuntimeError):
    """A tool's own failure."""

    retryable: bool = True
    """Whether trying again may help."""

    retry_after: float | None = None
    """Seconds that the other side asks to wait before that; `None` where it says nothing."""

    asks_to_wait: bool = False
    """Whether the other side did nothing but ask to come back later, as by HTTP 429. `tools.waits.patiently` waits for
    that within the attempt, so that it uses up none of the node's retries."""

    usage: Mapping[str, Any] | None = None
    """Usage of the failed attempt, in the shape of a tool result's `metadata["usage"]`, where that is known."""

    quality: float | None = None
    """Quality that a check measured, 0 to 1; `None` where nothing was judged."""

    evidence: tuple[str, ...] = ()
    """Quotes from the judged text, as the reasons."""

    refused: Mapping[str, Any] | None = None
    """Result that the node would have, had its gate not refused what it judged; `None` for any other failure."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        retry_after: float | None = None,
        asks_to_wait: bool = False,
    ) -> None:
        """Describe why a tool failed.

        Args:
            message: The action, its result, and what to do next.
            retryable: Whether trying again may help.
            retry_after: Seconds to wait before that, where the other side says so.
            asks_to_wait: Whether the other side did nothing but ask to come back later.
        """
        self.retryable = retryable
        self.retry_after = retry_after
        self.asks_to_wait = asks_to_wait
        super().__init__(message)


class ShownError(ToolError):
    """Stands for an error whose own text cannot be sent to a server: too long, or with characters that break it."""

    original: Exception | None
    """The error that it stands for; `None` in another process."""

    def __init__(self, message: str, original: Exception | None = None) -> None:
        """Show an error.

        Args:
            message: Its class and the part of its text that can be sent.
            original: The error itself.
        """
        super().__init__(message)
        self.original = original

    def __reduce__(self) -> tuple[type[ShownError], tuple[str]]:
        return type(self), (str(self),)


class PlacementError(ToolError):
    """A placement could not do a node's work."""


class NotSentError(PlacementError):
    """Work that cannot be sent to a placement, or that it cannot read: what the node needs cannot be imported there."""

    def __init__(self, message: str) -> None:
        """Describe the error.

        Args:
            message: What could not be sent or read, where, and what to do next.
        """
        super().__init__(message, retryable=False)


class WorkerLostError(PlacementError):
    """A worker that ended in the middle of a node's work."""


class BudgetExceededError(ToolError):
    """A call that was not made, since it could have cost more than the run's budget has left."""

    def __init__(self, message: str) -> None:
        """Build the error for a refused call.

        Args:
            message: Amount spent, possible cost of the call, and what to do next.
        """
        super().__init__(message, retryable=False)


class PathTakenError(ToolError):
    """A path in the output folder that belongs to another node of the run; nothing was written."""

    def __init__(self, path: str, owner: str, reason: str) -> None:
        """Name the path, the node that has it, and what to do.

        Args:
            path: The path, as it was asked for.
            owner: Id of the node that owns it.
            reason: What the owner does there.
        """
        self.path = path
        self.owner = owner
        self.reason = reason
        super().__init__(
            f"may not write {path!r}: {reason}; give each node a path of its own, for example one with its id in it",
            retryable=False,
        )

    def __reduce__(self) -> tuple[type[PathTakenError], tuple[str, str, str]]:
        return type(self), (self.path, self.owner, self.reason)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest known word, or an empty string.

    Only words of up to 100 characters are compared, and the first 2,000 of those: each comparison takes time.
    """
    if len(word) > MAX_COMPARED:
        return ""
    from difflib import get_close_matches

    candidates = islice((candidate for candidate in known if len(candidate) <= MAX_COMPARED), 2_000)
    close = get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def shorten(value: object, width: int = 60) -> str:
    """Return `repr(value)`, cut to a width; of a large value no more is written than that needs."""
    if isinstance(value, str):
        value = value[: width + 1]
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deeply"
    except ValueError:  # an integer of more digits than Python writes
        text = f"a {type(value).__name__} of too many digits"
    return text if len(text) <= width else f"{text[: width - 3]}..."


def printable(text: str, width: int) -> str:
    """Return a text on one line that a terminal, a log and a database can hold: cut to a width, controls escaped."""
    if len(text) > width:
        text = f"{text[: width - 3]}..."
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


class PlanRunError(RunError):
    """A run in which at least one node failed. Everything that could run did."""

    def __init__(self, result: ExecutionResult) -> None:
        """List the failed nodes.

        Args:
            result: Result of the run, every node included.
        """
        self.result = result
        self.failed: tuple[str, ...] = result.ids("failed")
        super().__init__(self._text())

    @staticmethod
    def says(message: str | None) -> bool:
        """Return whether a message, such as that of a flow run's state, is that of such an error."""
        return _NODES_FAILED in (message or "").partition("\n")[0]

    def _text(self) -> str:
        total, skipped = len(self.result.node_results), len(self.result.ids("skipped"))
        reasons: dict[str, list[str]] = {}
        for id in self.failed[:MAX_LISTED]:
            reasons.setdefault(self._reason(id), []).append(id)
        lines = [f"  {', '.join(ids)}: {reason}" for reason, ids in reasons.items()]
        omitted = len(self.failed) - MAX_LISTED
        lines += [f"  and {omitted} more"] if omitted > 0 else []
        head = f"plan {self.result.plan_id!r}: {len(self.failed)} of {total}{_NODES_FAILED}{skipped} skipped"
        return "\n".join([head, *lines])

    def _reason(self, id: str) -> str:
        """Return the beginning of a failed node's error: this text becomes the state of the flow run."""
        error = self.result.node_results[id].error or ""
        return error if len(error) <= MAX_REASON else f"{error[:MAX_REASON]}... ({len(error):,} characters)"

    def __reduce__(self) -> tuple[type[PlanRunError], tuple[ExecutionResult]]:
        return type(self), (self.result,)


class RunWaitsError(PlanRunError):
    """A run that has nothing left to do before a person has answered; no node failed."""

    def _text(self) -> str:
        waiting, total = len(self.result.ids("pending")), len(self.result.node_results)
        return f"plan {self.result.plan_id!r}: {waiting} of {total} nodes wait for an answer"
