"""Defaults for a run where the command line leaves an option open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vibe_prefect.run.run_options import RunOptions


def run_defaults() -> RunOptions:
    """Return the options of a run from the settings.

    Prefect, which takes a second to import, is asked only where a setting is set.

    Raises:
        SettingsError: A setting has a value that it cannot have.
    """
    from vibe_prefect.cli.process.settings_files import may_set_ours
    from vibe_prefect.run.run_options import RunOptions

    if not may_set_ours():
        return RunOptions()
    from vibe_prefect.settings.package import load_settings

    return load_settings().run_options


POOL = "vibe-prefect-pool"
"""The work pool of a new deployment, and of a worker, where none is named."""
