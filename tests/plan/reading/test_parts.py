"""Parts of a plan in files of their own: what comes of them, where messages point, and what a plan cannot read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect import PlanError, WorkflowPlan, compile_plan, default_registry, load_plan
from vibe_prefect.plan.compiler import whole_error
from vibe_prefect.plan.reading import parts
from vibe_prefect.plan.reading.edits import was_edited
from vibe_prefect.plan.reading.plan_file import plan_of_data, read_plan, whole_text
from vibe_prefect.plan.reading.size import slim_data
from vibe_prefect.testing import run_offline

HEAD = """\
id: p
source_vibe: {description: d}
inputs: {product: {type: string, default: Tea}}
root_nodes:
  - {id: head, type: generate, description: d, parameters: {tool: template_fill, tool_inputs: {template: News}}}
"""
USE = "  - {id: s, use: part.yaml, dependencies: [head], with: {product: '{{ inputs.product }}'}}\n"
FILL = "parameters: {tool: template_fill, tool_inputs: {template: %s}}"
PART = f"""\
id: part
source_vibe: {{description: A post}}
inputs: {{product: {{type: string}}, count: {{type: integer, default: 2}}}}
root_nodes:
  - {{id: post, type: generate, description: Post, {FILL % "'Buy {{ inputs.product }} x{{ inputs.count }}'"}}}
  - {{id: end, type: generate, description: End, dependencies: [post], {FILL % "'{{ outputs.post.text }}!'"}}}
"""


def write(folder: Path, **files: str) -> Path:
    """Write files, named as `a__b_md` for `a/b.md`, and return the plan's."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Path("plan.yaml")


def problems_of(path: Path) -> list[str]:
    """Everything that a reader is told about a plan file, whether reading or compiling shows it."""
    try:
        loaded = load_plan(path)
        compile_plan(loaded.plan, source=loaded.source)
    except PlanError as error:
        return [str(problem) for problem in whole_error(error, tools=default_registry()).problems]
    return []


def nodes_of(plan: WorkflowPlan) -> dict[str, dict[str, Any]]:
    compiled = compile_plan(plan)
    return {id: node.node.model_dump(mode="json", exclude_defaults=True) for id, node in compiled.nodes.items()}


async def test_a_part_runs_as_the_plan_that_it_is_written_out_to(folder: Path) -> None:
    plan = load_plan(write(folder, plan_yaml=HEAD + USE, part_yaml=PART)).plan
    nodes = nodes_of(plan)
    assert list(nodes) == ["head", "s", "s.post", "s.end"]
    assert nodes["s"]["description"] == "A post"
    assert nodes["s.end"]["dependencies"] == ["s.post"]
    result = await run_offline(plan, inputs={"product": "Coffee"})
    assert result.node_results["s.end"].result["result"]["text"] == "Buy Coffee x2!"
    assert plan_of_data(json.loads(json.dumps(slim_data(plan)))).plan == plan  # whole: no file is needed any more


def test_a_plan_is_stored_whole_and_without_parts_as_its_author_wrote_it(folder: Path) -> None:
    loaded = load_plan(write(folder, plan_yaml=HEAD + USE, part_yaml=PART))
    assert read_plan("stored", whole_text(loaded)).plan == loaded.plan
    assert whole_text(load_plan(write(folder, plan_yaml=f"# why\n{HEAD}"))) == f"# why\n{HEAD}"


def test_content_of_parts_enters_the_keys_of_the_nodes_that_it_concerns(folder: Path) -> None:
    path = write(folder, plan_yaml=HEAD + USE, part_yaml=PART)
    plan = load_plan(path).plan
    before = {id: node.key for id, node in compile_plan(plan).nodes.items()}
    assert not was_edited(path, plan)
    write(folder, part_yaml=PART.replace("}}!'", "}}?'"))
    after = {id: node.key for id, node in compile_plan(load_plan(path).plan).nodes.items()}
    assert [id for id in before if before[id] != after[id]] == ["s.end"]
    assert was_edited(path, plan)


def test_texts_and_data_stand_in_files(folder: Path) -> None:
    ask = "parameters: {tool: check_json, tool_inputs: {data: '{{ outputs.a.text }}', schema: {file: in/s.yaml}}}"
    path = write(
        folder,
        plan_yaml="id: p\nsource_vibe: {description: d}\nroot_nodes:\n"
        f"  - {{id: a, type: generate, description: {{file: in/a.md}}, {FILL % '{file: in/a.md}'}}}\n"
        f"  - {{id: b, type: validate, description: d, dependencies: [a], {ask}}}\n",
        in__a_md="One\n\ntwo\n",
        in__s_yaml="type: object\nrequired: [title]\n",
    )
    nodes = nodes_of(load_plan(path).plan)
    assert nodes["a"]["description"] == nodes["a"]["parameters"]["tool_inputs"]["template"] == "One\n\ntwo"
    assert nodes["b"]["parameters"]["tool_inputs"]["schema"] == {"type": "object", "required": ["title"]}


