"""Programs of the system that some tests drive: without them a test is skipped, and in CI it fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRING = ("CI", "REQUIRE_PROGRAMS")
"""Variables of the environment; where one is set and not empty, a missing program is a failure. `.ci/run` sets one."""


def report_missing(program: str, remedy: str, effect: str = "installs it on Debian") -> NoReturn:
    """Skip the test that needs a program; in CI fail it.

    Args:
        program: What is missing.
        remedy: The command that helps.
        effect: What that command does.
    """
    reason = f"there is no {program} on this machine; `{remedy}` {effect}"
    if any(map(os.environ.get, REQUIRING)):
        pytest.fail(reason)
    pytest.skip(reason)
