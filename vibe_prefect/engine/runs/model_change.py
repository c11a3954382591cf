"""Models of runs: tags say which models a run had, so that a resume without them is noticed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.worker_needs import Role
from vibe_prefect.tools.registry import SHORT_VARIABLE

_TAGS: Mapping[Role, str] = {"writes": "vibe-model:", "judges": "vibe-judge:"}
"""Prefix of the tag that names a model of a run, by what the model does."""

_DONE: Mapping[Role, str] = {"writes": "wrote", "judges": "judged"}

_MISSING: Mapping[Role, str] = {"writes": "templates would write the texts", "judges": "nothing would be judged"}

Models = Mapping[Role, Collection[str]]
"""Default models of a plan's nodes by what they do; empty where a fallback stands in for the model."""


def model_tags(models: Models) -> set[str]:
    """Return the tags of a run that has these models."""
    return {f"{_TAGS[role]}{model}" for role, names in models.items() for model in names}


def model_change(earlier: PastRun, models: Models) -> str | None:
    """Describe which models of a run a resume lacks; `None` where it lacks none that it needs.

    Args:
        earlier: The run to resume, or an earlier try of the same run.
        models: The models that the resume has.
    """
    lost: dict[tuple[str, str], list[Role]] = {}
    for role, names in models.items():
        had = _named(earlier, role)
        if had and had != set(names):
            lost.setdefault((", ".join(sorted(had)), ", ".join(sorted(names))), []).append(role)
    parts = [_lost(had, has, roles) for (had, has), roles in lost.items()]
    return f"the run {earlier.name!r} {'; and it '.join(parts)}" if parts else None


def check_models(earlier: PastRun, models: Models) -> None:
    """Refuse to resume a run without the models that it had.

    Raises:
        UsageError: A model is missing, or is another one.
    """
    change = model_change(earlier, models)
    if change is not None:
        raise UsageError(
            f"nothing was run: {change}. Set {SHORT_VARIABLE} to that model, or resume with --without-model "
            "(the option without_model) to do without it"
        )


def _named(run: PastRun, role: Role) -> set[str]:
    return {tag.removeprefix(_TAGS[role]) for tag in run.tags if tag.startswith(_TAGS[role])}


def _lost(had: str, has: str, roles: Sequence[Role]) -> str:
    head = f"{' and '.join(_DONE[role] for role in roles)} with the model {had}"
    if not has:
        return f"{head}, and no model is configured now: {' and '.join(_MISSING[role] for role in roles)}"
    return f"{head}, and now the model is {has}, which would do all of that again"
