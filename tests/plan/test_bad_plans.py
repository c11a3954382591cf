"""Each way in which a plan file can be wrong, with the exact words that its author reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plan.checks.bad_choices import CHOICES
from vibe_prefect import PlanError, compile_plan, default_registry, load_plan
from vibe_prefect.plan.compiler import whole_error

HEAD = """\
id: p
source_vibe: {description: d}
root_nodes:
"""

EMPTY = HEAD.replace("root_nodes:", "root_nodes: []")

FILL = """\
  - {{id: a, type: transform, description: d, parameters: {{tool: template_fill, tool_inputs: {{template: "{}"}}}}}}
"""

BRACES = "; braces that are text are written {{ '{{' }}, or between {% raw %} and {% endraw %}"

ID_RULE = "use letters, digits, '.', '_' and '-', at most 100, the first a letter or a digit"

CASES: dict[str, tuple[str, list[str]]] = {
    "an empty file": (
        "",
        ["expected a plan (a mapping with 'id'), found nothing"],
    ),
    "only a comment": (
        "# nothing\n",
        ["expected a plan (a mapping with 'id'), found nothing"],
    ),
    "a list instead of a plan": (
        """\
- a
- b
""",
        ["expected a plan (a mapping with 'id'), found a list"],
    ),
    "text instead of a plan": (
        "hello\n",
        ["expected a plan (a mapping with 'id'), found text"],
    ),
    "a number instead of a plan": (
        "42\n",
        ["expected a plan (a mapping with 'id'), found a number"],
    ),
    "broken YAML indentation": (
        """\
id: p
  source_vibe: x
""",
        ["plan.yaml:2:14: not YAML: mapping values are not allowed here"],
    ),
    "an unclosed quote": (
        'id: "p\n',
        ["plan.yaml:2:1: not YAML: while scanning a quoted scalar found unexpected end of stream"],
    ),
    "an unclosed bracket": (
        "id: [p\n",
        ["plan.yaml:2:1: not YAML: while parsing a flow sequence expected ',' or ']', but got '<stream end>'"],
    ),
    "a tab as indentation": (
        "id: p\nsource_vibe:\n\tdescription: d\n",
        [
            "plan.yaml:3:1: not YAML: while scanning for the next token found character '\\t' that cannot start any token"
        ],
    ),
    "a key twice": (
        """\
id: p
id: q
source_vibe: {description: d}
""",
        ["plan.yaml:2:1: the key 'id' stands here twice"],
    ),
    "a key that is a list": (
        """\
? [a]
: b
""",
        ["plan.yaml:1:3: a key must be plain text"],
    ),
    "a merge key": (
        """\
id: p
source_vibe: &v {description: d}
root_nodes:
  - <<: *v
""",
        ["plan.yaml:4:5: merge keys (<<) are not supported; write the values out"],
    ),
    "an unknown alias": (
        "id: *nope\n",
        ["plan.yaml:1:5: not YAML: found undefined alias 'nope'"],
    ),
    "two documents": (
        """\
id: p
---
id: q
""",
        ["plan.yaml:2:1: not YAML: expected a single document in the stream but found another document"],
    ),
    "broken JSON": (
        '{"id": "p",}',
        ["plan.json:1:11: not JSON: trailing comma is not allowed"],
    ),
    "JSON cut short": (
        '{"id": "p"',
        ["plan.json:1:11: not JSON: unexpected end of data"],
    ),
    "JSON of another shape": (
        "[1, 2]",
        ["expected a plan (a mapping with 'id'), found a list"],
    ),
    "an unknown type in JSON": (
        '{"id": "p", "source_vibe": {"description": "d"},\n "root_nodes": [{"id": "a", "type": "paint", "description": "d"}]}',
        [
            "plan.json:2:37: node 'a', type: expected one of analyze, generate, transform, validate, composite, found 'paint'"
        ],
    ),
    "no id and no vibe": (
        "root_nodes: []\n",
        ["plan.yaml:1:1: id: missing; it is required", "plan.yaml:1:1: source_vibe: missing; it is required"],
    ),
    "a plan field misspelt": (
        """\
