"""Settings that are misspelt, and files of settings that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import call, check, write_plan
from vibe_prefect import UsageError
from vibe_prefect.cli.process.settings_files import PREFIX, check_settings_files, unknown_settings
from vibe_prefect.errors import SettingsError
from vibe_prefect.settings.package import load_settings

SECRET = "sk-hush-hush-hush"  # noqa: S105 - of nothing


@pytest.fixture(autouse=True)
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(folder / "home"))
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    (folder / "home").mkdir()
    return folder / "home"


MISSPELT = [
    ("prefect.toml", "[integrations.vibe_prefect]\nconcurency = 3\n", "concurency", "'concurrency'"),
    ("prefect.toml", "[integrations.vibe_prefect.fetch]\nmax_byte = 3\n", "fetch.max_byte", "'fetch.max_bytes'"),
    ("prefect.toml", "[integrations.vibe-prefect]\nconcurrency = 3\n", "[integrations.vibe-prefect]", "'vibe_prefect'"),
    ("pyproject.toml", "[tool.prefect.integrations.vibe_prefect]\noutputs = 'x'\n", "outputs", "'output'"),
    (".env", f"{PREFIX}CONCURENCY=3\n", f"{PREFIX}CONCURENCY", f"'{PREFIX}CONCURRENCY'"),
    (".env", f"export {PREFIX}LLM_MODEL=x\n", f"{PREFIX}LLM_MODEL", f"'{PREFIX}LLM_MODELS'"),
    (
        "home/profiles.toml",
        f'active = "mine"\n[profiles.mine]\n{PREFIX}ARTIFACT = "0"\n[profiles.other]\n{PREFIX}EVENT = "0"\n',
        f"{PREFIX}ARTIFACT",
        f"'{PREFIX}ARTIFACTS'",
    ),
]


@pytest.mark.parametrize(("file", "text", "name", "meant"), MISSPELT)
def test_misspelt_setting_in_a_file_is_named_with_the_one_that_is_meant(
    folder: Path, file: str, text: str, name: str, meant: str
) -> None:
    (folder / file).write_text(text)
    (said,) = unknown_settings()
    assert said.startswith(f"{name} in ")
    assert file.rpartition("/")[2] in said
    assert said.endswith(f"; did you mean {meant}?")


VARIABLES = [
    (f"{PREFIX}CONCURENCY", f"; did you mean '{PREFIX}CONCURRENCY'?"),
    (f"{PREFIX}MEDIA_IMAGE_URL", f"; did you mean '{PREFIX}MEDIA_IMAGES_URL'?"),
    (f"{PREFIX}QQQQ", "; 'vibe-prefect config' lists what there is"),
    ("VIBE_PREFECT_CONCURRENCY", f"; did you mean '{PREFIX}CONCURRENCY'?"),
    ("PREFECT_VIBE_PREFECT_OUTPUT", f"; did you mean '{PREFIX}OUTPUT'?"),
]


@pytest.mark.parametrize(("name", "hint"), VARIABLES)
def test_misspelt_variable_is_named(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRET)
    assert unknown_settings() == [f"{name} in the environment is not a setting{hint}"]


KNOWN = [f"{PREFIX}CONCURRENCY", f"{PREFIX}FETCH", f"{PREFIX}LLM_KEY", "VIBE_PREFECT_DEBUG", "VIBE_PREFECT_OPENAI_KEY"]


@pytest.mark.parametrize("name", KNOWN)
def test_known_and_foreign_variables_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert unknown_settings() == []


BROKEN = [
    ("pyproject.toml", f"x = ['{SECRET}'".encode(), "'pyproject.toml' is not valid TOML (at end of document)"),
    ("prefect.toml", f"a = 1\nb = {SECRET}\n".encode(), "'prefect.toml' is not valid TOML (at line 2, column 5)"),
    ("home/profiles.toml", b"[profiles", "home/profiles.toml' is not valid TOML (at end of document)"),
    (".env", b"\xff\xfe", "'.env' is not text in UTF-8, from byte 0 on"),
    ("prefect.toml", b"a = '\xe4'", "'prefect.toml' is not text in UTF-8, from byte 5 on"),
]


@pytest.mark.parametrize(("file", "content", "message"), BROKEN)
def test_broken_settings_file_is_named_and_not_quoted(folder: Path, file: str, content: bytes, message: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        check_settings_files()
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_settings_file_that_is_a_folder_is_named(folder: Path) -> None:
    (folder / ".env").mkdir()
    with pytest.raises(UsageError, match=r"'\.env' cannot be read: it is a folder"):
        check_settings_files()


WRONG = ["LLM_URL", "LLM_KEY", "LLM_JUDGE", "LLM_TEMPERATURE", "CONCURRENCY", "MEDIA_IMAGES_OPTIONS", "ARTIFACTS"]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_setting_is_named_and_its_value_never_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name, SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert PREFIX + name in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("extra", [{}, {"PREFECT_API_URL": "http://127.0.0.1:1/api"}], ids=["embedded", "configured"])
def test_commands_tell_of_broken_files_with_the_exit_code_of_usage(folder: Path, extra: dict[str, str]) -> None:
    plan = write_plan(folder, [check("a", "one two three")])
    (folder / "pyproject.toml").write_text("x = [1")
    refused = call("run", plan, cwd=folder, extra=extra)
    assert refused.code == 2
    assert "the settings file 'pyproject.toml' is not valid TOML" in refused.err
    assert call("validate", plan, cwd=folder).code == 0, "what needs no settings reads none"


def test_prefects_own_wrong_settings_are_named_and_their_values_not(folder: Path) -> None:
    plan = write_plan(folder, [check("a", "one two three")])
    wrong = {"PREFECT_SERVER_API_PORT": "ninety", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    refused = call("run", plan, cwd=folder, extra=wrong)
    assert refused.code == 2
    assert "Prefect's own settings cannot be used (ServerAPISettings):\n  port: Input should be a valid integer" in (
        refused.err
    )


def test_config_hides_the_login_in_an_address(folder: Path) -> None:
    shown = call("config", "--json", cwd=folder, extra={f"{PREFIX}LLM_URL": f"https://me:{SECRET}@example.org/v1"})
    assert shown.json["llm.url"]["value"] == "https://***@example.org/v1"
    assert SECRET not in shown.out + shown.err
