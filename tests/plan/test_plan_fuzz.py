"""Mutated plans: each is read and compiled, or refused with a short and readable `PlanError`, within bounds.

A few hundred mutants are tried with the suite, 10,000 with the marker `storm`. A mutant is told by its number: the same
number makes the same mutant.
"""

from __future__ import annotations

import copy
import json
import random
import re
import resource
import time
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.paths import DATA
from tests.storm_size import storm_size
from vibe_prefect import PlanError, Simulate, compile_plan
from vibe_prefect.plan.compiler import whole_error
from vibe_prefect.plan.reading.plan_file import LoadedPlan, plan_of_data, read_plan
from vibe_prefect.tools import ToolRegistry, default_registry

FEW, MANY = 300, storm_size(10_000)
CPU_SECONDS = 5.0
MAX_MESSAGE = 12_000
MAX_GROWTH = 500_000_000
RAW_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

SEEDS = [path.read_text(encoding="utf-8") for path in sorted((DATA).glob("*.json"))] + [
    """\
id: digest
source_vibe: {description: A digest, style: calm, metadata: {on: yes, of: 1e-3}}
root_nodes:
  - &read
    id: read
    type: transform
    description: Read it
    parameters: {tool: read_text, tool_inputs: {path: a.txt}}
  - id: write
    type: generate
    description: >
      Write about {{ outputs.read.text }}
    dependencies: [read]
    policy: {retries: 2, tags: [a, b], variation: 3}
    parameters: {tool: write_file, tool_inputs: {path: b.txt, content: "{{ outputs.read.text | upper }}"}}
    children:
      - {id: check, type: validate, description: Check, parameters: {tool: check_text, tool_inputs: {text: x, min_words: 1}}}
  - id: card
    type: generate
    description: Draw it
    dependencies: [read]
    optional_dependencies: [write]
    when: "{{ outputs.read.text | length > 3 and outputs.write is not none }}"
    parameters: {tool: image_card, tool_inputs: {title: x}}
    best_of: {n: 3, tool: check_image, tool_inputs: {path: "{{ output.path }}", min_width: 10}}
    on_error: {use: read}
  - id: last
    type: transform
    description: Fall back
    optional_dependencies: [card]
    parameters: {tool: template_fill, tool_inputs: {template: "{{ outputs.card is none }}"}}
    on_error: {value: {text: [1, null]}}
"""  # noqa: E501
]

BITS = [
    *("!env HOME", "!!binary aGk=", "!!bool yes", "!<tag:a,2000:b> x", "%YAML 1.1\n---\n", "%YAML 1.3\n---\n"),
    *("%TAG ! tag:x:\n---\n", "---\n", "...\n", "\ufeff", "\0", "\x07", "\x1b[31m", "\x85", "\u2028", "\r", "\r\n"),
    *("&a ", "*a", "*missing", "<<: *read\n", "? ", ": ", "- ", "[", "{", "}", "]", '"', "'", "|", ">", "|9\n", "#"),
    *(".inf", "-.INF", ".nan", "1e999", "0x" + "f" * 40, "9" * 5_000, "-" + "9" * 30, "017", "1_000", "0o8", "0b2"),
    *("[" * 300, "{a: " * 300, "- " * 300, "x" * 100_000, "a: " * 200, '"\\ud83c"', '"\\u0000"', "\\", "\t", "@", "`"),
    *("{% for a in range(10**9) %}{% endfor %}", "{{ 9 ** 9 ** 9 }}", "{{ outputs.read.text", "{{ 'a' * 10**9 }}"),
    *("{{", "{%", "}}", "when: ", "on_error: ", "best_of: {n: 2}", "optional_dependencies: [a]", "{use: a, value: 1}"),
]

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, float("nan"), float("inf")),
    *("", " ", "\0", "\ud83c", "x" * 100_000, "../../etc/passwd", "/proc/self/environ", "a\nb", "\x1b[2J"),
    *("{{ outputs.read }}", "{{ 1 / 0 }}", [], {}, [[]], [None], {"": ""}, {"a" * 10_000: 1}, ["a"] * 2_000),
    *({"\0": 1}, {"$ref": "#"}, {"__prefect_kind": "json"}, {"use": "read"}, {"value": float("nan")}, {"n": 3}),
    *({"n": 2, "criteria": [[]]}, {"n": 20, "tool": "judge"}, "{{ outputs }}", "{{ range(10**9) }}", ["read", "read"]),
]