id: p
source_vibe: {description: d}
root_node:
  []
""",
        ["plan.yaml:4:3: root_node: unknown field; did you mean 'root_nodes'?"],
    ),
    "a vibe without description": (
        """\
id: p
source_vibe: {style: x}
root_nodes: []
""",
        ["plan.yaml:2:14: source_vibe.description: missing; it is required"],
    ),
    "a vibe that is text": (
        """\
id: p
source_vibe: a film
root_nodes: []
""",
        ["plan.yaml:2:14: source_vibe: expected a mapping, found 'a film'"],
    ),
    "a vibe field misspelt": (
        """\
id: p
source_vibe: {description: d, constraint: [a]}
root_nodes: []
""",
        ["plan.yaml:2:43: source_vibe.constraint: unknown field; did you mean 'constraints'?"],
    ),
    "root_nodes is a mapping": (
        """\
id: p
source_vibe: {description: d}
root_nodes: {a: 1}
""",
        ["plan.yaml:3:13: root_nodes: expected a list, found {'a': 1}"],
    ),
    "a bad plan id": (
        """\
id: ../p
source_vibe: {description: d}
root_nodes: []
""",
        [f"plan.yaml:1:5: id: '../p' is not a valid id; {ID_RULE}"],
    ),
    "an empty plan id": (
        """\
id: ''
source_vibe: {description: d}
root_nodes: []
""",
        [f"plan.yaml:1:5: id: '' is not a valid id; {ID_RULE}"],
    ),
    "a node that is text": (
        HEAD + "  - just text\n",
        ["plan.yaml:4:5: root_nodes[0]: expected a mapping, found 'just text'"],
    ),
    "a node without id": (
        HEAD + "  - {type: generate, description: d}\n",
        ["plan.yaml:4:5: root_nodes[0].id: missing; it is required"],
    ),
    "a node without type and description": (
        HEAD + "  - {id: a}\n",
        [
            "plan.yaml:4:5: node 'a', type: missing; it is required",
            "plan.yaml:4:5: node 'a', description: missing; it is required",
        ],
    ),
    "an unknown node type": (
        HEAD + "  - {id: a, type: generat, description: d}\n",
        [
            "plan.yaml:4:19: node 'a', type: expected one of analyze, generate, transform, validate, composite, found 'generat'; did you mean 'generate'?"
        ],
    ),
    "a node field misspelt": (
        HEAD + "  - {id: a, type: composite, description: d, dependancies: [b]}\n",
        ["plan.yaml:4:60: node 'a', dependancies: unknown field; did you mean 'dependencies'?"],
    ),
    "a node id with a space": (
        HEAD + "  - {id: a b, type: composite, description: d}\n",
        [f"plan.yaml:4:10: node 'a b', id: 'a b' is not a valid id; {ID_RULE}"],
    ),
    "a node id with a slash": (
        HEAD + "  - {id: a/b, type: composite, description: d}\n",
        [f"plan.yaml:4:10: node 'a/b', id: 'a/b' is not a valid id; {ID_RULE}"],
    ),
    "a node id that starts with a dot": (
        HEAD + "  - {id: .a, type: composite, description: d}\n",
        [f"plan.yaml:4:10: node '.a', id: '.a' is not a valid id; {ID_RULE}"],
    ),
    "a node id that is too long": (
        HEAD + "  - {id: " + "x" * 130 + ", type: composite, description: d}\n",
        [
            f"plan.yaml:4:10: node 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..., id: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'... (130 characters) is not a valid id; {ID_RULE}"
        ],
    ),
    "a node id that is a number": (
        HEAD + "  - {id: 7, type: composite, description: d}\n",
        ["plan.yaml:4:10: root_nodes[0].id: expected text, found 7; put it in quotes"],
    ),
    "a duplicate id": (
        HEAD
        + """\
  - {id: a, type: composite, description: d}
  - id: b
    type: composite
    description: d
    children: [{id: a, type: composite, description: d}]
