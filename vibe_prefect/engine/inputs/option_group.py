"""The parameter `options` of a deployed run: parameters of the flow as a group, which a form can fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

OPTIONS = "options"
"""Name of the group."""

INPUTS = "inputs"
"""Name of the parameter with the values of the plan's inputs, some of which the group may hold."""


def ungrouped(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's parameters with those of the group in their own places, before values that stand there already.

    Args:
        parameters: The parameters; a group that is no mapping stays as it is.
    """
    group = parameters.get(OPTIONS, {})
    if group is not None and not isinstance(group, Mapping):
        return dict(parameters)
    single = {name: value for name, value in parameters.items() if name != OPTIONS}
    chosen = dict(cast("Mapping[str, Any]", group or {}))
    outside, inside = single.get(INPUTS), chosen.get(INPUTS)
    if isinstance(outside, Mapping) and isinstance(inside, Mapping):
        chosen[INPUTS] = {**cast("Mapping[str, Any]", outside), **cast("Mapping[str, Any]", inside)}
    return single | chosen
