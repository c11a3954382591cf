"""Tools for launch.yaml: `vibe-prefect run flows/launch/launch.yaml --tools flows/launch/tools.py`."""

from vibe_prefect import ToolCategory, tool


@tool(category=ToolCategory.TEXT)
def slug(text: str) -> dict[str, str]:
    """Make an address of a title: small letters, and dashes between the words."""
    words = "".join(letter.lower() if letter.isalnum() else " " for letter in text).split()
    return {"text": "-".join(words)}
