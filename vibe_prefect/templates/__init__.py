"""Sandboxed Jinja within bounds of time and memory."""
