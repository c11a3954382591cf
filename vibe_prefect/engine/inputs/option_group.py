"""The parameter `options` of a deployed run: parameters of the flow as a group, which a form can fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

OPTIONS = "options"
"""Name of the group."""


def ungrouped(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's parameters with those of the group in their own places, before values that stand there already.

    Args:
        parameters: The parameters; a group that is no mapping stays as it is.
    """
    group = parameters.get(OPTIONS, {})
    if group is not None and not isinstance(group, Mapping):
        return dict(parameters)
    single = {name: value for name, value in parameters.items() if name != OPTIONS}
    return single | dict(cast("Mapping[str, Any]", group or {}))