def test_a_mapping_that_only_looks_like_a_file_stays_as_it_is(folder: Path) -> None:
    fill = "parameters: {tool: template_fill, tool_inputs: {template: '{{ file }}', values: {file: a.md}}}"
    path = write(folder, plan_yaml=f"{HEAD}  - {{id: a, type: generate, description: d, {fill}}}\n")
    assert load_plan(path).plan.root_nodes[1].parameters["tool_inputs"]["values"] == {"file": "a.md"}


def test_a_value_of_an_input_brings_the_dependencies_that_it_names(folder: Path) -> None:
    use = "  - {id: s, use: part.yaml, dependencies: [head], with: {product: '{{ outputs.head.text }}'}}\n"
    nodes = nodes_of(load_plan(write(folder, plan_yaml=HEAD + use, part_yaml=PART)).plan)
    assert nodes["s.post"]["dependencies"] == ["head"]
    assert nodes["s.end"]["dependencies"] == ["s.post"]
    assert nodes["s.post"]["parameters"]["tool_inputs"]["template"] == "Buy {{ outputs.head.text }} x{{ 2 }}"


def test_parts_are_used_within_parts_and_keep_their_policy(folder: Path) -> None:
    inner = PART.replace("id: part\n", "id: inner\npolicy: {retries: 2, timeout: 9}\n").replace(
        "description: Post,", "description: Post, policy: {retries: 1},"
    )
    outer = (
        "id: outer\nsource_vibe: {description: o}\ninputs: {name: {type: string}}\nroot_nodes:\n"
        f"  - {{id: x, type: generate, description: d, {FILL % 'X'}}}\n"
        "  - {id: in, use: inner.yaml, dependencies: [x], with: {product: '{{ inputs.name }} {{ outputs.x.text }}'}}\n"
    )
    use = "  - {id: s, use: sub/outer.yaml, with: {name: '{{ inputs.product }}'}}\n"
    path = write(folder, plan_yaml=HEAD + use, sub__outer_yaml=outer, sub__inner_yaml=inner)
    nodes = nodes_of(load_plan(path).plan)
    assert list(nodes) == ["head", "s", "s.x", "s.in", "s.in.post", "s.in.end"]
    assert nodes["s.in.post"]["dependencies"] == ["s.x"]
    text = nodes["s.in.post"]["parameters"]["tool_inputs"]["template"]
    assert text == 'Buy {{ inputs.product }} {{ outputs["s.x"].text }} x{{ 2 }}'
    assert nodes["s.in.post"]["policy"] == {"retries": 1, "timeout": 9}
    assert nodes["s.in.end"]["policy"] == {"retries": 2, "timeout": 9}


