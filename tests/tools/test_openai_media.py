"""`image_generate` and `speech_generate`: the real client against a server on loopback."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import traceback
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.responses import JSONResponse, RedirectResponse, Response

from tests.providers.media_server import KEY, MediaServer, media_server, picture, sound
from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.errors import BudgetExceededError, OutsideRootError, ToolError
from vibe_prefect.tools import Tool, ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.base import tool_version
from vibe_prefect.tools.builtin.media_tools import MediaConfig, media_tools
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.media.openai_media import OpenAIEndpoint
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
@pytest.mark.usefixtures("impatient")
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


@pytest.mark.parametrize(("call", "said"), [(draw, "holds no image: "), (say, "is not a wav file")])
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
    server.delay = 6.0
    with pytest.raises(ToolError, match=r"no answer within 2 s") as caught:
        await call(server, context, seconds=2.0)
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
        (b'{"data": [{}]}', "application/json", "holds no image"),
        (b'{"data": [{"b64_json": ""}]}', "application/json", "holds no image"),
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


PACKED = base64.b64encode(picture()).decode()
URL_SAFE = base64.urlsafe_b64encode(picture()).decode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"data": [{"b64_json": PACKED}]}, id="plain"),
        pytest.param({"data": [{"b64_json": f"data:image/png;base64,{PACKED}"}]}, id="data URI"),
        pytest.param({"data": [{"b64_json": f"  data:image/png;charset=x;base64, {PACKED}\n"}]}, id="loose data URI"),
        pytest.param(
            {"data": [{"b64_json": "\r\n".join(PACKED[i : i + 76] for i in range(0, len(PACKED), 76))}]}, id="lines"
        ),
        pytest.param({"data": [{"b64_json": URL_SAFE}]}, id="alphabet of URLs"),
        pytest.param({"data": [{"b64_json": PACKED.rstrip("=")}]}, id="no padding"),
        pytest.param(
            {"data": [{"b64_json": None, "url": f"data:image/png;base64,{PACKED}"}]}, id="data URI as address"
        ),
        pytest.param({"data": [{"url": f"data:image/png,{quote(picture())}"}]}, id="data URI with escapes"),
        pytest.param({"data": {"b64_json": PACKED}}, id="no list"),
        pytest.param({"data": [PACKED]}, id="a text for an entry"),
        pytest.param({"images": [f"data:image/png;base64,{PACKED}"]}, id="images"),
        pytest.param({"data": [{"image_url": {"url": f"data:image/png;base64,{PACKED}"}}]}, id="nested"),
        pytest.param({"created": 1, "error": None, "code": 0, "data": [{"b64_json": PACKED}]}, id="no error"),
    ],
)
async def test_a_picture_is_taken_in_every_form_that_servers_wrap_it_in(
    server: MediaServer, context: ToolContext, body: dict[str, Any]
) -> None:
    server.next = JSONResponse(body)
    result: ToolResult = await draw(server, context)
    assert (result.output["path"], result.output["width"]) == ("node.png", 32)


async def test_a_picture_may_be_the_whole_answer(server: MediaServer, context: ToolContext) -> None:
    server.next = Response(picture("WEBP"), media_type="image/webp")
    result: ToolResult = await draw(server, context, {"path": "cat.webp"})
    assert result.output["mime"] == "image/webp"


@pytest.mark.parametrize("answered", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("path", ["cat.png", "cat.jpg", "cat.webp"])
async def test_a_picture_of_another_format_is_converted_to_the_one_that_the_path_names(
    server: MediaServer, context: ToolContext, tmp_path: Path, answered: str, path: str
) -> None:
    server.image = {"b64_json": base64.b64encode(picture(answered)).decode()}
    result: ToolResult = await draw(server, context, {"path": path})
    expected = {"cat.png": "PNG", "cat.jpg": "JPEG", "cat.webp": "WEBP"}[path]
    with Image.open(tmp_path / "out" / path) as image:
        image.load()
        assert (image.format, image.size) == (expected, (32, 16))
    told = None if answered == expected else {"answered_format": answered, "converted_to": expected}
    assert told is None or told.items() <= result.metadata.items()


def encoded(image: Image.Image, format: str, **options: Any) -> str:  # noqa: A002
    file = io.BytesIO()
    image.save(file, format, **options)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("mode", "answered", "path", "pixel"),
    [
        ("RGBA", "PNG", "cat.jpg", (255, 255, 255)),
        ("CMYK", "JPEG", "cat.png", (255, 255, 255)),
        ("I;16", "PNG", "cat.jpg", 128),
        ("P", "GIF", "cat.webp", (0, 0, 0)),
    ],
)
async def test_a_picture_in_another_mode_is_converted_to_one_that_the_format_holds(
    server: MediaServer,
    context: ToolContext,
    tmp_path: Path,
    mode: str,
    answered: str,
    path: str,
    pixel: Any,
) -> None:
    image = Image.new(mode, (8, 8), 0x8000 if mode == "I;16" else 0)
    server.image = {"b64_json": encoded(image, answered)}
    await draw(server, context, {"path": path})
    with Image.open(tmp_path / "out" / path) as found:
        assert found.getpixel((4, 4)) == pytest.approx(pixel, abs=2)


async def test_a_converted_picture_keeps_its_profile_and_its_orientation(
    server: MediaServer, context: ToolContext, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    server.image = {"b64_json": encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif, icc_profile=b"a profile")}
    result: ToolResult = await draw(server, context, {"path": "cat.png"})
    with Image.open(tmp_path / "out/cat.png") as found:
        assert (found.info["icc_profile"], found.getexif()[0x0112]) == (b"a profile", 6)
    assert (result.output["width"], result.output["height"]) == (4, 8)  # as it is shown


def moving() -> str:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.parametrize(
    ("path", "written"), [("cat.png", "cat.png"), ("cat.webp", "cat.webp"), ("cat.jpg", "cat.gif")]
)
async def test_a_moving_picture_goes_on_moving(
    server: MediaServer, context: ToolContext, tmp_path: Path, path: str, written: str
) -> None:
    server.image = {"b64_json": moving()}
    result: ToolResult = await draw(server, context, {"path": path})
    assert result.output["path"] == written
    with Image.open(tmp_path / "out" / written) as found:
        assert getattr(found, "n_frames", 1) == 3


async def test_a_signed_picture_is_kept_byte_for_byte_under_its_own_suffix(
    server: MediaServer, context: ToolContext, tmp_path: Path
) -> None:
    manifest = b"\xff\xeb\x00\x2eJP\x00\x01\x00\x00\x00\x01\x00\x00\x00\x24jumb\x00\x00\x00\x1cjumdc2pa" + b"\x00" * 16
    plain = picture("JPEG")
    signed = plain[:2] + manifest + plain[2:]
    server.image = {"b64_json": base64.b64encode(signed).decode()}
    result: ToolResult = await draw(server, context, {"path": "art/cat.png"})
    assert result.output["path"] == "art/cat.jpg"
    assert (tmp_path / "out/art/cat.jpg").read_bytes() == signed
    assert "Content Credentials" in result.metadata["kept_under_own_suffix"]
    assert not (tmp_path / "out/art/cat.png").exists()


@pytest.mark.parametrize(
    ("body", "said", "retryable"),
    [
        ({"error": {"message": "model overloaded, try later", "code": 503}}, "error 503: 'model overloaded", True),
        ({"error": "no such model"}, "'no such model'", True),
        ({"error": {"message": "not this", "code": 400}, "data": None}, "error 400: 'not this'", False),
        ({"error": {"message": "pay first", "code": "insufficient_quota"}}, "'pay first'", False),
        ({"detail": [{"msg": "prompt is too long"}]}, "'prompt is too long'", True),
        ({"success": False, "errors": [{"code": 401, "message": "bad key"}]}, "error 401: 'bad key'", False),
        ({"base_resp": {"status_code": 1004, "status_msg": "not logged in"}}, "'not logged in'", True),
        ({"code": 500, "message": "out of memory"}, "error 500: 'out of memory'", True),
    ],
)
@pytest.mark.parametrize("call", [draw, say])
async def test_an_error_with_status_200_keeps_its_message_and_costs_nothing(
    server: MediaServer, context: ToolContext, call: Any, body: dict[str, Any], said: str, retryable: bool
) -> None:
    server.next = JSONResponse(body)
    context["budget"] = Budget(usd=1.0)
    with pytest.raises(ToolError, match=re.escape(said)) as caught:
        await call(server, context, prices=0.25)
    assert caught.value.retryable is retryable
    assert context["budget"].spent == Spending()


@pytest.mark.parametrize(
    ("content", "reason", "kept"),
    [
        (b"AAAA", "no known format", "node.rejected.bin"),
        (picture()[:-20], "not a whole PNG", "node.rejected.bin"),
    ],
)
async def test_what_was_paid_for_and_cannot_be_used_is_kept_and_counts(
    server: MediaServer, context: ToolContext, tmp_path: Path, content: bytes, reason: str, kept: str
) -> None:
    server.image = {"b64_json": base64.b64encode(content).decode()}
    context["budget"] = Budget(usd=1.0)
    with pytest.raises(ToolError, match=f"{reason}.*is kept in '{kept}'") as caught:
        await draw(server, context, prices=0.25)
    assert (tmp_path / "out" / kept).read_bytes() == content
    assert context["budget"].spent == Spending(105, 0.25)
    assert caught.value.usage is not None
    assert caught.value.usage["cost_usd"] == 0.25


SOUND = base64.b64encode(sound()).decode()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(JSONResponse({"audio": SOUND}), id="JSON"),
        pytest.param(JSONResponse({"data": [{"b64_json": SOUND}]}), id="as a picture"),
        pytest.param(JSONResponse({"audio": {"data": f"data:audio/wav;base64,{SOUND}"}}), id="data URI in JSON"),
        pytest.param(Response(f"data:audio/wav;base64,{SOUND}", media_type="text/plain"), id="data URI"),
        pytest.param(Response(SOUND, media_type="text/plain"), id="bare base64"),
        pytest.param(JSONResponse(SOUND), id="a JSON text"),
    ],
)
async def test_a_sound_is_taken_in_every_form_that_servers_wrap_it_in(
    server: MediaServer, context: ToolContext, tmp_path: Path, answer: Response
) -> None:
    server.next = answer
    await say(server, context)
    assert (tmp_path / "out/a.wav").read_bytes() == sound()


@pytest.mark.parametrize(
    ("path", "content", "written", "mime"),
    [
        ("a.mp3", sound(), "a.wav", "audio/wav"),
        ("a.wav", b"ID3\x04" + b"\x00" * 60, "a.mp3", "audio/mpeg"),
        ("a.mp3", b"\xff\xf1" + b"\x00" * 60, "a.aac", "audio/aac"),
        ("a.aac", b"\x00\x00\x00\x20ftypM4A " + b"\x00" * 60, "a.m4a", "audio/mp4"),
        ("a.ogg", b"OggS" + b"\x00" * 60, "a.ogg", "audio/ogg"),
    ],
)
async def test_a_sound_in_another_container_is_kept_under_a_suffix_that_fits(
    server: MediaServer, context: ToolContext, tmp_path: Path, path: str, content: bytes, written: str, mime: str
) -> None:
    server.audio = content
    result: ToolResult = await say(server, context, {"path": path})
    assert (result.output["path"], result.output["mime"]) == (written, mime)
    assert (tmp_path / "out" / written).read_bytes() == content
    assert ("kept_under_own_suffix" in result.metadata) is (path != written)


async def test_speech_that_is_no_audio_is_kept(server: MediaServer, context: ToolContext, tmp_path: Path) -> None:
    server.audio = b"\x00\x01" * 20
    with pytest.raises(ToolError, match=r"not a wav file, nor another .* kept in 'a\.rejected\.bin'"):
        await say(server, context)
    assert (tmp_path / "out/a.rejected.bin").read_bytes() == server.audio


@pytest.mark.parametrize(
    ("prices", "inputs", "usd"),
    [(0.25, {}, 0.25), ({"m-1": 0.25, "m-2": 0.5}, {"model": "m-2"}, 0.5), ({"m-2": 0.5}, {}, None), (0, {}, 0.0)],
)
async def test_a_pictures_price_is_the_operators(
    server: MediaServer, context: ToolContext, prices: Any, inputs: dict[str, Any], usd: float | None
) -> None:
    usage = (await draw(server, context, inputs, prices=prices)).metadata["usage"]
    assert (usage["cost_usd"], usage["input_tokens"], usage["output_tokens"]) == (usd, 5, 100)


async def test_speech_is_paid_by_the_character(server: MediaServer, context: ToolContext) -> None:
    context["budget"] = Budget(usd=1.0)
    await say(server, context, {"text": "x" * 2_500}, prices=0.2)
    assert context["budget"].spent == Spending(0, 0.5)
    with pytest.raises(BudgetExceededError, match=r"0.5 of 1 USD are spent, and it could cost 0.6 USD"):
        await say(server, context, {"text": "x" * 3_000}, prices=0.2)
    assert server.calls == 1


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        ({"input_tokens": 5, "output_tokens": 100}, 105),
        ({"prompt_tokens": 5, "completion_tokens": 100, "total_tokens": 105}, 105),
        ({"total_tokens": 70}, 70),
        ({"input_tokens": None, "output_tokens": "many"}, 0),
        (None, 0),
    ],
)
async def test_the_tokens_that_an_answer_tells_count(
    server: MediaServer, context: ToolContext, told: dict[str, Any] | None, tokens: int
) -> None:
    server.usage = told
    context["budget"] = Budget(tokens=1_000)
    await draw(server, context)
    assert context["budget"].spent.tokens == tokens


@pytest.mark.parametrize("call", [draw, say])
async def test_without_a_price_a_budget_in_dollars_stops_before_the_first_call(
    server: MediaServer, context: ToolContext, call: Any
) -> None:
    context["budget"] = Budget(usd=1.0)
    with pytest.raises(BudgetExceededError, match=r"set PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_\w+_PRICE for m-1"):
        await call(server, context)
    assert server.calls == 0


async def test_pictures_side_by_side_do_not_exceed_a_budget(server: MediaServer, context: ToolContext) -> None:
    context["budget"] = Budget(usd=1.0)
    server.delay = 0.05
    calls = [draw(server, context, {"path": f"{i}.png"}, prices=0.3) for i in range(10)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert server.calls == 3
    assert sum(isinstance(outcome, BudgetExceededError) for outcome in outcomes) == 7


async def test_under_a_limit_of_tokens_the_first_picture_tells_what_the_others_take(
    server: MediaServer, context: ToolContext
) -> None:
    context["budget"] = Budget(tokens=350)
    server.delay = 0.05
    outcomes = await asyncio.gather(
        *(draw(server, context, {"path": f"{i}.png"}) for i in range(8)), return_exceptions=True
    )
    assert server.calls == 3
    assert context["budget"].spent.tokens == 315
    assert sum(isinstance(outcome, BudgetExceededError) for outcome in outcomes) == 5


@pytest.mark.parametrize(("trouble", "spent"), [("status", 0.0), ("nobody", 0.0), ("cut", 0.25), ("slow", 0.25)])
async def test_a_call_counts_once_it_may_have_been_paid_for(
    server: MediaServer, context: ToolContext, trouble: str, spent: float
) -> None:
    context["budget"] = Budget(usd=1.0)
    more: dict[str, Any] = {"prices": 0.25}
    if trouble == "status":
        server.error(500)
    elif trouble == "nobody":
        more["base_url"] = "http://127.0.0.1:1/v1"
    elif trouble == "cut":
        server.cut = True
    else:
        server.delay, more["seconds"] = 6.0, 2.0
    with pytest.raises(ToolError) as caught:
        await draw(server, context, **more)
    assert context["budget"].spent.usd == spent
    assert (caught.value.usage or {}).get("cost_usd", 0.0) == spent


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
