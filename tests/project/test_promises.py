"""Each promise on the page of promises names tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.paths import ROOT

PAGE = ROOT / "docs" / "promises.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of the test functions in a file, without running it."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_each_promise_is_held_by_tests_that_there_are() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    promises = [row for row in rows if row not in ("| promise | held by |", "| --- | --- |")]
    assert len(promises) > 50
    for promise in promises:
        named = NAMED.findall(promise)
        assert named, f"no test is named for: {promise}"
        assert not [f"{path}::{name}" for path, name in named if name not in names_in(path)], promise
