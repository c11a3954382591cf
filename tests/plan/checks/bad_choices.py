"""Bad plans with conditions, optional dependencies, choices of the best and fallbacks."""

from __future__ import annotations

HEAD = """\
id: p
source_vibe: {description: d}
root_nodes:
"""

CHOICES: dict[str, tuple[str, list[str]]] = {
    "a condition that is a truth value": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: true}
""",
        [
            "plan.yaml:5:75: node 'g', when: expected text, found True; put it in quotes",
        ],
    ),
    "a condition without quotes": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: {{ outputs.check.text }}}
""",
        [
            "plan.yaml:5:76: a key must be plain text; put a template ({{ ... }}) in quotes",
        ],
    ),
    "a condition without braces": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: outputs.check.text == 'x'}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: expected one expression that yields true or false, as in {{ "
                "outputs.check.score < 0.8 }}, found \"outputs.check.text == 'x'\" without braces; write {{ "
                "outputs.check.text == 'x' }}"
            ),
        ],
    ),
    "an empty condition": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: ''}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: expected one expression that yields true or false, as in {{ "
                "outputs.check.score < 0.8 }}, found '' without braces; leave 'when' out for a node that always "
                "runs"
            ),
        ],
    ),
    "a condition with text around it": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "if {{ outputs.check.text == 'x' }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: expected one expression that yields true or false, as in {{ "
                "outputs.check.score < 0.8 }}, found the text 'if ' beside it"
            ),
        ],
    ),
    "a condition of two expressions": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ outputs.check }} {{ inputs.y }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: expected one expression that yields true or false, as in {{ "
                "outputs.check.score < 0.8 }}, found 2 expressions"
            ),
        ],
    ),
    "a condition with a statement": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{% if outputs.check %}true{% endif %}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: expected one expression that yields true or false, as in {{ "
                "outputs.check.score < 0.8 }}, found a statement ({% ... %})"
            ),
        ],
    ),
    "a condition that does not parse": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ outputs.check.text == }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: unexpected 'end of print statement', in the template '{{ "
                "outputs.check.text == }}'"
            ),
        ],
    ),
    "a condition that names a filter that does not exist": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ outputs.check.text | lenght > 3 }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: No filter named 'lenght', in the template '{{ "
                "outputs.check.text | lenght > 3 }}'"
            ),
        ],
    ),
    "a condition that reads an undeclared node": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, when: "{{ outputs.check.text == 'x' }}"}
""",
        [
            (
                "plan.yaml:5:52: node 'g', when: the template names outputs.check, but 'check' is not a "
                "dependency of this node: it has no dependencies"
            ),
        ],
    ),
    "a condition that misspells a dependency": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ outputs.chekc.text == 'x' }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: the template names outputs.chekc, but 'chekc' is not a "
                "dependency of this node: its dependencies are check; did you mean 'check'?"
            ),
        ],
    ),
    "a condition that reads a part that is not there": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ outputs.check.score > 1 }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: outputs.check has no 'score'; it has text (the output of the "
                "tool 'template_fill')"
            ),
        ],
    ),
    "a condition that names an unknown input": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ inputs.publish }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: the template names inputs.publish, but the plan declares no "
                "inputs; declare them beside 'root_nodes', as in inputs: {publish: {type: string}}"
            ),
        ],
    ),
    "a condition that misspells a fact of the run": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ run.dat == 'x' }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: the template names run.dat, which is no fact of a run; did you "
                "mean 'date'?"
            ),
        ],
    ),
    "a condition that reads the vibe": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], when: "{{ vibe.style == 'x' }}"}
""",
        [
            (
                "plan.yaml:5:75: node 'g', when: the condition names 'vibe'; it can read outputs of "
                "dependencies, inputs and facts of the run; begin with outputs, inputs or run"
            ),
        ],
    ),
    "an optional dependency that nobody knows": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, optional_dependencies: [chekc]}
""",
        [
            "plan.yaml:5:70: node 'g', optional_dependencies[0]: unknown node 'chekc'; did you mean 'check'?",
        ],
    ),
    "an optional dependency that is a dependency too": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [check], optional_dependencies: [check]}
""",
        [
            (
                "plan.yaml:5:93: node 'g', optional_dependencies[0]: 'check' is among the dependencies already; "
                "name it in one of the two"
            ),
        ],
    ),
    "an optional dependency on the node itself": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, optional_dependencies: [g]}
""",
        [
            "plan.yaml:5:70: node 'g', optional_dependencies[0]: depends on itself: a cycle (g -> g)",
        ],
    ),
    "an optional dependency on a parent": (
        HEAD
        + """\
  - id: g
    type: composite
    description: d
    children:
      - {id: c, type: composite, description: d, optional_dependencies: [g]}
""",
        [
            (
                "plan.yaml:8:74: node 'c', optional_dependencies[0]: 'g' is above this node, which is skipped "
                "with it; name it in 'dependencies', or leave it out"
            ),
        ],
    ),
    "an optional dependency that closes a cycle": (
        HEAD
        + """\
  - {id: g, type: composite, description: d, dependencies: [h]}
  - {id: h, type: composite, description: d, optional_dependencies: [g]}
""",
        [
            "plan.yaml:5:70: node 'h', optional_dependencies[0]: a cycle: g -> h -> g",
        ],
    ),
    "optional dependencies that are text": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, optional_dependencies: check}
""",
        [
            "plan.yaml:5:69: node 'g', optional_dependencies: expected a list, found 'check'",
        ],
    ),
    "a misspelt field for optional dependencies": (
        HEAD
        + """\
  - {id: check, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, optional_dependency: [check]}
""",
        [
            ("plan.yaml:5:67: node 'g', optional_dependency: unknown field; did you mean 'optional_dependencies'?"),
        ],
    ),
    "a fallback that names nothing": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: {}}
