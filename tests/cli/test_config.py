"""`vibe-prefect config`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr

from tests.cli.command import call, check, write_plan
from vibe_prefect.cli.config import settings_of
from vibe_prefect.cli.defaults import RunDefaults
from vibe_prefect.settings import VibePrefectSettings

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


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    shown = call("config", cwd=tmp_path, extra={"PREFECT_INTEGRATIONS_VIBE_PREFECT_CONCURRENCY": "0"})
    assert shown.code == 2
    assert "PREFECT_INTEGRATIONS_VIBE_PREFECT_CONCURRENCY: expected at least 1, found '0'" in shown.err


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
    own = RunDefaults()
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