def deep(random: random.Random) -> Any:
    value: Any = random.choice([1, "x", None])
    for _ in range(random.choice([10, 180, 220, 900, 20_000])):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def bomb(random: random.Random) -> str:
    """Aliases that double with each level."""
    levels = random.choice([5, 12, 30])
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels)]
    return "id: b\nsource_vibe:\n  description: d\n  metadata:\n    " + "\n    ".join(lines) + "\nroot_nodes: []\n"


def keys_of(value: object) -> list[Any]:
    """The keys of a mapping, or the indices of a list."""
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value))
    return list(range(len(cast("list[Any]", value))))


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """All containers with their keys."""
    found: list[tuple[Any, Any]] = []
    stack: list[Any] = [value]
    while stack:
        part = stack.pop()
        for key in keys_of(part):
            found.append((part, key))
            if isinstance(part[key], dict | list):
                stack.append(part[key])
    return found


def mutated_data(random: random.Random) -> Any:
    """A plan's data with some values replaced, moved, doubled or left out."""
    data = copy.deepcopy(random.choice(PLAIN))
    for _ in range(random.randint(1, 4)):
        places: Any = places_in(data)
        if not places:
            break
        (part, key), (other, place) = random.choice(places), random.choice(places)
        match random.randrange(6):
            case 0:
                part[key] = copy.deepcopy(random.choice(VALUES))  # else one mutant would change the next
            case 1:
                part[key] = copy.deepcopy(other[place])
            case 2 if type(part) is dict:
                renamed = random.choice(["id", "type", "x" * 300, "\0", "children", "policy"])
                part[renamed] = cast("dict[str, Any]", part).pop(key)
            case 3 if type(part) is list:
                cast("list[Any]", part).append(part[key])
            case 4:
                part[key] = deep(random)
                break  # nothing copies it
            case _:
                del part[key]
    return data


def mutated_text(random: random.Random) -> str:
    """A plan's text with bits put in, cut out, doubled, or bytes flipped."""
    if random.random() < 0.05:
        return bomb(random)
    text = random.choice(SEEDS)
    for _ in range(random.randint(1, 5)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice([0, 1, 3, 40]))
        match random.randrange(4):
            case 0:
                text = text[:start] + random.choice(BITS) + text[end:]
            case 1:
                text = text[:start] + text[end:]
            case 2:
                text = text[:end] + text[start:]
            case _:
                flipped = bytearray(text[start:end].encode(errors="replace") or b"a")
                flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
                text = text[:start] + flipped.decode(errors="replace") + text[end:]
    return text


def from_data(random: random.Random) -> LoadedPlan:
    return plan_of_data(mutated_data(random))


def from_json(random: random.Random) -> LoadedPlan:
    try:
        return read_plan("plan.json", json.dumps(mutated_data(random)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, PlanError):
            raise
        return read_plan("plan.json", "{}")  # no text of JSON holds it


def from_text(random: random.Random) -> LoadedPlan:
    return read_plan(random.choice(["plan.yaml", "plan.json", "stored plan 'p'"]), mutated_text(random))


WAYS: list[Callable[[random.Random], LoadedPlan]] = [from_data, from_json, from_text, from_text]
PLAIN: list[Any] = [json.loads(text) if text.startswith("{") else read_plan("p", text).source.data for text in SEEDS]


def try_mutant(number: int, tools: ToolRegistry) -> None:
    """Read and compile a mutant as the commands do."""
    chance = random.Random(number)
    simulate = chance.choice([Simulate.ALL, Simulate.NEVER])
    begun = time.process_time()
    try:
        try:
            loaded = WAYS[number % len(WAYS)](chance)
        except PlanError as error:
            raise whole_error(error, tools=tools, simulate=simulate) from None
        compile_plan(loaded.plan, tools=tools, simulate=simulate, source=loaded.source)
    except PlanError as error:
        message = str(error)
        assert len(message) <= MAX_MESSAGE, f"mutant {number}: {len(message):,} characters"
        assert not (raw := RAW_CONTROLS.search(message)), f"mutant {number}: {raw!r}"
    except Exception as error:
        raise AssertionError(f"mutant {number}: {type(error).__name__}: {str(error)[:300]}") from error
    took = time.process_time() - begun
    assert took < CPU_SECONDS, f"mutant {number}: {took:.1f} s of CPU"


def try_mutants(numbers: range) -> None:
    tools = default_registry()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in numbers:
            try_mutant(number, tools)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert grown < MAX_GROWTH, f"{grown:,} bytes more"


def test_mutated_plans_are_compiled_or_refused_well() -> None:
    try_mutants(range(FEW))


@pytest.mark.storm
@pytest.mark.parametrize("part", range(10))
def test_many_mutated_plans_are_compiled_or_refused_well(part: int) -> None:
    try_mutants(range(part * MANY // 10, (part + 1) * MANY // 10))