BAD: dict[str, tuple[dict[str, str], list[str]]] = {
    "a fault on a line of a text": (
        {
            "plan_yaml": f"{HEAD}  - {{id: a, type: generate, description: d, {FILL % '{file: a.md}'}}}\n",
            "a_md": "Hello\n  {{ outputs.haed.text }}\n{{ inputs.prodxt }}\n",
        },
        [
            "a.md:2:6: node 'a', parameters.tool_inputs.template: the template names outputs.haed, but 'haed' is not a dependency of this node: it has no dependencies",
            "a.md:3:4: node 'a', parameters.tool_inputs.template: the template names inputs.prodxt, which is not among the plan's inputs; did you mean 'product'?",
        ],
    ),
    "a template that does not parse": (
        {
            "plan_yaml": f"{HEAD}  - {{id: a, type: generate, description: d, {FILL % '{file: a.md}'}}}\n",
            "a_md": "Hello\n\n{{ outputs. }}\n",
        },
        [
            "a.md:3:1: node 'a', parameters.tool_inputs.template: expected name or number (line 3 of the template), in the template 'Hello {{ outputs. }}'; braces that are text are written {{ '{{' }}, or between {% raw %} and {% endraw %}",
        ],
    ),
    "a fault in a part": (
        {"plan_yaml": HEAD + USE, "part_yaml": PART.replace("tool: template_fill", "tool: template_fil", 1)},
        [
            "part.yaml:5:70: node 's.post', parameters.tool: unknown tool 'template_fil'; did you mean 'template_fill'?",
        ],
    ),
    "a part of another shape": (
        {"plan_yaml": HEAD + USE, "part_yaml": PART.replace("id: end, type: generate", "id: end, type: generat")},
        [
            "plan.yaml:6:18: node 's', use: the file 'part.yaml' has problems",
            "part.yaml:6:21: node 'end', type: expected one of analyze, generate, transform, validate, composite, found 'generat'; did you mean 'generate'?",
        ],
    ),
    "a part that is no YAML": (
        {"plan_yaml": HEAD + USE, "part_yaml": "id: [\n"},
        [
            "plan.yaml:6:18: node 's', use: the file 'part.yaml' has problems",
            "part.yaml:2:1: not YAML: while parsing a flow node expected the node content, but found '<stream end>'",
        ],
    ),
    "a part that is not there, of which another node needs something": (
        {
            "plan_yaml": HEAD
            + USE.replace("part.yaml", "prat.yaml")
            + f"  - {{id: z, type: generate, description: d, dependencies: [s.end, s.post], {FILL % 'Z'}}}\n"
        },
        ["plan.yaml:6:18: node 's', use: 'prat.yaml' cannot be read: No such file or directory"],
    ),
    "wrong inputs": (
        {
            "plan_yaml": HEAD + "  - {id: s, use: part.yaml, with: {prodxt: Tea, count: many}}\n",
            "part_yaml": PART,
        },
        [
            "plan.yaml:6:35: node 's', with: the part needs the input 'product'; give it, as in with: {product: ...}",
            "plan.yaml:6:44: node 's', with.prodxt: the part has no input of this name; did you mean 'product'?",
            "plan.yaml:6:56: node 's', with.count: 'many' is not of type 'integer'",
        ],
    ),
    "inputs that name what there is not": (
        {
            "plan_yaml": HEAD
            + "  - {id: s, use: part.yaml, with: {product: '{{ outputs.head.text }}', count: '{{ inputs.prodxt }}'}}\n",
            "part_yaml": PART,
        },
        [
            "plan.yaml:6:45: node 's', with.product: the template names outputs.head, but 'head' is not a dependency of this node: it has none",
            "plan.yaml:6:79: node 's', with.count: the template names inputs.prodxt, which is not among the plan's inputs; did you mean 'product'?",
        ],
    ),
    "an input that the part does not declare": (
        {"plan_yaml": HEAD + USE, "part_yaml": PART.replace("inputs.count", "inputs.cuont")},
        [
            "part.yaml:5:109: node 's.post', parameters.tool_inputs.template: the template names inputs.cuont, which the part does not declare; did you mean 'count'?",
        ],
    ),
    "a part with a node type of another kind, children and parameters": (
        {
            "plan_yaml": HEAD
            + "  - {id: s, type: generate, use: part.yaml}\n"
            + "  - {id: t, use: part.yaml, parameters: {tool: x}}\n"
            + "  - {id: u, use: part.yaml, with: [a]}\n"
            + "  - {id: v, use: {file: part.yaml}}\n"
            + "  - {id: w, type: composite, description: d, with: {a: 1}}\n",
            "part_yaml": PART,
        },
        [
            "plan.yaml:6:34: node 's', use: a node that uses a part is a composite, and this one is 'generate'",
            "plan.yaml:7:18: node 't', use: a node that uses a part has no 'parameters' of its own; the part has them",
            "plan.yaml:8:18: node 'u', use: 'with': expected a mapping of inputs, found ['a']",
            "plan.yaml:9:18: node 'v', use: expected the path of a file, found {'file': 'part.yaml'}",
            "plan.yaml:10:52: node 'w', with: unknown field; 'with' gives inputs to a part, which 'use' names",
        ],
    ),
    "a circle": (
        {
            "plan_yaml": HEAD + "  - {id: s, use: parts/a.yaml}\n",
            "parts__a_yaml": "id: a\nsource_vibe: {description: a}\nroot_nodes:\n  - {id: s, use: ../plan.yaml}\n",
        },
        [
            "plan.yaml:6:18: node 's', use: the file 'parts/a.yaml' has problems",
            "parts/a.yaml:4:18: node 's', use: a part cannot use itself: plan.yaml -> parts/a.yaml -> plan.yaml",
        ],
    ),
    "data that are no data": (
        {
            "plan_yaml": HEAD
            + "  - {id: a, type: validate, description: d, parameters: {tool: check_json, tool_inputs: "
            "{data: 1, schema: {file: s.md}}}}\n"
            + "  - {id: b, type: validate, description: d, parameters: {tool: check_json, tool_inputs: "
            "{data: 1, schema: {file: s.json}}}}\n",
            "s_md": "x",
            "s_json": '{"maximum": NaN}',
        },
        [
            "plan.yaml:6:107: node 'a', parameters.tool_inputs.schema: expected a file that ends with .json, .yaml, .yml, found 's.md'",
            "plan.yaml:7:107: node 'b', parameters.tool_inputs.schema: the file 's.json' has problems",
            "s.json:1:13: expected a finite number, found nan",
        ],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_of_a_part_is_told_where_it_stands(name: str, folder: Path) -> None:
    files, messages = BAD[name]
    assert sorted(problems_of(write(folder, **files))) == sorted(messages)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            "../secret.md",
            "'../secret.md' leads out of the folder of the plan; a plan may name files beside it and below",
        ),
        (
            "a/../../secret.md",
            "'a/../../secret.md' leads out of the folder of the plan; a plan may name files beside it",
        ),
        ("/etc/passwd", "'/etc/passwd' is not a relative path; write its path from the folder of this file, as in"),
        ("..\\secret.md", "'..\\\\secret.md' is not a relative path"),
        ("link.md", "'link.md' leads out of the folder of the plan"),
        ("folder-link/secret.md", "'folder-link/secret.md' leads out of the folder of the plan"),
        ("circle", "'circle' cannot be the path of a file"),
        ("a\0b", "'a\\x00b' cannot be the path of a file"),
        ("pipe", "'pipe' cannot be read: it is not a regular file"),
        (".", "'.' cannot be read: it is a folder; name a file"),
        ("huge.md", "'huge.md' 50,000,001 bytes; a plan file holds at most 50,000,000"),
        ("bytes.md", "'bytes.md' not UTF-8 text: byte 0 is 0xff"),
        ("", "expected the path of a file, found ''"),
    ],
)
def test_a_hostile_path_is_refused(named: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plans"
    (folder / "a").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (tmp_path / "secret.md").write_text("never shown")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "folder-link").symlink_to(tmp_path)
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    with (folder / "huge.md").open("wb") as huge:
        huge.truncate(50_000_001)
    (folder / "bytes.md").write_bytes(b"\xff")
    quoted = json.dumps(named)
    path = write(
        folder, plan_yaml=f"{HEAD}  - {{id: a, type: generate, description: d, {FILL % f'{{file: {quoted}}}'}}}\n"
    )
    (told,) = problems_of(path)
    assert told.startswith(f"plan.yaml:6:103: node 'a', parameters.tool_inputs.template: {message}")
    assert "never shown" not in told


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    path = write(folder, plan_yaml=HEAD + USE, real_yaml=PART)
    (folder / "part.yaml").symlink_to("real.yaml")
    assert problems_of(path) == []


