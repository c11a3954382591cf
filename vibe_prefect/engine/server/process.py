"""A Prefect server in a process of its own: its command and environment, when it answers, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.request import ProxyHandler, build_opener

from vibe_prefect.engine.server.settings import SERVER_SETTINGS

HOST = "127.0.0.1"
ORIGINS = ("PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS")
"""Environment variables for the origins from which a browser may ask a server."""

ANSWER_SECONDS = 5.0
STOP_SECONDS = 15.0
"""Seconds that a server may take to end before it is killed."""

_UI_API = "PREFECT_UI_API_URL"
"""Variable for the API address that the UI uses. Prefect's default has port 4200 in it, whatever the server's is."""

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened at
"""Hosts that stand for all addresses of a machine."""

_direct = build_opener(ProxyHandler({}))


def server_command(host: str, port: int) -> list[str]:
    """Return the command that starts a Prefect server."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]


def server_environment(host: str, port: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the settings that keep a server healthy; settings that it has already stay.

    Args:
        host: The address that the server listens at.
        port: Its port.
        environment: The server's other variables.
    """
    added = {"DO_NOT_TRACK": "1", _UI_API: "/api", **SERVER_SETTINGS}
    if not any(name in environment for name in ORIGINS):
        added[ORIGINS[0]] = ",".join(own_origins(host, port))
    return {**added, **environment}


def own_origins(host: str, port: int) -> list[str]:
    """Return the origins of a server's own pages: no page from elsewhere may ask it for anything in a browser."""
    hosts = [HOST, "localhost", *([] if host in (*EVERYWHERE, HOST, "localhost") else [host])]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}" for name in hosts]


@contextmanager
def server_process(port: int, environment: Mapping[str, str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run a Prefect server on this machine as long as the context; Ctrl-C does not reach it.

    Args:
        port: The port that it listens at.
        environment: Its variables, beside those of `server_environment`.
        log: The file for its output.

    Yields:
        Its process, which need not answer yet.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            server_command(HOST, port),
            env=server_environment(HOST, port, environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        await_end(process, STOP_SECONDS)


def await_answer(process: subprocess.Popen[bytes], api_url: str, seconds: float) -> str | None:
    """Wait until a server answers.

    Args:
        process: The server.
        api_url: The address of its API.
        seconds: The time that it may take.

    Returns:
        The reason why it does not answer, as a predicate to put after its name; `None` once it does.
    """
    end = time.monotonic() + seconds
    while not answers(api_url):
        if process.poll() is not None:
            return "did not start"
        if time.monotonic() > end:
            return f"did not answer within {seconds:g} s"
        time.sleep(0.05)
    return None


def await_end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until a process that was asked to end has ended, and kill it when it takes longer than that."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def home_of(api_url: str) -> str | None:
    """Return the home of a Prefect server of this machine, as it says; `None` where it does not."""
    try:
        with _direct.open(f"{api_url}/admin/settings", timeout=ANSWER_SECONDS) as answer:
            settings: object = json.load(answer)
    except (OSError, ValueError):
        return None
    home = cast("dict[str, object]", settings).get("home") if isinstance(settings, dict) else None
    return str(Path(str(home)).resolve()) if home else None


def answers(api_url: str) -> bool:
    """Return whether a Prefect server of this machine answers at an API address; no proxy is asked."""
    try:
        with _direct.open(f"{api_url}/health", timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False
