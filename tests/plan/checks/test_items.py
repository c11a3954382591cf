"""Each way in which a composite with `for_each` can be wrong, with the exact words that its author reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plan.test_bad_plans import compile_file
from vibe_prefect import PlanError

HEAD = """\
id: p
source_vibe: {description: d}
inputs: {list: {type: array}}
root_nodes:
  - {id: up, type: composite, description: d}
"""

EACH = """\
  - id: each
    type: composite
    description: d
    dependencies: [up]
    for_each: "{{ inputs.list }}"
    as: thing
    children:
      - id: child
        type: transform
        description: d
        parameters: {tool: template_fill, tool_inputs: {template: "{{ thing.name }}"}}
"""

CHILD = """\
      - id: child
        type: transform
        description: d
        parameters: {tool: template_fill, tool_inputs: {template: "{{ thing.name }}"}}
"""

KNOWN = "a template can name description, inputs, node_id, outputs, plan_id, run, thing, vibe"
BRACES = "; braces that are text are written {{ '{{' }}, or between {% raw %} and {% endraw %}"
EXAMPLE = "write one expression that yields a list, such as {{ outputs.outline.shots }}"

CASES: dict[str, tuple[str, list[str]]] = {
    "for_each on a node that is no composite": (
        "  - {id: a, type: analyze, description: d, for_each: '{{ inputs.list }}'}\n",
        [
            (
                "1 node has no tool, no handler and no model to run them: 'a'; name a tool in parameters.tool, configure a "
                "model (set VIBE_PREFECT_MODEL or PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS, such as openai:gpt-5-mini, and "
                "the provider's key), or simulate the run"
            ),
            "node 'a', for_each: only a composite can have for_each, and this node is of the type analyze; put it below a composite that has it",
        ],
    ),
    "nothing to run": (
        EACH.replace("    children:\n" + CHILD, ""),
        ["node 'each', for_each: there is nothing to run for each item; give the composite children"],
    ),
    "a tool on the composite": (
        EACH.replace("    as: thing\n", "    as: thing\n    parameters: {tool: combine}\n"),
        [
            (
                "node 'each', parameters.tool: a composite with for_each gathers what its children make and runs no tool; "
                "let a node that depends on it run the tool"
            )
        ],
    ),
    "as without for_each": (
        EACH.replace('    for_each: "{{ inputs.list }}"\n', ""),
        ["node 'each', as: 'as' needs for_each; add it, or leave this out"],
    ),
    "key, max_items, concurrency and min_completed without for_each": (
        "  - {id: a, type: composite, description: d, key: x, max_items: 2, concurrency: 1, min_completed: 0}\n",
        [
            f"node 'a', {name}: '{name}' needs for_each; add it, or leave this out"
            for name in ("key", "max_items", "concurrency", "min_completed")
        ],
    ),
    "a text for a list": (
        EACH.replace("{{ inputs.list }}", "a, b"),
        [f"node 'each', for_each: expected a list, found the text 'a, b'; {EXAMPLE}"],
    ),
    "an expression within a text": (
        EACH.replace("{{ inputs.list }}", "x {{ inputs.list }}"),
        [f"node 'each', for_each: expected a list, found the text 'x {{{{ inputs.list }}}}'; {EXAMPLE}"],
    ),
    "a list of a node that it does not depend on": (
        EACH.replace("inputs.list", "outputs.down.x"),
        [
            (
                "node 'each', for_each: the template names outputs.down, but 'down' is not a dependency of this node: its "
                "dependencies are up"
            )
        ],
    ),
    "a list of an input that is not declared": (
        EACH.replace("inputs.list", "inputs.lists"),
        [
            "node 'each', for_each: the template names inputs.lists, which is not among the plan's inputs; did you mean 'list'?"
        ],
    ),
    "a list that does not parse": (
        EACH.replace("{{ inputs.list }}", "{{ inputs.list"),
        [
            (
                "node 'each', for_each: unexpected end of template, expected 'end of print statement', in the template "
                f"'{{{{ inputs.list'{BRACES}"
            )
        ],
    ),
    "a misspelt item": (
        EACH.replace('{template: "{{ thing', "{path: '{{ item.id }}', content: \"{{ thing").replace(
            "template_fill", "write_file"
        ),
        [
            f"node 'child', parameters.tool_inputs.path: the template names 'item', which is not defined; {KNOWN}{BRACES}"
        ],
    ),
    "an item outside of its list": (
        EACH
        + "  - {id: outside, type: transform, description: d, parameters: {tool: write_file, tool_inputs: {path: a.txt, "
        "content: '{{ thing }}'}}}\n",
        [
            (
                "node 'outside', parameters.tool_inputs.content: the template names 'thing', which is not defined; "
                f"{KNOWN.replace('thing, ', '')}{BRACES}"
            )
        ],
    ),
    "an item named like another name": (
        EACH.replace("as: thing", "as: inputs").replace("thing.name", "inputs.list"),
        ["node 'each', as: templates have another 'inputs'; choose another name, such as 'item'"],
    ),
    "an item name that no template could have": (
        EACH.replace("as: thing", "as: my-thing"),
        ["node 'each', as: 'my-thing' is not a valid name of an item; write 'my_thing'"],
    ),
    "a list in a list with items of one name": (
        EACH.replace(
            CHILD,
            "      - id: inner\n        type: composite\n        description: d\n        as: thing\n"
            "        for_each: '{{ [1] }}'\n        children: [{id: child, type: composite, description: d}]\n",
        ),
        [
            "node 'inner', as: a composite around this one calls its items 'thing' too; give one of them another name with 'as'"
        ],
    ),
    "a key that names all items alike": (
        EACH.replace("    as: thing\n", "    as: thing\n    key: shot\n"),
        ["node 'each', key: 'shot' would name all items alike; name a part of the item, such as {{ thing.id }}"],
    ),
    "a key of another name": (
        EACH.replace("    as: thing\n", "    as: thing\n    key: '{{ item.id }}'\n"),
        [f"node 'each', key: the template names 'item', which is not defined; {KNOWN}{BRACES}"],
    ),
    "more completed than there may be": (
        EACH.replace("    as: thing\n", "    as: thing\n    max_items: 2\n    min_completed: 3\n"),
        ["node 'each', min_completed: 3 items can never complete: max_items is 2"],
    ),
    "no items at most": (
        EACH.replace("    as: thing\n", "    as: thing\n    max_items: 0\n"),
        ["node 'each', max_items: expected at least 1, found 0"],
    ),
    "a child that depends on its list": (
        EACH.replace("        parameters:", "        dependencies: [each]\n        parameters:"),
        [
            (
                "node 'child', dependencies[0]: depends on 'each', which gathers what it makes: a cycle; name the item in "
                "place of the list"
            )
        ],
    ),
    "a node that depends on a node of an item": (
        EACH + "  - {id: after, type: composite, description: d, dependencies: [child]}\n",
        [
            (
                "node 'after', dependencies[0]: depends on 'child', which runs once for each item of 'each'; depend on "
                "'each', whose output is the list of all of them"
            )
        ],
    ),
    "a part that the items' outputs do not have": (
        EACH
        + "  - {id: after, type: transform, description: d, dependencies: [each], parameters: {tool: template_fill, "
        "tool_inputs: {template: '{{ outputs.each[0].childish }}'}}}\n",
        [
            (
                "node 'after', parameters.tool_inputs.template: outputs.each[0] has no 'childish'; did you mean 'child'? (the "
                "output of a composite with for_each: a list, an object for each item)"
            )
        ],
    ),
    "one path for all items": (
        EACH.replace("template_fill, tool_inputs: {template: ", "write_file, tool_inputs: {path: a.txt, content: "),
        [
            (
                "node 'child', parameters.tool_inputs.path: each item would write 'a.txt'; put a part of the item into the "
                "path, such as {{ thing.id }}"
            )
        ],
    ),
    "a cycle through a list": (
        EACH.replace("dependencies: [up]", "dependencies: [after]")
        + "  - {id: after, type: composite, description: d, dependencies: [each]}\n",
        ["node 'after', dependencies[0]: a cycle: each -> after -> each"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_list_is_refused_in_words(case: str, folder: Path) -> None:
    text, expected = CASES[case]
    (folder / "plan.yaml").write_text(HEAD + text)
    with pytest.raises(PlanError) as caught:
        compile_file("plan.yaml")
    assert [str(problem).partition(": ")[2] for problem in caught.value.problems] == expected


def test_a_node_below_one_of_its_own_id_is_refused_and_not_followed_for_ever(folder: Path) -> None:
    (folder / "plan.yaml").write_text(
        HEAD
        + "  - {id: a, type: composite, description: d, children: ["
        + "{id: a, type: composite, description: d, children: [{id: b, type: composite, description: d}]}]}\n"
    )
    with pytest.raises(PlanError, match="duplicate id"):
        compile_file("plan.yaml")
