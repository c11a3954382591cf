"""The page of a run, one HTML file, for `report` and for `--report` of `run` and `resume`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import one_line, size
from vibe_prefect.cli.exits import StartError
from vibe_prefect.errors import UsageError
from vibe_prefect.tools.workspace import replace_file

if TYPE_CHECKING:
    from vibe_prefect.reporting.report import RunReport

MAX_NAME = 200
"""Characters of a file name that is built from a run's name; anybody may rename a run."""

_UNFIT = re.compile(r"[^\w.-]|^\.")


def check_page(output: Path | None) -> None:
    """Refuse a path that no page can be written to, before anything is run.

    Raises:
        UsageError: It is a folder, though not the current one, or lies below a file.
    """
    if output is None or output == Path():
        return
    if output.is_dir():
        example = str(output / "run.html")
        raise UsageError(f"the report {str(output)!r} is a folder; name a file in it, such as {example!r}")
    blocking = next((parent for parent in output.parents if parent.exists()), None)
    if blocking is not None and not blocking.is_dir():
        raise UsageError(f"the report {str(output)!r} cannot be written: {str(blocking)!r} is not a folder")


def write_page(account: RunReport, output: Path | None) -> Path:
    """Write the page about a run, and return its path.

    Args:
        account: The run.
        output: The file; `None` or the current folder for one named after the run.

    Raises:
        StartError: It cannot be written.
    """
    from vibe_prefect.reporting.html import render_html
    from vibe_prefect.reporting.media import local_files

    page = Path(f"{_UNFIT.sub('_', account.run_name)[:MAX_NAME]}.html") if output in (None, Path()) else output
    folder = Path(account.output_root)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        text = render_html(account, local_files(account, folder), base=_base(folder, page))
        replace_file(page, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise StartError(f"cannot write the report {str(page)!r}: {error.strerror or error}") from error
    return page


def say_page(screen: Screen, page: Path) -> None:
    """Print the path of a page."""
    screen.say(f"report   {one_line(str(page))}  ({size(page.stat().st_size)})")


def _base(folder: Path, page: Path) -> str:
    """Return the address that leads from a page to the folder of the run's files."""
    relative_path = os.path.relpath(folder.resolve(), page.parent.resolve())
    return f"{quote(Path(relative_path).as_posix())}/"
