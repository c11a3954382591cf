"""What exceptions of Prefect's client say about its server."""

from __future__ import annotations

import json

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from vibe_prefect import UsageError
from vibe_prefect.engine.server import server_failures
from vibe_prefect.engine.server.server_failures import FailureKind, classify, explain, without_login

API = "http://127.0.0.1:4200/api"
NO_ROUTE = '{"detail":"Not Found"}'


def answer(status: int, text: str = "", kind: str = "application/json", url: str = f"{API}/flow_runs/") -> Exception:
    """What Prefect's client raises for an answer."""
    request = httpx.Request("POST", url)
    response = httpx.Response(status, text=text, headers={"content-type": kind}, request=request)
    try:
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        return PrefectHTTPStatusError.from_httpx_error(error)
    raise AssertionError(status)


def caused(message: str, cause: Exception, kind: type[Exception] = RuntimeError) -> Exception:
    error = kind(message)
    error.__cause__ = cause
    return error


REACH = f"Failed to reach API at {API}"
FAILURES = [
    (httpx.ConnectError("refused"), FailureKind.UNREACHABLE),
    (httpx.ReadTimeout("late"), FailureKind.UNREACHABLE),
    (RuntimeError(REACH), FailureKind.UNREACHABLE),
    (caused(REACH, httpx.ConnectError("refused")), FailureKind.UNREACHABLE),
    (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), FailureKind.UNTRUSTED),
    (answer(404, NO_ROUTE), FailureKind.ELSEWHERE),
    (answer(405, '{"detail":"Method Not Allowed"}'), FailureKind.ELSEWHERE),
    (answer(404, "<html>", "text/html"), FailureKind.ELSEWHERE),
    (answer(302, "", "text/plain"), FailureKind.ELSEWHERE),
    (caused(REACH, answer(404, NO_ROUTE)), FailureKind.ELSEWHERE),
    (caused(REACH, json.JSONDecodeError("no JSON", "<html>", 0)), FailureKind.ELSEWHERE),
    (answer(401), FailureKind.LOGIN),
    (caused("could not deploy", answer(401), ValueError), FailureKind.LOGIN),
    (ExceptionGroup("both", [ValueError("x"), answer(403)]), FailureKind.FORBIDDEN),
    (answer(500), FailureKind.BROKEN),
    (answer(503), FailureKind.BROKEN),
    (answer(429), FailureKind.BROKEN),
    (answer(422, '{"exception_detail": []}'), FailureKind.REFUSED),
    (RuntimeError("Found incompatible versions: client: 3.8.7, server: 2.20.1. Major ..."), FailureKind.OLDER),
]
OTHERS = [
    ValueError("of a plan"),
    json.JSONDecodeError("of a record", "{", 0),
    answer(404, '{"detail":"Flow run not found"}'),
    answer(409, '{"detail":"exists"}'),
]


@pytest.mark.parametrize(("error", "kind"), FAILURES)
def test_server_failures_are_told_apart(error: Exception, kind: FailureKind) -> None:
    found = classify(error)
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize("error", OTHERS)
def test_server_failures_do_not_include_other_errors(error: Exception) -> None:
    assert classify(error) is None
    assert explain(error, API) is None


def test_server_failure_behind_an_error_of_the_user_is_not_told_instead_of_it() -> None:
    assert explain(caused("no such run", answer(500), UsageError), API) is None


@pytest.fixture
def version(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(server_failures, "server_version", lambda: "3.8.7")
    return monkeypatch


LINES = [
    (httpx.ConnectError("x"), f"cannot reach the Prefect server at {API}"),
    (answer(401), "wants a login (401 for POST /api/flow_runs/): set PREFECT_API_AUTH_STRING (user:password)"),
    (answer(403), "does not allow that (403 for POST /api/flow_runs/): check PREFECT_API_AUTH_STRING"),
    (answer(500), f"the Prefect server at {API} failed (500 for POST /api/flow_runs/): see the server's own log"),
    (answer(404, NO_ROUTE), f"what answers at {API} is not the API of a Prefect server, whose address ends with /api"),
]


@pytest.mark.parametrize(("error", "line"), LINES)
def test_server_failures_are_explained_in_one_line(error: Exception, line: str, version: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        version.delenv(name, raising=False)
    explained = explain(error, API)
    assert explained is not None
    assert line in explained
    assert "\n" not in explained
    assert "NO_PROXY" not in explained


@pytest.mark.parametrize("error", [answer(422, "{}"), answer(404, NO_ROUTE), answer(500)])
def test_server_that_is_too_old_is_named_with_its_version(error: Exception, version: pytest.MonkeyPatch) -> None:
    version.setattr(server_failures, "server_version", lambda: "3.4.25")
    assert explain(error, API) == f"the server at {API} is Prefect 3.4.25, this needs 3.8 or newer"


def test_server_refusal_does_not_repeat_the_request(version: pytest.MonkeyPatch) -> None:
    details = [{"loc": ["body", "x"], "msg": "extra inputs are not permitted", "input": "secret " * 2000}]
    explained = explain(answer(422, json.dumps({"exception_detail": details, "request_body": "secret " * 2000})), API)
    assert explained is not None
    assert "body.x: extra inputs are not permitted" in explained
    assert "secret" not in explained


PROXIES = [
    ("http_proxy", "http://proxy:3128", "", "http_proxy"),
    ("HTTP_PROXY", "http://proxy:3128", "", "HTTP_PROXY"),
    ("ALL_PROXY", "socks5h://user:hush@proxy:1080", "", "ALL_PROXY"),
    ("https_proxy", "http://proxy:3128", "", None),
    ("http_proxy", "http://proxy:3128", "elsewhere.example,prefect.example", None),
    ("http_proxy", "http://proxy:3128", "*", None),
]


@pytest.mark.parametrize(("variable", "proxy", "exempt", "named"), PROXIES)
def test_server_failure_names_the_proxy_that_was_asked(
    variable: str, proxy: str, exempt: str, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    monkeypatch.setenv(variable, proxy)
    monkeypatch.setenv("no_proxy", exempt)
    explained = explain(httpx.ConnectError("x"), "http://prefect.example:4200/api")
    assert explained is not None
    hint = f"; it was asked through the proxy that {named} names: if it needs none, add prefect.example to NO_PROXY"
    assert explained.endswith(hint) is (named is not None)
    assert "hush" not in explained


def test_server_address_is_shown_without_its_login() -> None:
    assert without_login("https://me:hush@prefect.example/api") == "https://prefect.example/api"
