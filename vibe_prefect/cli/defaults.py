"""What a run starts from where the command line leaves it open."""

from __future__ import annotations

from dataclasses import dataclass

from vibe_prefect.cli.settings_files import may_set_ours


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
    if not may_set_ours():
        return RunDefaults()
    from vibe_prefect.settings import load_settings

    settings = load_settings()
    return RunDefaults(settings.concurrency, settings.input_root, settings.output)


POOL = "vibe-prefect-pool"
"""The work pool of a new deployment, and of a worker, where none is named."""
