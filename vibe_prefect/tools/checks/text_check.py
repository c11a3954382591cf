"""The tool that checks a text: length, words, patterns and reading ease."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import Annotated, Any, cast

from pydantic import Field
from typing_extensions import TypedDict

from vibe_prefect.errors import shorten
from vibe_prefect.tools.base import ToolCategory, ToolResult
from vibe_prefect.tools.checks.verdicts import Check, check, number, verdict
from vibe_prefect.tools.functions import ToolInputError, tool

MAX_CHARS = 1_000_000
"""The longest text that is checked, in characters."""

MAX_RULES = 200
"""The longest list of words or patterns."""

PATTERN_SECONDS = 2.0
"""Time limit in seconds for the search of one pattern."""

SEARCH_SECONDS = 20.0
"""Time limit in seconds for the searches of all words and patterns of one call."""

_PIECE = 1_000
_WORD = re.compile(r"\w+(?:['\u2019\-]\w+)*")
_SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]++(?=[\s\"'\u201d\u2019)\]*_]|$)"  # unless a letter follows as in 3.8
    r"|\n\s*\n"  # the end of a paragraph
    r"|\n(?=[ \t]*(?:[-*+#>]|\d{1,3}\.)[ \t])"  # the next line is a list item, heading or quote
)
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"(?:[^aeiouyl]e|[aeiouy]le|[^aeiouytd]ed|[^aeiouycgsxzh]es)$")

Count = Annotated[int, Field(ge=0)]
Rule = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"\S")]
Rules = Annotated[list[Rule], Field(max_length=MAX_RULES)]


class TextReport(TypedDict):
    """Output of `check_text`."""

    passed: bool
    """Whether all checks passed."""

    checks: list[Check]
    """The checks, in the order of the inputs."""

    words: int
    """Number of words."""

    chars: int
    """Number of characters (Unicode code points)."""

    reading_ease: float | None
    """Flesch reading ease, to one decimal; `None` for a text without words."""

    text: str
    """The text itself, so that a node after this one gets it."""


@tool(name="check_text", category=ToolCategory.ANALYSIS, version="1")
def check_text(  # noqa: PLR0913 - the tool's inputs
    text: Annotated[str, Field(max_length=MAX_CHARS, description="The text to check.")],
    min_chars: Annotated[Count | None, Field(description="At least so many characters.")] = None,
    max_chars: Annotated[Count | None, Field(description="At most so many characters.")] = None,
    min_words: Annotated[Count | None, Field(description="At least so many words.")] = None,
    max_words: Annotated[Count | None, Field(description="At most so many words.")] = None,
    required: Annotated[
        Rules | None, Field(description="Words or phrases that must occur; case does not matter.")
    ] = None,
    forbidden: Annotated[
        Rules | None, Field(description="Words or phrases that must not; case does not matter.")
    ] = None,
    whole_words: Annotated[
        bool,
        Field(
            description="Whether `required` and `forbidden` mean whole words: `art` is not in "
            "`start`. Turn it off for scripts that put no spaces between words."
        ),
    ] = True,
    patterns: Annotated[
        Rules | None,
        Field(description="Regular expressions that must match somewhere; case matters, `^` and `$` match at lines."),
    ] = None,
    forbidden_patterns: Annotated[
        Rules | None, Field(description="Regular expressions that must not match anywhere.")
    ] = None,
    min_reading_ease: Annotated[
        float | None,
        Field(
            allow_inf_nan=False,
            description="At least this Flesch reading ease (English; 60 to 70 is plain, 30 hard).",
        ),
    ] = None,
    max_reading_ease: Annotated[
        float | None, Field(allow_inf_nan=False, description="At most this Flesch reading ease.")
    ] = None,
) -> TextReport | ToolResult:
    """Check a text's length, words, patterns and reading ease; say which check failed and where.

    The text is compared in Unicode's composed form (NFC), and lines and columns count from 1 in it.
    A word is a run of letters and digits with inner apostrophes and hyphens. Reading ease is meant
    for English; see `reading_ease`.

    Patterns have the syntax of the `regex` package, which takes what `re` takes. A pattern stops
    after `PATTERN_SECONDS`, all of them after `SEARCH_SECONDS`, and other nodes run meanwhile.
    Not protected: the time that compiling a pattern takes, which its length of at most 1,000
    characters bounds.

    Returns:
        The report; as a failed `ToolResult` that carries it when a check did not pass.

    Raises:
        ToolInputError: No check was asked for, limits contradict each other, or a pattern is not a
            regular expression or took too long.
    """
    limits = (
        _Limits("chars", "{} characters", min_chars, max_chars),
        _Limits("words", "{} words", min_words, max_words),
        _Limits("reading_ease", "reading ease {}", min_reading_ease, max_reading_ease),
    )
    words = _Rules(
        tuple(required or ()),
        tuple(forbidden or ()),
        whole_words,
        tuple(patterns or ()),
        tuple(forbidden_patterns or ()),
    )
    _refuse_nonsense(limits, words)
    return _report(text, limits, words)


def reading_ease(text: str) -> float | None:
    """Return the Flesch reading ease of an English text: 100 is very easy, 0 very hard.

    `206.835 - 1.015 * words / sentences - 84.6 * syllables / words`, from R. Flesch, "A new
    readability yardstick", Journal of Applied Psychology 32 (1948), 221-233.

    Sentences end at `.`, `!`, `?` or `…` before a space, at blank lines, and before list items,
    headings and quotes; an abbreviation such as `e.g. ` ends one too. Syllables are counted as
    groups of vowels, a silent final `e`, `es` or `ed` aside, at least one a word: a rough count,
    which sees one syllable in `being` and in a number.

    Returns:
        The value, not rounded; `None` for a text without words.
    """
    words = _WORD.findall(text)
    if not words:
        return None
    sentences = sum(1 for sentence in _SENTENCE_END.split(text) if _WORD.search(sentence))
    syllables = sum(map(_syllables, words))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)


@dataclass(frozen=True, slots=True)
class _Limits:
    """The least and the most that a figure may be."""

    name: str
    figure: str
    least: float | None
    most: float | None

    def problem(self) -> str | None:
        if self.least is None or self.most is None or self.least <= self.most:
            return None
        least, most = number(self.least), number(self.most)
        return f"min_{self.name} ({least}) is more than max_{self.name} ({most})"

    def checks(self, value: float | None) -> Iterator[Check]:
        figure_text = "no words to rate" if value is None else self.figure.format(number(value))
        if self.least is not None:
            enough = value is not None and value >= self.least
            expected = f"at least {number(self.least)} expected"
            yield check(f"min_{self.name}", enough, f"{figure_text}, {expected}")
        if self.most is not None:
            within = value is not None and value <= self.most
            expected = f"at most {number(self.most)} expected"
            yield check(f"max_{self.name}", within, f"{figure_text}, {expected}")


@dataclass(frozen=True, slots=True)
class _Rules:
    """Words and patterns that must or must not occur."""

    required: tuple[str, ...]
    forbidden: tuple[str, ...]
    whole_words: bool
    patterns: tuple[str, ...]
    forbidden_patterns: tuple[str, ...]

    def problems(self) -> Iterator[str]:
        for name in ("patterns", "forbidden_patterns"):
            for index, pattern in enumerate(getattr(self, name)):
                yield from _pattern_problem(f"{name}[{index}]", pattern)
        for word in sorted(set(map(_folded, self.required)) & set(map(_folded, self.forbidden))):
            yield f"{word!r} is both required and forbidden"

    def checks(self, text: str) -> Iterator[Check]:
        until = monotonic() + SEARCH_SECONDS
        for word in self.required:
            yield _must(shorten(word), "required", _find(self._word(word), text, word, until))
        for word in self.forbidden:
            match = _find(self._word(word), text, word, until)
            yield _must_not(shorten(word), "forbidden", match, text)
        for pattern in self.patterns:
            match = _find(_pattern(pattern), text, pattern, until)
            yield _must(shorten(pattern), "patterns", match)
        for pattern in self.forbidden_patterns:
            match = _find(_pattern(pattern), text, pattern, until)
            yield _must_not(shorten(pattern), "forbidden_patterns", match, text)

    def _word(self, phrase: str) -> Any:
        words = r"\s+".join(map(re.escape, _composed(phrase).split()))
        bounded = rf"(?<!\w){words}(?!\w)" if self.whole_words else words
        engine = _engine()
        return engine.compile(bounded, engine.IGNORECASE | engine.FULLCASE)


def _refuse_nonsense(limits: tuple[_Limits, ...], rules: _Rules) -> None:
    problems = [problem for limit in limits if (problem := limit.problem())]
    problems += rules.problems()
    if problems:
        raise ToolInputError(f"check_text: {'; '.join(problems)}")
    has_bound = [limit.least is not None or limit.most is not None for limit in limits]
    if not any((*has_bound, rules.required, rules.forbidden, rules.patterns, rules.forbidden_patterns)):
        raise ToolInputError(
            "check_text: there is nothing to check; give at least one of min_chars, max_chars, "
            "min_words, max_words, required, forbidden, patterns, forbidden_patterns, "
            "min_reading_ease, max_reading_ease"
        )


def _report(text: str, limits: tuple[_Limits, ...], rules: _Rules) -> ToolResult:
    composed = _composed(text)
    ease = reading_ease(composed)
    rounded = None if ease is None else round(ease, 1)
    figures = (len(text), sum(1 for _ in _WORD.finditer(composed)), rounded)
    measured = zip(limits, figures, strict=True)
    checks = [outcome for limit, figure in measured for outcome in limit.checks(figure)]
    checks += rules.checks(composed)
    report = TextReport(
        passed=all(outcome["passed"] for outcome in checks),
        checks=checks,
        words=figures[1],
        chars=figures[0],
        reading_ease=rounded,
        text=text,
    )
    return verdict(report, checks)


def _must(label: str, name: str, match: Any) -> Check:
    return check(name, match is not None, f"{label} {'occurs' if match else 'does not occur'}")


def _must_not(label: str, name: str, match: Any, text: str) -> Check:
    if match is None:
        return check(name, True, f"{label} does not occur")
    hit = "" if label == shorten(match.group()) else f" ({shorten(match.group())})"
    return check(name, False, f"{label}{hit} at {_place(text, match.start())}")


def _place(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line}, column {offset - text.rfind(chr(10), 0, offset)}"


def _pattern(pattern: str) -> Any:
    engine = _engine()
    return engine.compile(_composed(pattern), engine.MULTILINE)


def _pattern_problem(field: str, pattern: str) -> Iterator[str]:
    try:
        _pattern(pattern)
    except RecursionError:
        yield f"{field}: {shorten(pattern)} is nested too deeply"
    except (_engine().error, OverflowError, ValueError) as error:
        yield f"{field}: {shorten(pattern)} is not a regular expression: {error}"


def _find(compiled: Any, text: str, source: str, until: float) -> Any:
    remaining_seconds = until - monotonic()
    if remaining_seconds <= 0:
        raise _too_long()
    # This engine rather than `re`, which could not be stopped and would stop all other nodes too.
    try:
        return compiled.search(text, timeout=min(PATTERN_SECONDS, remaining_seconds), concurrent=True)
    except TimeoutError as error:
        if remaining_seconds < PATTERN_SECONDS:
            raise _too_long() from error
        raise ToolInputError(
            f"check_text: {shorten(source)} searched for more than {PATTERN_SECONDS:g} s; "
            "simplify it, repetitions within repetitions first"
        ) from error


def _too_long() -> ToolInputError:
    return ToolInputError(
        f"check_text: all words and patterns together searched for more than {SEARCH_SECONDS:g} s; "
        "give fewer, or check the text in parts"
    )


@cache
def _engine() -> Any:
    """Return the module `regex`, which reading a plan does without."""
    import regex  # pyright: ignore[reportMissingTypeStubs]

    return cast("Any", regex)


@cache
def _many_marks() -> Any:
    return _engine().compile(r"\p{M}{100}")


def _composed(text: str) -> str:
    if not _many_marks().search(text):
        return unicodedata.normalize("NFC", text)
    # Bringing marks into order takes the square of their number, during which everything stands still.
    pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
    return "".join(unicodedata.normalize("NFC", piece) for piece in pieces)


def _folded(text: str) -> str:
    return " ".join(_composed(text).casefold().split())


def _syllables(word: str) -> int:
    plain = unicodedata.normalize("NFKD", word).casefold()
    groups = len(_VOWELS.findall(plain)) - (_SILENT.search(plain) is not None)
    return max(1, groups)
