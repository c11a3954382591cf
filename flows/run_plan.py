"""The flow that runs any plan, as a deployment's entrypoint."""

from vibe_prefect import run_plan

__all__ = ["run_plan"]