""",
        [
            (
                "plan.yaml:5:79: node 'g', on_error: expected 'use', the id of a dependency whose output stands "
                "in, or 'value', found neither"
            ),
        ],
    ),
    "a fallback with both": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: {use: draft, value: x}}
""",
        [
            (
                "plan.yaml:5:79: node 'g', on_error: expected 'use', the id of a dependency whose output stands "
                "in, or 'value', found both; leave one of them out"
            ),
        ],
    ),
    "a fallback that is text": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: draft}
""",
        [
            "plan.yaml:5:79: node 'g', on_error: expected a mapping, found 'draft'",
        ],
    ),
    "a fallback on a node that is no dependency": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, on_error: {use: draft}}
""",
        [
            (
                "plan.yaml:5:62: node 'g', on_error.use: 'draft' is not a dependency of this node: it has no "
                "dependencies; add 'draft' to 'dependencies', or to 'optional_dependencies'"
            ),
        ],
    ),
    "a fallback that misspells a dependency": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: {use: drafft}}
""",
        [
            (
                "plan.yaml:5:85: node 'g', on_error.use: 'drafft' is not a dependency of this node: its "
                "dependencies are draft; did you mean 'draft'?"
            ),
        ],
    ),
    "a fallback on the node itself": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: {use: g}}
""",
        [
            (
                "plan.yaml:5:85: node 'g', on_error.use: a node cannot stand in for itself; name a dependency, "
                "or a 'value'"
            ),
        ],
    ),
    "a fallback with a template as its value": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: {value: {text: "{{ outputs.draft }}"}}}
""",
        [
            (
                "plan.yaml:5:94: node 'g', on_error.value.text: found a template; the value of a fallback is "
                "taken as it is written; name a dependency in 'use', or write the value out"
            ),
        ],
    ),
    "a fallback with a misspelt field": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: {vlaue: x}}
""",
        [
            "plan.yaml:5:87: node 'g', on_error.vlaue: unknown field; did you mean 'value'?",
        ],
    ),
    "a fallback by the id of a node that is a number": (
        HEAD
        + """\
  - {id: draft, type: transform, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}}
  - {id: g, type: composite, description: d, dependencies: [draft], on_error: {use: 7}}
""",
        [
            "plan.yaml:5:85: node 'g', on_error.use: expected text, found 7; put it in quotes",
        ],
    ),
    "variations without a number": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {criteria: [good]}
""",
        [
            "plan.yaml:8:14: node 'g', best_of.n: missing; it is required",
        ],
    ),
    "one variation": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 1, tool: check_text}
""",
        [
            "plan.yaml:8:18: node 'g', best_of.n: expected at least 2, found 1",
        ],
    ),
    "too many variations": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 100, tool: check_text}
""",
        [
            "plan.yaml:8:18: node 'g', best_of.n: expected at most 20, found 100",
        ],
    ),
    "variations by a rubric and a tool": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 3, criteria: [good], tool: check_text}
""",
        [
            (
                "plan.yaml:8:14: node 'g', best_of: expected 'criteria' for the tool 'judge', or another "
                "'tool', found both; leave one of them out"
            ),
        ],
    ),
    "variations of a node that does not generate": (
        HEAD
        + """\
  - id: g
    type: transform
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 3, tool: check_text}
""",
        [
            (
                "plan.yaml:8:14: node 'g', best_of: only generate nodes make variations, and this one is of "
                "type transform; leave it out"
            ),
        ],
    ),
    "variations scored by an unknown tool": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 3, tool: chekc_text}
""",
        [
            "plan.yaml:8:27: node 'g', best_of.tool: unknown tool 'chekc_text'; did you mean 'check_text'?",
        ],
    ),
    "variations scored with an unknown input": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 3, tool: check_text, tool_inputs: {min_wrods: 3}}
""",
        [
            ("plan.yaml:8:52: node 'g', best_of.tool_inputs.text: missing; the tool needs it (tool 'check_text')"),
            (
                "plan.yaml:8:64: node 'g', best_of.tool_inputs.min_wrods: unknown input; did you mean "
                "'min_words'? (tool 'check_text')"
            ),
        ],
    ),
    "variations scored by a template that misspells the variation": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 3, tool: check_text, tool_inputs: {text: "{{ outptu.text }}", min_words: 1}}
""",
        [
            (
                "plan.yaml:8:59: node 'g', best_of.tool_inputs.text: the template names 'outptu', which is not "
                "defined; did you mean 'output'?"
            ),
        ],
    ),
    "variations with a misspelt field": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 3, criterias: [good]}
""",
        [
            "plan.yaml:8:32: node 'g', best_of.criterias: unknown field; did you mean 'criteria'?",
        ],
    ),
    "variations judged by a rubric that is text": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: {n: 3, criteria: good}
""",
        [
            "plan.yaml:8:31: node 'g', best_of.criteria: expected a list, found 'good'",
        ],
    ),
    "a number in place of variations": (
        HEAD
        + """\
  - id: g
    type: generate
    description: d
    parameters: {tool: template_fill, tool_inputs: {template: x}}
    best_of: 3
""",
        [
            "plan.yaml:8:14: node 'g', best_of: expected a mapping, found 3",
        ],
    ),
}
