"""Plans for runs that a worker executes: real tools, real waiting, nothing simulated unless it says so."""

from __future__ import annotations

from typing import Any

Plan = dict[str, Any]


def tool(id: str, name: str, inputs: dict[str, Any], *needs: str, **fields: Any) -> dict[str, Any]:
    parameters = {"tool": name, "tool_inputs": inputs}
    return {
        "id": id,
        "type": "transform",
        "description": f"do {id}",
        "dependencies": list(needs),
        "parameters": parameters,
        **fields,
    }


def plan(id: str, *nodes: dict[str, Any]) -> Plan:
    return {"id": id, "source_vibe": {"description": f"the plan {id}"}, "root_nodes": list(nodes)}


def written(id: str) -> Plan:
    """A parent and its child, which write a file each."""
    child = tool("child", "write_file", {"path": "child.txt", "content": "from the child"})
    return plan(id, tool("parent", "write_file", {"path": "parent.txt", "content": "hello"}, children=[child]))


def chains(id: str, count: int, length: int) -> Plan:
    """Chains side by side; when simulated, each node takes 0.1 s."""
    return plan(
        id,
        *(
            {
                "id": f"c{chain}-{index}",
                "type": "analyze",
                "description": "look",
                "dependencies": [f"c{chain}-{index - 1}"] if index else [],
            }
            for chain in range(count)
            for index in range(length)
        ),
    )


def incomplete(id: str) -> Plan:
    """A plan of which the middle node fails until there is a file late.txt."""
    return plan(
        id,
        tool("first", "write_file", {"path": "first.txt", "content": "made once"}),
        tool("late", "read_text", {"path": "late.txt"}, "first"),
        tool("last", "write_file", {"path": "last.txt", "content": "{{ outputs.late.text }}"}, "late"),
    )