def test_parts_that_multiply_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_PARTS", 40)
    head = "id: x\nsource_vibe: {description: d}\nroot_nodes:\n"
    for level in range(12):
        below = "".join(f"  - {{id: n{index}, use: p{level + 1}.yaml}}\n" for index in range(4))
        (folder / f"p{level}.yaml").write_text(head + below)
    (folder / "p12.yaml").write_text(head.replace("root_nodes:\n", "root_nodes: []\n"))
    told = problems_of(Path("p0.yaml"))
    assert any("the plan names more than 40 files, counted as often as they are used" in line for line in told)
    monkeypatch.setattr(parts, "MAX_PARTS", 2)
    text = f"  - {{id: a%d, type: generate, description: d, {FILL % '{file: a.md}'}}}\n"
    path = write(folder, plan_yaml=HEAD + "".join(text % index for index in range(3)), a_md="A")
    (line,) = problems_of(path)
    assert line.endswith("the plan names more than 2 files, counted as often as they are used")


def test_a_plan_without_a_file_cannot_read_files(folder: Path) -> None:
    write(folder, a_md="never read", part_yaml=PART)
    text = f"{HEAD}{USE}  - {{id: a, type: generate, description: {{file: a.md}}, {FILL % '{file: a.md}'}}}\n"
    reason = (
        "a part is read from a file beside the plan's own, and this plan came without one; write the part out here, or "
        "store the plan from its file, as with 'vibe-prefect blocks save'"
    )
    places = ["node 'a', description", "node 'a', parameters.tool_inputs.template", "node 's', use"]
    with pytest.raises(PlanError) as caught:
        read_plan("plan", text)
    told = sorted(str(problem).split(": ", 1)[1] for problem in caught.value.problems)
    assert told == [f"{place}: {reason}" for place in places]
    data = {"id": "p", "source_vibe": {"description": "d"}, "root_nodes": [{"id": "s", "use": "part.yaml"}]}
    with pytest.raises(PlanError) as caught:
        plan_of_data(data)
    assert [str(problem) for problem in caught.value.problems] == [f"node 's', use: {reason}"]
    assert data["root_nodes"] == [{"id": "s", "use": "part.yaml"}]