""",
        ["plan.yaml:8:21: node 'a', id: duplicate id; the first is at plan.yaml:4:10"],
    ),
    "an unknown dependency": (
        HEAD
        + """\
  - {id: digest, type: composite, description: d}
  - {id: b, type: composite, description: d, dependencies: [digst]}
""",
        ["plan.yaml:5:61: node 'b', dependencies[0]: unknown node 'digst'; did you mean 'digest'?"],
    ),
    "an unknown dependency unlike any id": (
        HEAD + "  - {id: b, type: composite, description: d, dependencies: [zzz]}\n",
        ["plan.yaml:4:61: node 'b', dependencies[0]: unknown node 'zzz'"],
    ),
    "dependencies as text": (
        HEAD + "  - {id: b, type: composite, description: d, dependencies: a}\n",
        ["plan.yaml:4:60: node 'b', dependencies: expected a list, found 'a'"],
    ),
    "a dependency on itself": (
        HEAD + "  - {id: a, type: composite, description: d, dependencies: [a]}\n",
        ["plan.yaml:4:61: node 'a', dependencies[0]: depends on itself: a cycle (a -> a)"],
    ),
    "a dependency on a descendant": (
        HEAD
        + """\
  - id: a
    type: composite
    description: d
    dependencies: [c]
    children:
      - id: b
        type: composite
        description: d
        children: [{id: c, type: composite, description: d}]
""",
        ["plan.yaml:7:20: node 'a', dependencies[0]: depends on its own descendant 'c': a cycle (a -> c -> b -> a)"],
    ),
    "a cycle of two": (
        HEAD
        + """\
  - {id: a, type: composite, description: d, dependencies: [b]}
  - {id: b, type: composite, description: d, dependencies: [a]}
""",
        ["plan.yaml:5:61: node 'b', dependencies[0]: a cycle: a -> b -> a"],
    ),
    "a cycle of three": (
        HEAD
        + """\
  - {id: a, type: composite, description: d, dependencies: [c]}
  - {id: b, type: composite, description: d, dependencies: [a]}
  - {id: c, type: composite, description: d, dependencies: [b]}
""",
        ["plan.yaml:5:61: node 'b', dependencies[0]: a cycle: a -> c -> b -> a"],
    ),
    "a cycle through a subtree": (
        HEAD
        + """\
  - {id: x, type: composite, description: d, dependencies: [p]}
  - id: p
    type: composite
    description: d
    children: [{id: c, type: composite, description: d, dependencies: [x]}]
""",
        ["plan.yaml:8:72: node 'c', dependencies[0]: a cycle: x -> p -> c -> x"],
    ),
    "two cycles": (
        HEAD
        + """\
  - {id: a, type: composite, description: d, dependencies: [b]}
  - {id: b, type: composite, description: d, dependencies: [a]}
  - {id: c, type: composite, description: d, dependencies: [d]}
  - {id: d, type: composite, description: d, dependencies: [c]}
""",
        [
            "plan.yaml:5:61: node 'b', dependencies[0]: a cycle: a -> b -> a",
            "plan.yaml:7:61: node 'd', dependencies[0]: a cycle: c -> d -> c",
        ],
    ),
    "a negative estimate": (
        HEAD + "  - {id: a, type: composite, description: d, estimated_duration: -1}\n",
        ["plan.yaml:4:66: node 'a', estimated_duration: expected at least 0.0, found -1"],
    ),
    "an infinite estimate": (
        HEAD + "  - {id: a, type: composite, description: d, estimated_duration: .inf}\n",
        ["plan.yaml:4:66: node 'a', estimated_duration: expected a finite number, found inf"],
    ),
    "an estimate in words": (
        HEAD + "  - {id: a, type: composite, description: d, estimated_duration: soon}\n",
        ["plan.yaml:4:66: node 'a', estimated_duration: expected a number, found 'soon'"],
    ),
    "a policy field misspelt": (
        HEAD + "  - {id: a, type: composite, description: d, policy: {retrys: 1}}\n",
        ["plan.yaml:4:63: node 'a', policy.retrys: unknown field; did you mean 'retries'?"],
    ),
    "fresh content that nobody can say": (
        HEAD
        + """\
  - {id: a, type: generate, description: d, parameters: {tool: template_fill, tool_inputs: {template: x}}, policy: {fresh: content}}
  - {id: b, type: composite, description: d, policy: {fresh: content}}
  - {id: c, type: analyze, description: d, dependencies: [a], parameters: {tool: read_text, tool_inputs: {path: "{{ outputs.a.text }}"}}, policy: {fresh: content}}
  - {id: e, type: analyze, description: d, parameters: {tool: read_text, tool_inputs: {path: x}}, policy: {fresh: always}}
