"""Automations that react to what happens in runs."""
