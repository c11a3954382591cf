"""A server that fails is told alike by every command, in one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.command import call, check, write_plan

VERSION = "/api/admin/version"
NO_ROUTE = (404, '{"detail":"Not Found"}')
LOGIN = "wants a login (401 for "
SETTING = "set PREFECT_API_AUTH_STRING (user:password)"


@contextmanager
def stub(status: int, body: str, version: str | None = None) -> Generator[str]:
    """A server that answers everything alike, but for its health and, where it has one, its version."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            found = (200, "true") if self.path.endswith("/health") else (status, body)
            if version is not None and self.path == VERSION:
                found = (200, json.dumps(version))
            content = found[1].encode()
            self.send_response(found[0])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()


UNAUTHORIZED = (401, '{"exception_message":"Unauthorized"}')
CASES = [
    (["run", "plan.json", "--simulate", "--record", "--quiet"], UNAUTHORIZED, None, (LOGIN, SETTING)),
    (
        ["run", "plan.json", "--simulate", "--record", "--quiet"],
        NO_ROUTE,
        None,
        ("is not the API of a Prefect server",),
    ),
    (
        ["run", "plan.json", "--simulate", "--record", "--quiet"],
        (422, "{}"),
        "3.4.25",
        ("is Prefect 3.4.25, this needs 3.8",),
    ),
    (["resume"], UNAUTHORIZED, None, (LOGIN, SETTING)),
    (["watch"], (403, "{}"), "3.8.7", ("does not allow that (403 for ", "PREFECT_API_AUTH_STRING")),
    (["runs"], (500, "{}"), "3.8.7", ("failed (500 for ", "see the server's own log")),
    (["deploy", "plan.json", "--cron", "0 6 * * 1"], (422, "x" * 20_000), "3.4.25", ("is Prefect 3.4.25",)),
    (["blocks", "register"], UNAUTHORIZED, "3.8.7", (LOGIN, SETTING)),
    (["worker", "start"], UNAUTHORIZED, "3.8.7", (LOGIN, SETTING)),
    (["serve", "plan.json"], UNAUTHORIZED, "3.8.7", (LOGIN, SETTING)),
]


@pytest.mark.parametrize(("command", "answer", "version", "parts"), CASES)
def test_every_command_explains_a_server_that_fails(
    tmp_path: Path, command: list[str], answer: tuple[int, str], version: str | None, parts: tuple[str, ...]
) -> None:
    write_plan(tmp_path, [check("a", "one two three")])
    with stub(*answer, version) as api:
        said = call(*command, cwd=tmp_path, extra={"PREFECT_API_URL": api, "PREFECT_CLIENT_MAX_RETRIES": "0"})
    assert said.code == 3
    assert said.err.count("\n") == 1, said.err
    assert len(said.err) < 400
    assert "unexpected" not in said.err
    for part in parts:
        assert part in said.err


def test_unexpected_errors_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    from vibe_prefect.cli.exits import complain_of_bug

    complain_of_bug(RuntimeError("long " * 10_000))
    assert len(capsys.readouterr().err) < 500


def test_proxy_that_stands_between_is_named(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [check("a", "one two three")])
    extra = {"PREFECT_API_URL": "http://prefect.example:4200/api", "HTTP_PROXY": "http://127.0.0.1:9"}
    extra |= {"NO_PROXY": "localhost", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    said = call("run", plan, "--quiet", cwd=tmp_path, extra=extra)
    assert said.code == 3
    assert "through the proxy that HTTP_PROXY names: if it needs none, add prefect.example to NO_PROXY" in said.err