""",
        [
            "plan.yaml:4:124: node 'a', policy.fresh: the tool 'template_fill' cannot say the content that it reads; leave 'fresh' out",
            "plan.yaml:5:62: node 'b', policy.fresh: this node, which no tool runs, cannot say the content that it reads; leave 'fresh' out",
            "plan.yaml:6:155: node 'c', policy.fresh: what it reads is only known during the run, since path names outputs.a; name inputs alone, or leave 'fresh' out",
            "plan.yaml:7:115: node 'e', policy.fresh: input should be 'content', found 'always'",
        ],
    ),
    "too many retries": (
        HEAD + "  - {id: a, type: composite, description: d, policy: {retries: 51}}\n",
        ["plan.yaml:4:64: node 'a', policy.retries: expected at most 50, found 51"],
    ),
    "a timeout of nothing": (
        HEAD + "  - {id: a, type: composite, description: d, policy: {timeout: 0}}\n",
        ["plan.yaml:4:64: node 'a', policy.timeout: expected more than 0.0, found 0"],
    ),
    "parameters that are a list": (
        HEAD + "  - {id: a, type: composite, description: d, parameters: [1]}\n",
        ["plan.yaml:4:58: node 'a', parameters: expected a mapping, found [1]"],
    ),
    "nothing runs a node": (
        HEAD + "  - {id: a, type: generate, description: d}\n",
        [
            "plan.yaml:4:5: 1 node has no tool, no handler and no model to run them: 'a'; name a tool in parameters.tool, configure a model (set VIBE_PREFECT_MODEL or PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS, such as openai:gpt-5-mini, and the provider's key), or simulate the run"
        ],
    ),
    "nothing runs three nodes": (
        HEAD
        + """\
  - {id: a, type: analyze, description: d}
  - {id: b, type: generate, description: d}
  - {id: c, type: validate, description: d}
