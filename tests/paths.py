"""Where the tests find the files of the project."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The project's folder."""

DOCS = ROOT / "docs"
"""Its documentation."""

DATA = ROOT / "tests" / "data"
"""Files for the tests."""
