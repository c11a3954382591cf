"""Secrets are found in every form in which somebody may repeat them, at a linear cost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.secret_forms import forms_of, parts_in
from vibe_prefect.errors import ToolError
from vibe_prefect.tools.secrecy import known as secrets
from vibe_prefect.tools.secrecy.key_sources import checked_key, obtained
from vibe_prefect.tools.secrecy.known import held_back, scrubbed, secrets_in_address, without_logins

KEY = "sk-ca\"n/ar+y<7d>1c'9&b52aa=="


def shown_with(text: str, *keys: str) -> str:
    """Return what is shown of a text where these keys were read, and no others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "_remembered", dict.fromkeys(keys))
        return scrubbed(text)


@pytest.mark.parametrize("name", forms_of(KEY))
def test_a_key_is_hidden_in_every_form(name: str) -> None:
    form = forms_of(KEY)[name]
    shown = shown_with(f"before {form} after", KEY)
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    assert form not in shown
    assert parts_in(shown, KEY) == []


KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=18, max_size=60)


@settings(deadline=None)
@given(KEYS)
def test_any_key_is_hidden_in_every_form(key: str) -> None:
    for name, form in forms_of(key).items():
        shown = shown_with(f"[{form}]", key)
        assert "***" in shown, (name, key)
        assert key not in shown, (name, key)
        assert form not in shown, (name, key)


@settings(deadline=None)
@given(st.text(), KEYS)
def test_a_text_without_a_key_stays_as_it_is(text: str, key: str) -> None:
    assert shown_with(text, "sk-canary-7d1c9b52aa") == text
    assert shown_with(f"{text}{key}", key).startswith(shown_with(text, key)[:-1])


@pytest.mark.parametrize("key", ["x", "none", "EMPTY", "abc12", "ollama", "password"])
def test_a_key_like_a_word_is_hidden_only_where_it_is_called_a_key(key: str) -> None:
    text = "none x EMPTY abc12 ollama password, exactly"
    assert shown_with(text, key) == text
    for shown in (f"Bearer {key}", f"api_key={key}", f'"token": "{key}"', f"password: {key}"):
        assert shown_with(shown, key).replace("***", key, 1) == shown
        assert shown_with(shown, key).rstrip('"').endswith("***")


def test_a_long_secret_is_hidden_line_by_line() -> None:
    pem = "\n".join(["-----BEGIN-----", *(f"{index:064x}" for index in range(40)), "-----END-----"])
    assert set(shown_with(pem.replace("\n", "\\n"), pem)) <= set("*\\n")
    assert parts_in(shown_with(f"{pem[:700]} and so on", pem), pem, 24) == []


CHEAP = ["ordinary words and sk- ", "s ", "\\", "%25", "&amp;", "sk", "&#0", "sk-canary "]


@pytest.mark.parametrize("piece", [*CHEAP, "c2st", " "])
def test_the_cost_is_linear(piece: str) -> None:
    def seconds(size: int) -> float:
        text = "s" + piece * (size // len(piece))
        begun = time.process_time()
        shown_with(text, KEY, "sk-canary-7d1c9b52aa")
        return time.process_time() - begun

    seconds(1_000)
    assert seconds(400_000) < 40 * (seconds(40_000) + 0.01)


def test_the_environments_secrets_and_passwords_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", " abcdefgh12\n")
    monkeypatch.setenv("SHORT_KEY", "abc")
    monkeypatch.setenv("SERVICE_URL", "https://user:hush%2Fhush1@example.org/?api_key=q1w2e3r4")
    assert scrubbed("abcdefgh12 abc hush/hush1 hush%2Fhush1 q1w2e3r4 user") == "*** abc *** *** *** user"


@pytest.mark.parametrize(
    ("address", "shown", "found"),
    [
        ("https://user:hush-1@example.org/v1", "https://***@example.org/v1", {"hush-1"}),
        ("https://token-123@example.org", "https://***@example.org", {"token-123"}),
        ("http://u:p%40ss-1@h?a=1&sig=abcdef&b=2", "http://***@h?a=1&sig=***&b=2", {"p%40ss-1", "p@ss-1", "abcdef"}),
        ("http://127.0.0.1:8188/a@b?q=@x", "http://127.0.0.1:8188/a@b?q=@x", set[str]()),
        ("somebody@example.org", "somebody@example.org", set[str]()),
        ("postgresql+asyncpg://u:hush-1@h/db", "postgresql+asyncpg://***@h/db", {"hush-1"}),
    ],
)
def test_passwords_of_addresses_are_found(address: str, shown: str, found: set[str]) -> None:
    assert without_logins(address) == shown
    assert secrets_in_address(address) == found


@pytest.mark.parametrize(
    "key", ["sk-canary-1\nX: y", "sk-canary\r\n-1", "sk-\0canary", "sk-canary-\x7f1", "sk-canäry-1", "“sk-canary”"]
)
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ToolError, match="variable A holds a line break, another control") as caught:
        checked_key(key, "variable A")
    assert not caught.value.retryable
    assert "can" not in str(caught.value).replace("can hold", "")


def test_a_key_is_used_without_the_white_space_around_it() -> None:
    assert obtained(lambda: " \tsk-canary-44aa\r\n") == "sk-canary-44aa"
    assert obtained(lambda: None) is None
    assert scrubbed("it was sk-canary-44aa") == "it was ***", "it is known from now on"
    with pytest.raises(ToolError, match="it is empty"):
        obtained(lambda: " \n")


def test_the_oldest_secret_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "MAX_REMEMBERED", 2)
    monkeypatch.setattr(secrets, "_remembered", dict[str, None]())
    secrets.remember("first-secret", "other-secret", "third-secret", " ", "")
    assert scrubbed("first-secret other-secret third-secret") == "first-secret *** ***"


def test_an_end_that_may_begin_a_secret_is_held_back() -> None:
    secrets.remember("sk-canary-55bb")
    assert held_back("the key is sk-cana") == "sk-cana"
    assert held_back("the key is sk-canary-55bb") == ""
    assert held_back("risk") == ""
