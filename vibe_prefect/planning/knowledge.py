"""Knowledge for planning: Markdown notes about a domain, and the choice of those that a vibe needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, cast

from vibe_prefect.core.models import Vibe
from vibe_prefect.errors import UsageError, shorten
from vibe_prefect.plan.reading.source_text import TextError, compose_yaml, read_tree
from vibe_prefect.text.encodings import decode_text
from vibe_prefect.text.regular_files import read_regular

MAX_NOTE_BYTES = 200_000
"""The largest file of knowledge."""

MAX_NOTES = 20
"""Number of notes that a model is given for a plan; those that fit the vibe best."""

MIN_WORD = 3
"""Characters of the shortest word that counts when words are compared."""

NAMED_SHARE = 0.5
"""Part of a phrase's words that must stand in a vibe for the phrase to fit."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?\n?", re.DOTALL | re.MULTILINE)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Note:
    """Knowledge from one file."""

    name: str
    """Path of the file, as it was given."""

    text: str
    """Its text, without the front matter."""

    domains: tuple[str, ...] = ()
    """Domains that it is about; empty for any."""

    when: tuple[str, ...] = ()
    """Phrases that say for which vibes it is meant; empty for all of its domains."""


def read_notes(paths: Iterable[str | Path]) -> tuple[Note, ...]:
    """Read files of knowledge.

    Args:
        paths: Markdown files, folders (all `.md` files below them) or globs.

    Raises:
        UsageError: There is no such file, it cannot be read, or its front matter is not written as it must be.
    """
    files = dict.fromkeys(file for path in paths for file in _files(path))
    return tuple(_note(file) for file in files)


def _files(path: str | Path) -> list[Path]:
    named = Path(path)
    if named.is_dir():
        files = sorted(named.rglob("*.md"))
    elif named.exists():
        files = [named]
    else:
        files = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207 - the pattern may be absolute
    if not files:
        raise UsageError(f"knowledge {str(path)!r}: there is no such file; expected Markdown files, a folder or a glob")
    return files


def _note(path: Path) -> Note:
    name = path.as_posix()
    try:
        content = read_regular(path, MAX_NOTE_BYTES)
        if len(content) > MAX_NOTE_BYTES:
            raise UsageError(f"knowledge {name!r} has more than {MAX_NOTE_BYTES:,} bytes; make several notes of it")
        text = decode_text(content, "knowledge", name)
    except OSError as error:
        raise UsageError(f"knowledge {name!r} cannot be read: {error.strerror or error}") from None
    match = _FRONT_MATTER.match(text)
    facts = _front_matter("" if match is None else match[1], name)
    body = text if match is None else text[match.end() :]
    return Note(name, body.strip(), _phrases(facts, "domain", name), _phrases(facts, "when", name))


def _front_matter(text: str, name: str) -> Mapping[str, Any]:
    try:
        data: object = read_tree(compose_yaml(text)).data if text.strip() else {}
    except (TextError, RecursionError) as error:
        raise UsageError(f"knowledge {name!r}: its front matter cannot be read: {error}") from None
    if not isinstance(data, Mapping):
        raise UsageError(f"knowledge {name!r}: expected front matter with 'domain' and 'when', found {shorten(data)}")
    return cast("Mapping[str, Any]", data)


def _phrases(facts: Mapping[str, Any], field: str, name: str) -> tuple[str, ...]:
    """Return a field of front matter as phrases: a list, or a text with commas."""
    value = facts.get(field)
    phrases: object = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in cast("list[object]", phrases)):
        raise UsageError(f"knowledge {name!r}, {field}: expected a text or a list of texts, found {shorten(value)}")
    return tuple(phrase.strip() for phrase in cast("list[str]", phrases) if phrase.strip())


def fitting_notes(notes: Sequence[Note], vibe: Vibe, near: Mapping[Note, float] | None = None) -> tuple[Note, ...]:
    """Return the notes that a vibe needs, those that fit best first.

    A note fits by its domain, which the vibe has or names, or by a phrase of `when`: at least half of the phrase's
    words stand in the vibe. A note that names neither fits every vibe.

    Args:
        notes: Notes to choose from.
        vibe: The vibe.
        near: The notes that fit by their meaning besides, with how near they are, -1 to 1.
    """
    near = near or {}
    wish = vibe_words(vibe).casefold()
    words = _words(wish)
    scores = {note: _score(note, vibe, wish, words) for note in notes}
    fitting = (note for note in notes if scores[note] > 0 or note in near)
    return tuple(sorted(fitting, key=lambda note: -(scores[note] + near.get(note, 0.0))))[:MAX_NOTES]


def vibe_words(vibe: Vibe) -> str:
    """Return all words of a vibe."""
    return " ".join(filter(None, (vibe.description, vibe.style, vibe.domain, *vibe.constraints)))


def _score(note: Note, vibe: Vibe, wish: str, words: frozenset[str]) -> float:
    if not note.domains and not note.when:
        return 0.5
    own_domain = (vibe.domain or "").casefold()
    domains = sum(2 for domain in note.domains if domain.casefold() == own_domain or _fits(domain, wish, words))
    return domains + sum(1 for phrase in note.when if _fits(phrase, wish, words))


def _fits(phrase: str, wish: str, words: frozenset[str]) -> bool:
    wanted = _words(phrase.casefold())
    if not wanted:  # without white space between words, as in Chinese, or of short words alone
        return phrase.casefold() in wish
    return len(wanted & words) >= NAMED_SHARE * len(wanted)


def _words(text: str) -> frozenset[str]:
    """Return the words of a text, in one number: `teas` counts as `tea`."""
    return frozenset(word.removesuffix("s") for word in _WORD.findall(text) if len(word) >= MIN_WORD)
