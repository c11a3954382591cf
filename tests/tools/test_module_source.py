"""The version of a function in a file: what it uses there counts, and nothing else."""

from __future__ import annotations

import pytest

from vibe_prefect.tools.module_source import ModuleSource

TEXT = """\
import json
from math import floor as down

LIMIT, OTHER = 3, 4

def helper(text):
    return text[:LIMIT]

@decorated
def work(text):
    return helper(json.dumps(text))

def apart(text):
    return down(len(text))
"""
WORK = TEXT.splitlines().index("@decorated") + 1


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("json.dumps(text)", "json.dumps([text])", True),
        ("@decorated", "@decorated(1)", True),
        ("text[:LIMIT]", "text[LIMIT:]", True),
        ("LIMIT, OTHER = 3", "LIMIT, OTHER = 5", True),
        ("import json", "import simplejson as json", True),
        ("down(len(text))", "down(1)", False),
        ("as down", "as down  # why", False),
    ],
)
def test_version_of_a_function_follows_what_it_uses(before: str, after: str, changes: bool) -> None:
    edited = ModuleSource(TEXT.replace(before, after, 1))
    assert (edited.version_of(WORK) != ModuleSource(TEXT).version_of(WORK)) is changes


def test_version_of_a_line_outside_any_statement_follows_the_whole_file() -> None:
    assert ModuleSource(TEXT).version_of(900) != ModuleSource(TEXT.replace("down(1)", "")).version_of(WORK)
    assert ModuleSource(TEXT).version_of(900) != ModuleSource(f"{TEXT}x = 1\n").version_of(900)
