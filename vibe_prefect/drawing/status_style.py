"""Signs and colours of a node's status: the only table for pages, drawings and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vibe_prefect.results import ExecutionStatus


@dataclass(frozen=True, slots=True)
class StatusStyle:
    """Signs and colours of one status."""

    symbol: str
    """Sign on pages and in drawings."""

    terminal: tuple[str, str]
    """Sign on a terminal, and its style in rich's words."""

    mermaid: str
    """Style of a mermaid node."""

    emoji: str
    """Sign in the drawings of `WorkflowVisualizer`, as in the reference."""

    plain_mermaid: str
    """Style of a mermaid node in those drawings."""


STATUS_STYLES: Mapping[ExecutionStatus, StatusStyle] = {
    ExecutionStatus.COMPLETED: StatusStyle(
        "✓",
        ("✓", "green"),
        "fill:#dcfce7,stroke:#15803d,color:#0f172a",
        "✅",
        "fill:#d4edda,stroke:#28a745,color:#0f172a",
    ),
    ExecutionStatus.FAILED: StatusStyle(
        "✗",
        ("✗", "bold red"),
        "fill:#fee2e2,stroke:#b91c1c,stroke-width:3px,color:#0f172a",
        "❌",
        "fill:#f8d7da,stroke:#dc3545,color:#0f172a",
    ),
    ExecutionStatus.RUNNING: StatusStyle(
        "▶",
        ("●", "blue"),
        "fill:#dbeafe,stroke:#1d4ed8,stroke-width:3px,color:#0f172a",
        "🔄",
        "fill:#fff3cd,stroke:#ffc107,color:#0f172a",
    ),
    ExecutionStatus.SKIPPED: StatusStyle(
        "⊘",
        ("-", "yellow"),
        "fill:#f1f5f9,stroke:#64748b,stroke-dasharray:4 3,color:#334155",
        "⏭️",
        "fill:#e2e3e5,stroke:#6c757d,color:#0f172a",
    ),
    ExecutionStatus.PENDING: StatusStyle(
        "○",
        ("·", "dim"),
        "fill:#f1f5f9,stroke:#64748b,color:#334155",
        "⏳",
        "fill:#f8f9fa,stroke:#6c757d,color:#0f172a",
    ),
}
"""Signs and colours by status."""
