"""The operator's settings of the tools that reach out."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.blocks.system import Secret
from pydantic import ValidationError

from vibe_prefect.errors import ToolError, UsageError
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.settings.package import VibePrefectSettings
from vibe_prefect.settings.tool_groups import FetchSettings, MediaSettings, read_key
from vibe_prefect.tools.builtin.media_tools import MediaConfig
from vibe_prefect.tools.fetch.guard import FetchConfig

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"


def test_by_default_nothing_may_be_reached() -> None:
    settings = VibePrefectSettings()
    fetch = settings.fetch.config()
    assert fetch == FetchConfig()
    assert settings.media.config(fetch) == MediaConfig()


def test_the_environment_sets_lists_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "FETCH_ALLOW": "example.org, *.example.net",
        "FETCH_ALLOW_PRIVATE": "127.0.0.1:8080",
        "FETCH_SECONDS": "5",
        "MEDIA_IMAGES_MODELS": "m-1,m-2",
        "MEDIA_IMAGES_KEY": "env:IMAGES_KEY",
        "MEDIA_IMAGES_OPTIONS": '{"response_format": "b64_json"}',
        "MEDIA_IMAGES_PRICE": '{"m-1": 0.17, "m-2": 0}',
        "MEDIA_SPEECH_PRICE": "0.015",
        "MEDIA_SPEECH_MODELS": "s-1",
        "MEDIA_SPEECH_VOICE": "nova",
        "MEDIA_COMFYUI_URL": "http://127.0.0.1:8188",
        "MEDIA_COMFYUI_NODES": "KSampler,SaveImage",
    }.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    monkeypatch.setenv("IMAGES_KEY", "sk-1")
    settings = VibePrefectSettings()
    fetch = settings.fetch.config()
    media = settings.media.config(fetch)
    assert (fetch.allow, fetch.allow_private, fetch.seconds) == (
        ("example.org", "*.example.net"),
        ("127.0.0.1:8080",),
        5.0,
    )
    assert media.images is not None
    assert media.images.models == ("m-1", "m-2")
    assert media.images.options == {"response_format": "b64_json"}
    assert media.images.key() == "sk-1"
    assert [media.images.price(model) for model in ("m-1", "m-2", "m-3")] == [0.17, 0.0, None]
    assert media.speech is not None
    assert media.speech.price("s-1") == 0.015
    assert media.speech.key() is None
    assert media.voice == "nova"
    assert media.comfyui is not None
    assert media.comfyui.nodes == ("KSampler", "SaveImage")
    assert "sk-1" not in repr((settings, fetch, media))
    assert {"image_generate", "speech_generate", "comfyui_run"} <= set(equipped_registry(fetch, media))


def test_a_file_sets_lists_as_lists(folder: Path) -> None:
    table = '[integrations.vibe_prefect.fetch]\nallow = ["example.org"]\n'
    (folder / "prefect.toml").write_text(table)
    assert FetchSettings().allow == VibePrefectSettings().fetch.allow == ("example.org",)


def test_a_list_that_is_not_written_right_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}FETCH_ALLOW", "https://example.org")
    with pytest.raises(UsageError, match=r"allow-list entry 'https://example.org' is not a host"):
        FetchSettings().config()


@pytest.mark.parametrize("place", ["sk-1234", "env:", "env:A B", "file:/etc/passwd", "secret:../x"])
def test_a_key_itself_is_no_setting(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv(f"{PREFIX}MEDIA_IMAGES_KEY", place)
    with pytest.raises(ValidationError, match="images_key"):
        MediaSettings()


def test_a_key_that_is_not_there_says_where_it_was_looked_for() -> None:
    with pytest.raises(ToolError, match="environment variable NO_SUCH_KEY holds no key") as caught:
        read_key("env:NO_SUCH_KEY")
    assert not caught.value.retryable


@pytest.mark.server
def test_a_key_is_read_from_a_secret_block(prefect_server: str) -> None:
    Secret(value="sk-2").save("vibe-prefect-test", overwrite=True, _sync=True)  # pyright: ignore
    assert read_key("secret:vibe-prefect-test") == "sk-2"
    with pytest.raises(ToolError, match="Secret block 'none-such' cannot be loaded"):
        read_key("secret:none-such")
