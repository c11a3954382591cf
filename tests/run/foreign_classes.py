"""Classes of tools as the reference has them, none of which derives from ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class ForeignCategory(Enum):
    """A category that is not text."""

    TEXT = "text"
    UTILITY = "utility"


@dataclass
class ForeignSpec:
    """A spec as the reference writes it."""

    name: str
    description: str
    category: ForeignCategory
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    examples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass
class ForeignResult:
    """A result as the reference writes it."""

    success: bool
    output: Any
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
