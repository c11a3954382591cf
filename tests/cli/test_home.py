"""No home folder, or one that cannot be used."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from tests.cli.command import call, check, write_plan
from vibe_prefect.cli.exits import StartError
from vibe_prefect.cli.home import check_home, prefect_home
from vibe_prefect.cli.process.settings_files import settings_files


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id that the system does not know, and no variable that names a home."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("nobody")
def test_no_home_is_needed_to_look_for_settings() -> None:
    assert prefect_home() is None
    assert [path.name for path in settings_files()] == ["prefect.toml", "pyproject.toml", ".env"]


@pytest.mark.usefixtures("nobody")
def test_no_home_is_told_with_what_to_set() -> None:
    with pytest.raises(StartError, match="there is no home folder: set PREFECT_HOME to a folder that can be written"):
        check_home()


def test_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [check("a", "one two three")])
    (tmp_path / "file").touch()
    for home in ("/proc/nowhere", str(tmp_path / "file" / "below")):
        extra = {"PREFECT_HOME": home, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
        refused = call("run", plan, cwd=tmp_path, extra=extra)
        assert refused.code == 3
        assert f"Prefect's home '{home}' cannot be used (" in refused.err
        assert "set PREFECT_HOME to a folder that can be written" in refused.err
        assert call("validate", plan, cwd=tmp_path, extra=extra).code == 0