""",
        [
            "plan.yaml:4:5: 3 nodes have no tool, no handler and no model to run them: 'a', 'b', 'c'; name a tool in parameters.tool, configure a model (set VIBE_PREFECT_MODEL or PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS, such as openai:gpt-5-mini, and the provider's key), or simulate the run"
        ],
    ),
    "an unknown tool": (
        HEAD + "  - {id: a, type: generate, description: d, parameters: {tool: template_fil}}\n",
        ["plan.yaml:4:64: node 'a', parameters.tool: unknown tool 'template_fil'; did you mean 'template_fill'?"],
    ),
    "an unknown tool unlike any": (
        HEAD + "  - {id: a, type: generate, description: d, parameters: {tool: zzz}}\n",
        [
            "plan.yaml:4:64: node 'a', parameters.tool: unknown tool 'zzz'; registered tools: approve, check_audio, check_image, check_json, check_links, check_text, combine, image_card, judge_or_pass, llm_or_template, read_text, template_fill, write_file; a file with tools of your own is named by --tools or PREFECT_INTEGRATIONS_VIBE_PREFECT_TOOLS"
        ],
    ),
    "a tool that is a list": (
        HEAD + "  - {id: a, type: generate, description: d, parameters: {tool: [combine]}}\n",
        ["plan.yaml:4:64: node 'a', parameters.tool: expected a tool's name, found ['combine']"],
    ),
    "tool inputs that are a list": (
        HEAD + "  - {id: a, type: generate, description: d, parameters: {tool: combine, tool_inputs: [1]}}\n",
        ["plan.yaml:4:86: node 'a', parameters.tool_inputs: expected a mapping of inputs, found [1]"],
    ),
    "a missing tool input": (
        HEAD
        + "  - {id: a, type: generate, description: d, parameters: {tool: write_file, tool_inputs: {content: x}}}\n",
        ["plan.yaml:4:89: node 'a', parameters.tool_inputs.path: missing; the tool needs it (tool 'write_file')"],
    ),
    "an unknown tool input": (
        HEAD
        + "  - {id: a, type: generate, description: d, parameters: {tool: write_file, tool_inputs: {content: x, path: y, pth: z}}}\n",
        [
            "plan.yaml:4:116: node 'a', parameters.tool_inputs.pth: unknown input; did you mean 'path'? (tool 'write_file')"
        ],
    ),
    "a tool input of the wrong type": (
        HEAD
        + "  - {id: a, type: generate, description: d, parameters: {tool: image_card, tool_inputs: {title: x, width: wide}}}\n",
        [
            "plan.yaml:4:107: node 'a', parameters.tool_inputs.width: expected a whole number, found 'wide' (tool 'image_card')"
        ],
    ),
    "a tool input out of range": (
        HEAD
        + "  - {id: a, type: generate, description: d, parameters: {tool: image_card, tool_inputs: {title: x, width: 1}}}\n",
        ["plan.yaml:4:107: node 'a', parameters.tool_inputs.width: expected at least 64, found 1 (tool 'image_card')"],
    ),
    "a template that does not parse": (
        HEAD
        + "  - {id: a, type: generate, description: d, parameters: {tool: write_file, tool_inputs: {path: x, content: '{{ 1'}}}\n",
        [
            "plan.yaml:4:108: node 'a', parameters.tool_inputs.content: unexpected end of template, expected 'end of print statement', in the template '{{ 1'"
            + BRACES
        ],
    ),
    "a template that names a node that is no dependency": (
        HEAD
        + """\
  - {id: a, type: composite, description: d}
  - {id: b, type: generate, description: d, parameters: {tool: write_file, tool_inputs: {path: x, content: '{{ outputs.a }}'}}}
""",
        [
            "plan.yaml:5:108: node 'b', parameters.tool_inputs.content: the template names outputs.a, but 'a' is not a dependency of this node: it has no dependencies"
        ],
    ),
    "a template that misspells a dependency": (
        HEAD
        + """\
  - {id: digest, type: composite, description: d}
  - {id: b, type: generate, description: d, dependencies: [digest], parameters: {tool: write_file, tool_inputs: {path: x, content: '{{ outputs.digst }}'}}}
""",
        [
            "plan.yaml:5:132: node 'b', parameters.tool_inputs.content: the template names outputs.digst, but 'digst' is not a dependency of this node: its dependencies are digest; did you mean 'digest'?"
        ],
    ),
    "a template that subtracts": (
        HEAD
        + """\
  - {id: blog-post, type: composite, description: d}
  - {id: b, type: generate, description: d, dependencies: [blog-post], parameters: {tool: write_file, tool_inputs: {path: x, content: '{{ outputs.blog-post.text }}'}}}
