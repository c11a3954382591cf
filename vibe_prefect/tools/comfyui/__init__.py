"""The tool that runs a workflow on a ComfyUI server."""

__all__: list[str] = []
