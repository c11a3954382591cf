"""What a run starts from where the command line leaves it open."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vibe_prefect.cli.environment import settings_files

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
TABLE = "vibe_prefect"


@dataclass(frozen=True)
class RunDefaults:
    """The settings that the command line can override, with the package's own values."""

    concurrency: int | None = 32
    """How many nodes may run at once."""

    input_root: str = "."
    """The only folder that tools may read from."""

    output: str = "outputs"
    """The folder for what runs make."""


def run_defaults() -> RunDefaults:
    """Return the defaults; Prefect, which takes a second to import, is asked only where somebody has set one.

    Raises:
        SettingsError: One of them cannot be what it is set to.
    """
    if not _may_be_set():
        return RunDefaults()
    from vibe_prefect.settings import load_settings

    settings = load_settings()
    return RunDefaults(settings.concurrency, settings.input_root, settings.output)


def _may_be_set() -> bool:
    if any(name.startswith(PREFIX) for name in os.environ):
        return True
    for path in settings_files():
        try:
            if TABLE in path.read_text(encoding="utf-8", errors="replace").lower():
                return True
        except OSError:
            continue
    return False
