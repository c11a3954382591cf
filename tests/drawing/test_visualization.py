from __future__ import annotations

import re

import pytest

from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    NodeResult,
    VisualizationFormat,
    WorkflowPlan,
    WorkflowVisualizer,
)

ASCII, MERMAID = VisualizationFormat.ASCII, VisualizationFormat.MERMAID


def story() -> WorkflowPlan:
    children = [node("draft", "transform"), node("check", "validate", needs=["draft"])]
    return plan(
        node("facts", "analyze", description='Gather [all] "facts"\nfor the end of a long story'),
        node("texts", "composite", needs=["facts"], children=children),
        node("style-guide", description="style-guide"),
        id="story",
        estimated_total_duration=30,
    )


def half_done() -> ExecutionResult:
    result = ExecutionResult("story", ExecutionStatus.FAILED, total_duration=2, parallel_efficiency=0.35)
    result.add_node_result(NodeResult("facts", ExecutionStatus.COMPLETED, duration=1.5))
    result.add_node_result(NodeResult("draft", ExecutionStatus.FAILED, duration=0.8))
    result.add_node_result(NodeResult("check", ExecutionStatus.SKIPPED))
    return result


def test_a_plan_as_text() -> None:
    assert WorkflowVisualizer.generate_diagram(story()).splitlines() == [
        "Workflow Plan: story",
        "=" * 50,
        "Source Vibe: a test",
        "Estimated Duration: 30s",
        "",
        '├── ⏳ [analyze] Gather [all] "facts" for the end of a long story (facts)',
        "├── ⏳ [composite] do texts (texts)",
        "│   └─ Depends on: facts",
        "│   ├── ⏳ [transform] do draft (draft)",
        "│   └── ⏳ [validate] do check (check)",
        "│       └─ Depends on: draft",
        "└── ⏳ [generate] style-guide",
    ]


def test_a_run_as_text() -> None:
    lines = WorkflowVisualizer().generate_diagram(story(), half_done(), ASCII).splitlines()
    assert [line.split()[-4] for line in lines if "(draft)" in line] == ["[transform]"]
    assert [re.sub(r"[^✅❌⏳⏭️]", "", line) for line in lines if "[" in line] == ["✅", "⏳", "❌", "⏭️", "⏳"]
    assert lines[-6:] == [
        "Execution Summary:",
        "-" * 30,
        "Status: failed",
        "Completed: 1/3",
        "Duration: 2.30s",
        "Parallel Efficiency: 35.0%",
    ]


def test_a_run_as_mermaid() -> None:
    lines = WorkflowVisualizer.generate_diagram(story(), half_done(), MERMAID).splitlines()
    assert lines[:10] == [
        "graph TD",
        '    facts(["Gather [all] #quot;facts#quot; for the e..."]):::completed',
        "    texts[[do texts]]:::pending",
        "    draft{{do draft}}:::failed",
        "    check((do check)):::skipped",
        "    n_style_guide[style-guide]:::pending",
        "    facts --> texts",
        "    draft --> check",
        "    texts --> draft",
        "    texts --> check",
    ]
    assert [line.split()[1] for line in lines[11:]] == ["completed", "failed", "running", "skipped", "pending"]


@pytest.mark.parametrize("text", ["the end", 'a "b"', "a]b", "<b>", "ä", "", "a;b", "x --> y"])
def test_mermaid_quotes_what_it_would_misread(text: str) -> None:
    drawing = WorkflowVisualizer.generate_diagram(plan(node("a", description=text)), format=MERMAID)
    assert re.search(r'^    a\["[^"<>]*"\]:::pending$', drawing, re.MULTILINE)


@pytest.mark.parametrize("form", ["ascii", "mermaid"])
def test_a_plan_that_could_not_run_is_drawn(form: str) -> None:
    broken = plan(node("a", needs=["b", "nobody"]), node("b", needs=["a"]))
    assert "nobody" in WorkflowVisualizer.generate_diagram(broken, None, VisualizationFormat(form))


def test_an_empty_plan_has_no_branches() -> None:
    assert "─ " not in WorkflowVisualizer.generate_diagram(plan())
    assert WorkflowVisualizer.generate_diagram(plan(), format=MERMAID).startswith("graph TD\n")


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="Unsupported format: svg; expected ascii or mermaid"):
        WorkflowVisualizer.generate_diagram(plan(), format="svg")  # pyright: ignore[reportArgumentType]
