"""The tool that runs a workflow on a ComfyUI server."""