""",
        [
            "plan.yaml:5:135: node 'b', parameters.tool_inputs.content: the template reads outputs.blog-post as a subtraction; write outputs['blog-post']"
        ],
    ),
    "a template that names what is not there": (
        HEAD
        + "  - {id: a, type: generate, description: d, parameters: {tool: write_file, tool_inputs: {path: x, content: '{{ vib.style }}'}}}\n",
        [
            "plan.yaml:4:108: node 'a', parameters.tool_inputs.content: the template names 'vib', which is not defined; did you mean 'vibe'?"
            + BRACES
        ],
    ),
    "inputs that are a list": (
        EMPTY + "inputs: [product]\n",
        ["plan.yaml:4:9: inputs: expected a mapping, found ['product']"],
    ),
    "an input that is a word": (
        EMPTY + "inputs: {product: string}\n",
        ["plan.yaml:4:19: inputs.product: expected a mapping, found 'string'"],
    ),
    "an input of an unknown type": (
        EMPTY + "inputs: {product: {type: strings}}\n",
        [
            (
                "plan.yaml:4:26: inputs.product.type: expected one of string, integer, number, boolean, array, object, null, "
                "found 'strings'; did you mean 'string'?"
            )
        ],
    ),
    "an input whose name has a dash": (
        EMPTY + "inputs: {product-name: {type: string}}\n",
        [
            "plan.yaml:4:24: inputs.product-name: 'product-name' is not a valid name of an input; write 'product_name'",
        ],
    ),
    "an input whose name begins with a digit": (
        EMPTY + "inputs: {1st: {type: string}}\n",
        [
            (
                "plan.yaml:4:15: inputs.1st: '1st' is not a valid name of an input; use letters, digits and '_', at most 100, "
                "the first a letter"
            )
        ],
    ),
    "an input whose default does not fit": (
        EMPTY + "inputs: {words: {type: integer, default: many}}\n",
        ["plan.yaml:4:42: inputs.words.default: 'many' is not of type 'integer'"],
    ),
    "an input whose default has an item that does not fit": (
        EMPTY + "inputs: {locales: {type: array, items: {enum: [en, de]}, default: [en, xx]}}\n",
        ["plan.yaml:4:72: inputs.locales.default[1]: 'xx' is not one of ['en', 'de']"],
    ),
    "an input that refers elsewhere": (
        EMPTY + "inputs: {product: {$ref: 'https://example.com/product.json'}}\n",
        ["plan.yaml:4:26: inputs.product.$ref: the schema of an input cannot have '$ref'; write the schema out"],
    ),
    "an input with a bad pattern": (
        EMPTY + "inputs: {product: {type: string, pattern: '('}}\n",
        ["plan.yaml:4:43: inputs.product.pattern: pattern '(' is not a regular expression: missing ) at position 1"],
    ),
    "an input with a bound that is a word": (
        EMPTY + "inputs: {words: {type: integer, minimum: few}}\n",
        ["plan.yaml:4:42: inputs.words.minimum: not a JSON Schema: 'few' is not of type 'number'"],
    ),
    "a template that misspells an input": (
        "inputs: {product: {type: string}}\n" + HEAD + FILL.format("{{ inputs.prodduct }}"),
        [
            (
                "plan.yaml:5:104: node 'a', parameters.tool_inputs.template: the template names inputs.prodduct, which is not "
                "among the plan's inputs; did you mean 'product'?"
            )
        ],
    ),
    "a template that names an input of a plan without inputs": (
        HEAD + FILL.format("{{ inputs.product }}"),
        [
            (
                "plan.yaml:4:104: node 'a', parameters.tool_inputs.template: the template names inputs.product, but the plan "
                "declares no inputs; declare them beside 'root_nodes', as in inputs: {product: {type: string}}"
            )
        ],
    ),
    "a template that names a part which an input cannot have": (
        "inputs: {brand: {type: object, properties: {name: {type: string}}, additionalProperties: false}}\n"
        + HEAD
        + FILL.format("{{ inputs.brand.nam }}"),
        [
            "plan.yaml:5:104: node 'a', parameters.tool_inputs.template: inputs.brand has no 'nam'; did you mean 'name'?",
        ],
    ),
    "a template that misspells a fact of the run": (
        HEAD + FILL.format("{{ run.dat }}"),
        [
            (
                "plan.yaml:4:104: node 'a', parameters.tool_inputs.template: the template names run.dat, which is no fact of a "
                "run; did you mean 'date'?"
            )
        ],
    ),
    "a misspelt field for the inputs": (
        "input: {product: {type: string}}\n" + HEAD + FILL.format("{{ inputs.product }}"),
        ["plan.yaml:1:8: input: unknown field; did you mean 'inputs'?"],
    ),
    "an approval of nothing": (
        HEAD
        + """\
  - {id: a, type: validate, description: d, parameters: {tool: approve}}
