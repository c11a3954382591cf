"""Displays of plans and runs: on a terminal, as plain lines, as JSON documents."""
