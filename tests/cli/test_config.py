"""`vibe-prefect config`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr

from tests.cli.command import call, check, write_plan
from vibe_prefect.cli.commands.show_settings import settings_of
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.settings.package import VibePrefectSettings

OUTPUT = "PREFECT_INTEGRATIONS_VIBE_PREFECT_OUTPUT"


def test_every_setting_is_described_and_says_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text('[integrations.vibe_prefect]\ninput_root = "texts"\n')
    shown = call("config", "--json", cwd=tmp_path, extra={OUTPUT: "elsewhere"})
    assert shown.code == 0
    assert all(setting["description"] for setting in shown.json.values())
    assert {name.split(".")[0] for name in shown.json} == set(VibePrefectSettings.model_fields)
    assert shown.json["output"] | {"description": ""} == {
        "value": "elsewhere",
        "source": "environment",
        "variable": OUTPUT,
        "description": "",
    }
    assert shown.json["input_root"]["source"] == "profile or file"
    assert shown.json["concurrency"]["source"] == "default"


@pytest.mark.parametrize(("command", "name"), [("config", "CONCURRENCY"), ("tools", "FETCH_MAX_BYTES")])
def test_a_wrong_setting_is_named(tmp_path: Path, command: str, name: str) -> None:
    variable = f"PREFECT_INTEGRATIONS_VIBE_PREFECT_{name}"
    shown = call(command, cwd=tmp_path, extra={variable: "0"})
    assert shown.code == 2
    assert f"{variable}: expected at least 1, found '0'" in shown.err


def test_a_wrong_setting_in_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text("[integrations.vibe_prefect.fetch]\nmax_bytes = 0\n")
    shown = call("config", cwd=tmp_path)
    assert shown.code == 2
    assert "PREFECT_INTEGRATIONS_VIBE_PREFECT_FETCH_MAX_BYTES: expected at least 1, found 0" in shown.err


@pytest.mark.parametrize("command", [("tools",), ("validate", "plan.json")])
def test_commands_that_only_look_load_neither_prefect_nor_a_client(tmp_path: Path, command: tuple[str, ...]) -> None:
    write_plan(tmp_path, [check("a", "three plain words")])
    heavy = ("prefect", "httpx", "openai", "anthropic", "pydantic_ai", "genai_prices", "websockets")
    script = (
        "import sys\nfrom vibe_prefect.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        f"    assert not end.code\nsys.exit(','.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert not ran.stderr, ran.stderr


class Group(BaseModel):
    key: SecretStr = Field(default=SecretStr("hush"), description="A secret.")


class Model(BaseModel):
    group: Group = Group()


def test_secrets_are_masked_and_groups_are_walked() -> None:
    (setting,) = settings_of(Model())
    assert (setting.name, setting.value) == ("group.key", "**********")
    assert setting.variable == "PREFECT_INTEGRATIONS_VIBE_PREFECT_GROUP_KEY"


def test_runs_start_from_the_settings(tmp_path: Path) -> None:
    settings = VibePrefectSettings()
    own = RunOptions()
    assert (own.concurrency, own.input_root, own.output) == (
        settings.concurrency,
        settings.input_root,
        settings.output,
    )
    plan = write_plan(tmp_path, [check("a", "these are three words")])
    (tmp_path / "prefect.toml").write_text('[integrations.vibe_prefect]\ninput_root = "nowhere"\n')
    refused = call("run", plan, cwd=tmp_path)
    assert refused.code == 2
    assert "--input-root 'nowhere' is not a folder" in refused.err


SECRETIVE = {
    "MEDIA_IMAGES_URL": "https://user:hush-canary-1@example.org/v1",
    "MEDIA_COMFYUI_URL": "http://hush-canary-2@127.0.0.1:8188",
    "LLM_URL": "https://example.org/v1?api_key=hush-canary-3",
    "MEDIA_IMAGES_OPTIONS": '{"extra_headers": {"x-api-key": "hush-canary-4"}, "n": 1}',
    "STORAGE": "s3://user:hush-canary-5@bucket/records",
    "MEDIA_SPEECH_VOICE": "hush-canary-6",
}


def test_passwords_in_settings_do_not_show(tmp_path: Path) -> None:
    prefix = OUTPUT.removesuffix("OUTPUT")
    extra = {f"{prefix}{name}": value for name, value in SECRETIVE.items()} | {"OTHER_KEY": "hush-canary-6"}
    for arguments in (["config"], ["config", "--json"]):
        shown = call(*arguments, cwd=tmp_path, extra=extra)
        assert shown.code == 0, shown.err
        assert "canary" not in shown.out + shown.err
        assert "https://***@example.org/v1" in shown.out
    assert shown.json["media.images_options"]["value"] == {"extra_headers": {"x-api-key": "***"}, "n": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"MEDIA_COMFYUI_URL": "user:hush-canary-1@127.0.0.1"},
        {
            "LLM_URL": "htps://user:hush-canary-1@example.org",
            **dict.fromkeys(["LLM_JUDGE", "LLM_KEY", "LLM_STRUCTURE"], "sk-canary-1"),
        },
        dict.fromkeys(["CONCURRENCY", "ARTIFACTS"], "sk-canary-1"),
        {"FETCH_SECONDS": "sk-canary-1"},
    ],
    ids=["media", "llm", "run", "fetch"],
)
def test_what_may_be_a_secret_is_not_quoted_from_a_wrong_setting(tmp_path: Path, wrong: dict[str, str]) -> None:
    extra = {f"{OUTPUT.removesuffix('OUTPUT')}{name}": value for name, value in wrong.items()}
    shown = call("tools", cwd=tmp_path, extra=extra)
    assert (shown.code, shown.out) == (2, "")
    assert all(f"{variable}: " in shown.err for variable in extra)
    assert "canary" not in shown.err
