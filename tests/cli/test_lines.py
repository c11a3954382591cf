"""Columns and wrapped errors for terminals of any width."""

from __future__ import annotations

import pytest
from rich.text import Text

from vibe_prefect.cli.display.lines import columns, wrapped_error

NAME = "translate-the-announcement-for-the-german-market"
ERROR = "Tool execution failed: HTTP 500 from cms.example.com while posting"


def row(name: str = NAME) -> list[Text]:
    return [Text(name), Text("transform, http_get"), Text("12.3 s", justify="right"), Text(ERROR)]


@pytest.mark.parametrize("width", [120, 100, 80, 76])
def test_columns_cut_all_other_texts_before_the_name(width: int) -> None:
    (line,) = columns([row()], width)
    assert line.plain.startswith(f"{NAME}  tra")
    assert "  12.3 s  Too" in line.plain
    assert line.cell_len <= width


@pytest.mark.parametrize("width", [60, 40])
def test_columns_cut_the_name_where_nothing_else_is_left_to_cut(width: int) -> None:
    (line,) = columns([row()], width)
    assert line.plain.startswith("translate-t")
    assert line.plain.endswith("…  tra…  12.3 s  Too…")
    assert line.cell_len <= width


def test_columns_are_whole_where_nothing_limits_them() -> None:
    assert columns([row()], None)[0].plain == f"{NAME}  transform, http_get  12.3 s  {ERROR}"


def test_columns_never_cut_numbers_before_texts() -> None:
    lines = columns([row(), row("a")], 30)
    assert all("12.3 s" in line.plain and line.cell_len <= 30 for line in lines)


def test_empty_columns_take_no_room() -> None:
    assert columns([[Text("a"), Text(), Text("b")]], 80)[0].plain == "a  b"


def test_errors_wrap_at_words_below_their_beginning() -> None:
    lines = wrapped_error(Text("  post: "), f"{ERROR}\nsecond line", 40)
    assert [line.plain for line in lines] == [
        "  post: Tool execution failed:",
        "      HTTP 500 from cms.example.com",
        "      while posting",
        "      second line",
    ]


def test_errors_are_whole_lines_where_nothing_cuts_them() -> None:
    lines = wrapped_error(Text("  post: "), f"{ERROR}\nsecond line", None)
    assert [line.plain for line in lines] == [f"  post: {ERROR}", "      second line"]
