"""`image_generate` and `speech_generate`: the real client against a server on loopback."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.responses import RedirectResponse, Response

from tests.providers.media_server import KEY, MediaServer, media_server, picture, sound
from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.tools import Tool, ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.base import tool_version
from vibe_prefect.tools.media import MediaConfig, media_tools
from vibe_prefect.tools.net import FetchConfig
from vibe_prefect.tools.openai_media import OpenAIEndpoint
from vibe_prefect.tools.provenance import read_stamp


@pytest.fixture
def server() -> Generator[MediaServer]:
    with media_server() as server:
        yield server


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(
        workspace=Workspace(tmp_path / "in", tmp_path / "out"), plan_id="plan", node_id="node", key="ab" * 32
    )


def tools(server: MediaServer, *, fetch: FetchConfig | None = None, **fields: Any) -> dict[str, Tool]:
    endpoint = OpenAIEndpoint(("m-1", "m-2"), server.base_url, key=lambda: KEY)
    endpoint = replace(endpoint, **fields)
    config = MediaConfig(images=endpoint, speech=endpoint, fetch=fetch or FetchConfig())
    return {tool.spec.name: tool for tool in media_tools(config)}


async def draw(server: MediaServer, context: ToolContext, inputs: dict[str, Any] | None = None, **config: Any) -> Any:
    return await tools(server, **config)["image_generate"].execute({"prompt": "a cat"} | (inputs or {}), context)


async def say(server: MediaServer, context: ToolContext, inputs: dict[str, Any] | None = None, **config: Any) -> Any:
    given = {"text": "hello", "path": "a.wav"} | (inputs or {})
    return await tools(server, **config)["speech_generate"].execute(given, context)


async def test_an_image_is_written_with_its_provenance(
    server: MediaServer, context: ToolContext, tmp_path: Path
) -> None:
    result: ToolResult = await draw(server, context, {"path": "art/cat.png", "size": "1024x1024", "quality": "low"})
    content = (tmp_path / "out/art/cat.png").read_bytes()
    assert {**result.output, "sha256": ""} == {
        "path": "art/cat.png",
        "mime": "image/png",
        "sha256": "",
        "bytes": len(content),
        "width": 32,
        "height": 16,
    }
    assert read_stamp(content) == {
        "plan": "plan",
        "node": "node",
        "key": "ab" * 32,
        "tool": "image_generate",
        "version": "1",
        "model": "m-1",
    }
    with Image.open(tmp_path / "out/art/cat.png") as image:
        image.load()
        assert json.loads(image.info["vibe_prefect"])["node"] == "node"
    assert result.metadata["model"] == "m-1"
    assert result.metadata["usage"]["total_tokens"] == 105
    asked = {"prompt": "a cat", "model": "m-1", "size": "1024x1024", "quality": "low"}
    assert server.asked == [("/v1/images/generations", asked)]
    assert server.keys == [f"Bearer {KEY}"]


async def test_another_format_has_a_sidecar(server: MediaServer, context: ToolContext, tmp_path: Path) -> None:
    server.image = {"b64_json": base64.b64encode(picture("JPEG")).decode(), "revised_prompt": "a blue cat"}
    options = {"response_format": "b64_json"}
    result: ToolResult = await draw(server, context, {"path": "cat.jpg", "model": "m-2"}, options=options)
    assert result.output["mime"] == "image/jpeg"
    assert result.metadata["revised_prompt"] == "a blue cat"
    sidecar = json.loads((tmp_path / "out/cat.jpg.provenance.json").read_text())
    assert (sidecar["model"], sidecar["sha256"]) == ("m-2", result.output["sha256"])
    (_, asked) = server.asked[0]
    assert asked == {"prompt": "a cat", "model": "m-2", "output_format": "jpeg", "response_format": "b64_json"}


async def test_speech_is_written_with_its_provenance(server: MediaServer, context: ToolContext, tmp_path: Path) -> None:
    result: ToolResult = await say(server, context, {"voice": "nova", "speed": 1.5, "instructions": "cheerful"})
    assert (tmp_path / "out/a.wav").read_bytes() == sound()
    assert (result.output["path"], result.output["mime"]) == ("a.wav", "audio/wav")
    assert json.loads((tmp_path / "out/a.wav.provenance.json").read_text())["voice"] == "nova"
    assert server.asked == [
        (
            "/v1/audio/speech",
            {
                "input": "hello",
                "model": "m-1",
                "voice": "nova",
                "response_format": "wav",
                "speed": 1.5,
                "instructions": "cheerful",
            },
        )
    ]


@pytest.mark.parametrize("call", [draw, say])
@pytest.mark.parametrize(
    ("status", "code", "headers", "retryable", "wait"),
    [
        (429, None, {"retry_after": "7"}, True, 7.0),
        (429, None, {}, True, None),
        (429, "insufficient_quota", {}, False, None),
        (500, None, {}, True, None),
        (503, None, {"retry_after": "1"}, True, 1.0),
        (400, "content_policy_violation", {}, False, None),
        (401, None, {}, False, None),
        (404, None, {}, False, None),
    ],
)
async def test_a_status_is_an_error_that_says_whether_to_try_again(
    server: MediaServer,
    context: ToolContext,
    call: Any,
    status: int,
    code: str | None,
    headers: dict[str, Any],
    retryable: bool,
    wait: float | None,
) -> None:
    server.error(status, f"key {KEY} is wrong", code, **headers)
    with pytest.raises(ToolError, match=f"the server answered {status}: ") as caught:
        await call(server, context)
    assert (caught.value.retryable, caught.value.retry_after) == (retryable, wait)
    assert server.calls == 1, "the client must not try again by itself"
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert "key *** is wrong" in str(caught.value)


def parts_of_the_key(text: str) -> list[str]:
    return [KEY[:length] for length in range(8, len(KEY) + 1) if KEY[:length] in text]


@pytest.mark.parametrize("call", [draw, say])
@pytest.mark.parametrize("before", [480, 490, 495])
async def test_a_key_is_hidden_before_a_message_is_cut(
    server: MediaServer, context: ToolContext, call: Any, before: int
) -> None:
    server.error(400, f"{'x' * before}{KEY}")
    with pytest.raises(ToolError, match="the server answered 400") as caught:
        await call(server, context)
    assert parts_of_the_key(str(caught.value)) == []


@pytest.mark.parametrize(("call", "said"), [(draw, "holds no image: "), (say, "is no wav file")])
async def test_a_key_in_an_answer_that_is_none_is_hidden_before_it_is_cut(
    server: MediaServer, context: ToolContext, call: Any, said: str
) -> None:
    server.next = Response(f"<html>{'x' * 20}{KEY}", media_type="text/html")
    with pytest.raises(ToolError, match=said) as caught:
        await call(server, context)
    assert parts_of_the_key(str(caught.value)) == []


async def test_a_key_that_a_revised_prompt_repeats_does_not_show(server: MediaServer, context: ToolContext) -> None:
    server.image["revised_prompt"] = f"a cat that says {KEY}"
    assert (await draw(server, context)).metadata["revised_prompt"] == "a cat that says ***"


@pytest.mark.parametrize("call", [draw, say])
async def test_a_connection_that_breaks_in_the_middle_of_an_answer_is_worth_another_try(
    server: MediaServer, context: ToolContext, call: Any, tmp_path: Path
) -> None:
    server.cut = True
    with pytest.raises(ToolError, match="could not be reached") as caught:
        await call(server, context)
    assert caught.value.retryable
    assert server.calls == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("call", [draw, say])
async def test_a_slow_server_is_given_up(server: MediaServer, context: ToolContext, call: Any) -> None:
    server.delay = 1.0
    with pytest.raises(ToolError, match=r"no answer within 0.2 s") as caught:
        await call(server, context, seconds=0.2)
    assert caught.value.retryable
    assert server.calls == 1


@pytest.mark.parametrize("call", [draw, say])
async def test_nobody_there_is_worth_another_try(server: MediaServer, context: ToolContext, call: Any) -> None:
    with pytest.raises(ToolError, match=r"http://127.0.0.1:1/v1 could not be reached") as caught:
        await call(server, context, base_url="http://127.0.0.1:1/v1")
    assert caught.value.retryable


@pytest.mark.parametrize("call", [draw, say])
async def test_the_key_does_not_follow_a_redirect(server: MediaServer, context: ToolContext, call: Any) -> None:
    server.next = RedirectResponse(f"http://127.0.0.1:{server.port}/files/x")
    with pytest.raises(ToolError, match="the server answered 307"):
        await call(server, context)
    assert server.calls == 1


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b'{"data": [', "application/json", "no JSON"),
        (b"<html>oops", "text/html", "holds no image"),
        (b"{}", "application/json", "holds no image"),
        (b'{"data": []}', "application/json", "holds no image"),
        (b'{"data": [{}]}', "application/json", "neither an image nor its address"),
        (b'{"data": [{"b64_json": "?!"}]}', "application/json", "no base64"),
        (b'{"data": [{"b64_json": "AAAA"}]}', "application/json", "no image that can be read"),
        (
            json.dumps({"data": [{"b64_json": base64.b64encode(picture()[:-20]).decode()}]}).encode(),
            "application/json",
            "no(t a)? (image|whole)",
        ),
    ],
)
async def test_an_answer_without_an_image_is_an_error(
    server: MediaServer, context: ToolContext, tmp_path: Path, body: bytes, kind: str, message: str
) -> None:
    server.next = Response(body, media_type=kind)
    with pytest.raises(ToolError, match=message) as caught:
        await draw(server, context)
    assert caught.value.retryable
    assert not (tmp_path / "out").exists()


async def test_an_image_of_another_format_than_the_path_says_is_refused(
    server: MediaServer, context: ToolContext
) -> None:
    server.image = {"b64_json": base64.b64encode(picture("WEBP")).decode()}
    with pytest.raises(ToolError, match="is a WEBP image, and the path asks for PNG") as caught:
        await draw(server, context)
    assert not caught.value.retryable


async def test_speech_that_is_no_audio_is_an_error(server: MediaServer, context: ToolContext, tmp_path: Path) -> None:
    server.audio = b'{"error": "sorry"}'
    with pytest.raises(ToolError, match="no wav file; it begins with b'"):
        await say(server, context)
    assert not (tmp_path / "out").exists()


async def test_an_address_instead_of_an_image_is_fetched_only_where_the_operator_allows_it(
    server: MediaServer, context: ToolContext
) -> None:
    server.image = {"url": f"http://127.0.0.1:{server.port}/files/cat.png"}
    with pytest.raises(ToolError, match="is not in the operator's allow-list"):
        await draw(server, context)
    assert server.calls == 1
    here = (f"127.0.0.1:{server.port}",)
    allowed = FetchConfig(allow=here, allow_private=here)
    result: ToolResult = await draw(server, context, fetch=allowed)
    assert result.output["width"] == 32
    server.image = {"url": f"http://127.0.0.1:{server.port}/none?signature=s3cret"}
    with pytest.raises(ToolError, match="answered 404") as caught:
        await draw(server, context, fetch=allowed)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"model": "m-3"}, ToolInputError, "model 'm-3' is not one that the operator allows; did you mean 'm-"),
        ({"path": "cat.gif"}, ToolInputError, "ends with none of .png, .jpg, .jpeg, .webp"),
        ({"path": "../cat.png"}, OutsideRootError, "outside"),
        ({"size": "big"}, ToolInputError, "size: "),
        ({"prompt": "  "}, ToolInputError, "prompt: "),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_before_it_costs_anything(
    server: MediaServer, context: ToolContext, inputs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await draw(server, context, inputs)
    assert server.calls == 0


def test_what_is_not_set_up_says_what_to_set() -> None:
    lacking = {tool.spec.name: getattr(tool, "missing_setting", None) for tool in media_tools()}
    assert list(lacking) == ["comfyui_run", "image_generate", "speech_generate"]
    assert all("PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_" in str(setting) for setting in lacking.values())


def test_another_default_model_is_another_version(server: MediaServer) -> None:
    first, second = tools(server), tools(server, models=("m-2",))
    assert tool_version(first["image_generate"]) == "1 m-1"
    assert tool_version(second["image_generate"]) == "1 m-2"
    assert tool_version(second["speech_generate"]) == "1 m-2 alloy"
