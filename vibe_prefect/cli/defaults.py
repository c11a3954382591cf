"""What a run starts from where the command line leaves it open."""

from __future__ import annotations

from vibe_prefect.cli.process.settings_files import may_set_ours
from vibe_prefect.run.run_options import RunOptions


def run_defaults() -> RunOptions:
    """Return the options of a run as the settings have them.

    Prefect, which takes a second to import, is asked only where somebody has set one.

    Raises:
        SettingsError: One of them cannot be what it is set to.
    """
    if not may_set_ours():
        return RunOptions()
    from vibe_prefect.settings.package import load_settings

    return load_settings().run_options


POOL = "vibe-prefect-pool"
"""The work pool of a new deployment, and of a worker, where none is named."""
