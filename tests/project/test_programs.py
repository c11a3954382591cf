from __future__ import annotations

import pytest

from tests.programs import REQUIRING, report_missing


@pytest.mark.parametrize("variable", [None, *REQUIRING])
def test_a_missing_program_skips_a_test_and_fails_it_in_ci(
    monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    for name in REQUIRING:
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    outcome = pytest.skip.Exception if variable is None else pytest.fail.Exception
    with pytest.raises(outcome, match="there is no browser on this machine; `make browser` installs it on Debian"):
        report_missing("browser", "make browser")