""",
        [
            "plan.yaml:4:5: node 'a', dependencies: there is nothing to show; name the nodes whose outputs are to be approved (tool 'approve')",
        ],
    ),
    "a default answer that never counts": (
        HEAD
        + FILL.format("t")
        + """\
  - {id: b, type: validate, description: d, dependencies: [a], parameters: {tool: approve, tool_inputs: {on_timeout: approve}}}
""",
        [
            "plan.yaml:5:118: node 'b', parameters.tool_inputs.on_timeout: it never counts without `timeout_hours`; add `timeout_hours`, or leave `on_timeout` out (tool 'approve')",
        ],
    ),
    "an approval with wrong inputs": (
        HEAD
        + FILL.format("t")
        + """\
  - {id: b, type: validate, description: d, dependencies: [a], parameters: {tool: approve, tool_inputs: {timeout_hours: 0, on_timeout: accept, questions: x}}}
""",
        [
            "plan.yaml:5:121: node 'b', parameters.tool_inputs.timeout_hours: expected more than 0.0, found 0 (tool 'approve')",
            "plan.yaml:5:136: node 'b', parameters.tool_inputs.on_timeout: input should be 'approve' or 'reject', found 'accept' (tool 'approve')",
            "plan.yaml:5:155: node 'b', parameters.tool_inputs.questions: unknown input; did you mean 'question'? (tool 'approve')",
        ],
    ),
    "many problems at once": (
        HEAD
        + """\
  - {id: a, type: composite, description: d, dependencies: [b, nope]}
  - {id: b, type: composite, description: d, dependencies: [a]}
  - {id: a, type: composite, description: d}
  - {id: c, type: paint, description: d}
""",
        [
            "plan.yaml:4:64: node 'a', dependencies[1]: unknown node 'nope'",
            "plan.yaml:5:61: node 'b', dependencies[0]: a cycle: a -> b -> a",
            "plan.yaml:6:10: node 'a', id: duplicate id; the first is at plan.yaml:4:10",
            "plan.yaml:7:19: node 'c', type: expected one of analyze, generate, transform, validate, composite, found 'paint'",
        ],
    ),
}

CASES.update(CHOICES)


def compile_file(name: str) -> None:
    tools = default_registry()
    try:
        loaded = load_plan(name)
    except PlanError as error:
        raise whole_error(error, tools=tools) from None
    compile_plan(loaded.plan, source=loaded.source, tools=tools)


@pytest.mark.parametrize("name", CASES)
def test_a_bad_plan_is_told_in_these_words(name: str, folder: Path) -> None:
    text, expected = CASES[name]
    path = folder / ("plan.json" if "JSON" in name else "plan.yaml")
    path.write_text(text)
    with pytest.raises(PlanError) as caught:
        compile_file(path.name)
    problems = caught.value.problems
    assert [str(problem) for problem in problems] == expected
    hinted = [problem for problem in problems if problem.hint]
    assert all(f"; {problem.hint}" in problem.message for problem in hinted)
    assert all("did you mean" not in problem.without_hint for problem in problems)


HINTS = {
    "an unknown tool input": "did you mean 'path'?",
    "a template that misspells a dependency": "did you mean 'digest'?",
    "a template that subtracts": "write outputs['blog-post']",
    "a merge key": "write the values out",
    "a bad plan id": ID_RULE,
}


@pytest.mark.parametrize("name", HINTS)
def test_what_to_do_next_is_a_value_of_its_own(name: str, folder: Path) -> None:
    (folder / "plan.yaml").write_text(CASES[name][0])
    with pytest.raises(PlanError) as caught:
        compile_file("plan.yaml")
    assert caught.value.problems[0].hint == HINTS[name]


def test_the_table_is_long() -> None:
    assert len(CASES) >= 40
