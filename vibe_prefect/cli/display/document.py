"""Base of the documents that commands print with `--json`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from vibe_prefect.reporting.report import SCHEMA_VERSION


class Part(BaseModel):
    """Part of a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunReference(Part):
    """A flow run of Prefect's."""

    run_name: str
    run_id: str


class Document(Part):
    """A whole document."""

    schema_version: int = SCHEMA_VERSION
    """Version of the documents; it goes up when one changes so that an older reader could misread it."""
